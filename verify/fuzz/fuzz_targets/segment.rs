//! Segments of arbitrary bytes behind a good `control.meta`: opening, reading, seeking, checking.
#![no_main]

use chronicle_fuzz::{Damage, is_segment, read_everything};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|damage: Damage| {
    read_everything(&damage.queue(is_segment));
});
