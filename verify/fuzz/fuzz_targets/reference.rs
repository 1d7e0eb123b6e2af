//! Recovery against an independent scanner: where both find an end, it is the same place.
#![no_main]

use chronicle_core::{Appender, Error, WriteOptions};
use chronicle_fuzz::reference::{Verdict, scan};
use chronicle_fuzz::{Damage, is_segment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|damage: Damage| {
    let memory = damage.queue(is_segment);
    // The scanner knows nothing of words that are true in one boot only.
    memory.reboot();
    let Some(expected) = scan(&memory) else { return };
    match (Appender::open(&memory, WriteOptions::default()), expected) {
        (Ok(appender), Verdict::End { segment, offset, seq }) => {
            let end = appender.recovery().end;
            let found = (end.segment.get(), end.offset, end.seq);
            assert_eq!(found, (segment, offset, seq), "recovery ends elsewhere");
        }
        (Ok(appender), Verdict::Damaged) => {
            panic!(
                "the log ends before what was durable, and recovery takes it: {:?}",
                appender.recovery()
            );
        }
        // Recovery may know of more that was durable, from records behind the end, and of files that
        // fit no queue.
        (Err(Error::Damaged(_) | Error::Format { .. }), _) => {}
        (Err(Error::EpochsExhausted), _) => {}
        (Err(error), Verdict::End { .. }) => panic!("recovery fails at a whole log: {error}"),
        (Err(_), Verdict::Damaged) => {}
    }
});
