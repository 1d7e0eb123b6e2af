//! Recovery of a whole queue of which anything may be damaged: what it opens is good from then on.
#![no_main]

use chronicle_fuzz::{Damage, read_everything, write_and_read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|damage: Damage| {
    let memory = damage.queue(|_| true);
    write_and_read(&memory);
    read_everything(&memory);
});
