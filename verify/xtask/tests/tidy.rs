//! The workspace keeps the rules that `cargo xtask tidy` checks.

use std::process::Command;

#[test]
fn the_workspace_is_tidy() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("tidy").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "\n{said}{}", String::from_utf8_lossy(&output.stderr));
}
