//! Indexes decide how long a seek takes and never where it leads.
#![no_main]

use chronicle_core::{TailOptions, Tailer};
use chronicle_fuzz::{Base, Damage, write_and_read};
use chronicle_sync::Object;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Damage, u64)| {
    let (mut damage, wanted) = input;
    damage.base = Base::Indexed;
    let good = Damage { base: Base::Indexed, edits: Vec::new(), reseal: false, reboot: false };
    let (good, bad) =
        (good.queue(|_| false), damage.queue(|object| matches!(object, Object::Index(_))));
    let places = [&good, &bad].map(|memory| {
        let mut tailer = Tailer::open(memory, &TailOptions::default()).expect("good segments");
        // Most of the queue's own numbers, some behind its end, and any at all.
        let by_seq = tailer.seek_seq(wanted % 128).is_ok();
        let first = tailer.next().expect("good segments").map(|message| message.seq);
        let by_far = tailer.seek_seq(wanted).is_ok();
        let second = tailer.next().expect("good segments").map(|message| message.seq);
        let _ = tailer.seek_timestamp(wanted);
        (by_seq, first, by_far, second)
    });
    assert_eq!(places[0], places[1], "an index led astray");
    write_and_read(&bad);
});
