//! Has every system call of real processes fail, in every way that is plausible: `chron-cli`, and a
//! process that uses what `chron-cli` does not. Each must end by itself, say why and which file it was,
//! or do everything all the same; what it acknowledged must be there, and the queue must be a good one.
//!
//! Needs ptrace(2) and seccomp(2) on x86-64 Linux; says so and does nothing elsewhere.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod calls;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod canary;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod check;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod fixture;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod launch;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod limits;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod program;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod run;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod scenarios;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod trace;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod worker;

use std::process::ExitCode;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> ExitCode {
    program::main()
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() -> ExitCode {
    println!("SKIPPED failing system calls: they are traced on x86-64 Linux");
    ExitCode::SUCCESS
}

/// What an error says, for people.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
