//! Segments that change while a reader is at work: it stays inside, and comes to an end.
#![no_main]

use chronicle_core::{Appender, Start, TailOptions, Tailer, WriteOptions, verify};
use chronicle_fuzz::scribbled::{Scribbled, Script};
use chronicle_fuzz::{Base, Damage, TYPE};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Base, Vec<(u16, u64)>)| {
    let (base, script) = input;
    let script: Script = script.into();
    let memory = Damage { base, edits: Vec::new(), reseal: false, reboot: false }.queue(|_| false);
    let scribbled = Scribbled::new(memory, script);
    for start in [Start::Earliest, Start::Latest, Start::Seq(20)] {
        let mut options = TailOptions::default();
        options.start = start;
        let Ok(mut tailer) = Tailer::open(&scribbled, &options) else { continue };
        let mut sum = 0u64;
        // A record takes 32 bytes; what is scribbled may make the reader see any number of them.
        for _ in 0..100_000 {
            match tailer.next() {
                Ok(Some(message)) => {
                    sum += message.payload.iter().map(|b| u64::from(*b)).sum::<u64>()
                }
                Ok(None) | Err(_) => break,
            }
        }
        std::hint::black_box(sum);
    }
    let _ = verify(&scribbled, |_| {});
    if let Ok(mut appender) = Appender::open(&scribbled, WriteOptions::default()) {
        for _ in 0..10 {
            let _ = appender.append(TYPE, &[1; 100]);
        }
    }
});
