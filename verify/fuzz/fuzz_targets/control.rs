//! Every word of `control.meta` and `notify.meta`.
#![no_main]

use chronicle_fuzz::{Damage, read_everything, write_and_read};
use chronicle_sync::Object;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|damage: Damage| {
    let memory = damage.queue(|object| matches!(object, Object::Control | Object::Notify));
    read_everything(&memory);
    write_and_read(&memory);
});
