//! Files of readers: where a name goes on, and what retention makes of it.
#![no_main]

use chronicle_core::apply_retention;
use chronicle_fuzz::{Damage, read_everything, write_and_read};
use chronicle_sync::Object;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|damage: Damage| {
    let memory = damage.queue(|object| matches!(object, Object::Reader(_)));
    read_everything(&memory);
    let _ = apply_retention(&memory, |_| true);
    write_and_read(&memory);
});
