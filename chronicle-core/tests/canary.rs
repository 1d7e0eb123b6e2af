//! Two tests by which `cargo xtask mutants` finds out that it can tell: one that fails whatever the
//! code does, and one that does not end. There are none in ordinary builds.
#![cfg(chronicle_mutants)]
#![allow(clippy::panic, reason = "a test")]

#[test]
fn this_test_always_fails() {
    panic!("nothing is wrong");
}

#[test]
fn this_test_never_ends() {
    loop {
        std::thread::park();
    }
}
