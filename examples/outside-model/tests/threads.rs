//! The same code with the processor's words, which is what ships.
#![cfg(not(chronicle_loom))]

use std::sync::Arc;
use std::thread;

use chronicle_conformance::memory::Memory;
use chronicle_sync::Instant;
use outside_model::Settings;

#[test]
fn a_sleeper_sees_the_last_values() {
    let settings = Arc::new(Settings::new([0, 0]));
    let park = Memory::new();
    let setter = {
        let (settings, park) = (Arc::clone(&settings), park.clone());
        thread::spawn(move || {
            for value in 1..=1000 {
                settings.set(&park, [value, value]).unwrap();
            }
        })
    };
    let mut known = [0, 0];
    while known != [1000, 1000] {
        let far = Instant::NEVER;
        known = settings.changed(&park, known, far).unwrap().unwrap();
        assert_eq!(known[0], known[1]);
    }
    setter.join().unwrap();
}
