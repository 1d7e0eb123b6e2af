//! The hot paths, one at a time, for a simulated processor that counts their instructions.
//!
//! Without an argument it prints the names of the paths; with a name it runs that path a thousand times in
//! `counted`. `cargo xtask instructions` runs it in Valgrind's Callgrind, which counts between the
//! beginning and the end of that function only, and compares with `docs/performance.md`.

#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod paths;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let result = match std::env::args().nth(1) {
        None => {
            paths::all().iter().for_each(|path| println!("{}", path.name()));
            Ok(())
        }
        Some(name) => paths::run(&name),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("the paths are those of the Linux backend");
    ExitCode::FAILURE
}
