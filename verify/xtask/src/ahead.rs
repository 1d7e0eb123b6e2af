//! Builds what later steps need while earlier ones wait.
//!
//! Most tests and most of `verify` are one thread, or wait: a processor has nothing to do for half of the
//! time. Builds of other target directories fill it, at the lowest priority, so that what is being checked
//! goes first. Nothing is checked here and nothing said: the step to which a build belongs runs the same
//! command again, finds it done, or says itself why it cannot be.

use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{instructions, mutants, nightly, outside, platforms, steps};

/// Builds in another thread, until it is dropped.
pub(crate) struct Ahead {
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    stopped: bool,
    building: Option<Child>,
}

/// Begins with what the steps behind the tests need, in their order.
pub(crate) fn start() -> Ahead {
    let mut commands = Vec::new();
    commands.extend(outside::commands());
    commands.push(instructions::build_command());
    commands.extend(steps::bare_metal_commands());
    commands.extend(platforms::commands());
    commands.extend(mutants::commands());
    commands.extend(steps::release_commands());
    commands.extend(nightly::fuzz_commands());
    Ahead::of(commands)
}

impl Ahead {
    fn of(commands: Vec<Command>) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let work = move || {
            for command in &commands {
                if !build(&shared, command) {
                    break;
                }
            }
        };
        Self { state, thread: Some(thread::spawn(work)) }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Ok(mut state) = self.state.lock() {
            state.stopped = true;
            if let Some(child) = &mut state.building {
                // It has ended if this fails.
                let _ = child.kill();
            }
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Builds what a command needs and waits for it. Returns whether to go on.
fn build(shared: &Mutex<State>, command: &Command) -> bool {
    const LOOK: Duration = Duration::from_millis(100);
    {
        let Ok(mut state) = shared.lock() else { return false };
        if state.stopped {
            return false;
        }
        let Ok(child) = without_running(command).spawn() else { return true };
        state.building = Some(child);
    }
    loop {
        thread::sleep(LOOK);
        let Ok(mut state) = shared.lock() else { return false };
        match state.building.as_mut().map(Child::try_wait) {
            Some(Ok(None)) => {}
            _ => {
                state.building = None;
                return !state.stopped;
            }
        }
    }
}

/// The command, without running what it builds, at the lowest priority, in silence.
fn without_running(command: &Command) -> Command {
    let mut build = Command::new("nice");
    build.args(["-n", "19"]).arg(command.get_program());
    for argument in command.get_args().take_while(|argument| *argument != "--") {
        if argument == "run" && !is_rustup(command) {
            build.arg("build");
        } else {
            build.arg(argument);
        }
        if argument == "test" {
            build.arg("--no-run");
        }
    }
    // What is for the linter, and not for a program that it runs.
    let lints = || command.get_args().skip_while(|argument| *argument != "--");
    if command.get_args().any(|argument| argument == "clippy") {
        build.args(lints());
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => build.env(name, value),
            None => build.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        build.current_dir(directory);
    }
    build.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    build
}

/// Whose `run` is another one than cargo's.
fn is_rustup(command: &Command) -> bool {
    command.get_program() == OsStr::new("rustup")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn words(command: &Command) -> String {
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn programs_and_tests_are_built_and_not_run() {
        let built = |program: &str, line: &str| {
            let mut command = Command::new(program);
            words(&without_running(command.args(line.split(' '))))
        };
        assert_eq!(
            built("cargo", "run -p a --release -- run --long 3"),
            "-n 19 cargo build -p a --release"
        );
        assert_eq!(built("cargo", "test -p a -- --nocapture"), "-n 19 cargo test --no-run -p a");
        let clippy = "clippy -p a -- -D warnings";
        assert_eq!(built("cargo", clippy), format!("-n 19 cargo {clippy}"));
        let other = "run 1.88 cargo check";
        assert_eq!(built("rustup", other), format!("-n 19 rustup {other}"));
    }

    #[test]
    fn a_build_sees_the_same_variables() {
        let mut command = Command::new("cargo");
        command.arg("build").env("RUSTFLAGS", "--cfg a").env_remove("CARGO");
        let build = without_running(&command);
        assert_eq!(build.get_envs().collect::<Vec<_>>(), command.get_envs().collect::<Vec<_>>());
    }

    #[test]
    fn what_fails_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let made = directory.path().join("made");
        let mut touch = Command::new("touch");
        touch.arg(&made);
        let ahead = Ahead::of(vec![Command::new("false"), Command::new("/no/program"), touch]);
        let begun = Instant::now();
        while !made.exists() && begun.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(10));
        }
        drop(ahead);
        assert!(made.exists());
    }

    #[test]
    fn it_stops_at_once_when_nobody_needs_it_any_more() {
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        let begun = Instant::now();
        drop(Ahead::of(vec![sleep]));
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
