//! The comparison with other queues: builds it with everything that can be built here, and runs it.

use std::process::{Command, Stdio};

use crate::steps::{Outcome, cargo, root, run, target_directory};

/// Aeron's sources need a cmake that is at least this (`CMakeLists.txt`, `cmake_minimum_required`).
const CMAKE: (u32, u32) = (3, 30);

/// Builds `verify/peers` and runs it with these arguments. What it draws goes to `docs/plots`, unless only a
/// part is measured or it is told otherwise.
pub(crate) fn peers(arguments: &[String]) -> Outcome {
    let program = build()?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    let given = |option: &str| {
        let mut names = arguments.iter().map(|argument| argument.split('=').next());
        names.any(|name| name == Some(option))
    };
    if !given("--disk") {
        command.arg("--disk").arg(target_directory().join("peers-disk"));
    }
    if !["--plots", "--quick", "--only"].into_iter().any(given) {
        command.arg("--plots").arg(root().join("docs/plots"));
    }
    run(command)
}

/// Builds it with Aeron if that can be done, else without.
fn build() -> Result<std::path::PathBuf, String> {
    let with_aeron = match cmake() {
        Ok(()) => run(build_command(true)).map(drop),
        Err(why) => Err(why),
    };
    if let Err(why) = with_aeron {
        println!("SKIPPED Aeron: {why}");
        run(build_command(false))?;
    }
    Ok(target_directory().join("peers/release/chronicle-peers"))
}

fn build_command(with_aeron: bool) -> Command {
    let mut command = cargo(["build", "--release", "--locked", "--target-dir"]);
    command.arg(target_directory().join("peers"));
    command.arg("--manifest-path").arg(root().join("verify/peers/Cargo.toml"));
    if with_aeron {
        command.args(["--features", "aeron"]);
    }
    command
}

/// Whether there is a cmake that Aeron's sources accept; why not.
fn cmake() -> Result<(), String> {
    let (major, minor) = CMAKE;
    let wanted = format!("cmake {major}.{minor} is needed to build it");
    let asked = Command::new("cmake").arg("--version").stderr(Stdio::null()).output();
    let said = asked.map_err(|error| format!("{wanted}: {error}"))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    match version(&said) {
        Some(found) if found >= CMAKE => Ok(()),
        _ => Err(format!("{wanted}, this is {}", said.lines().next().unwrap_or("none"))),
    }
}

/// Major and minor number in what `cmake --version` prints.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("cmake version ")?.split('.');
    let mut next = || numbers.next()?.trim().parse().ok();
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::{CMAKE, version};

    #[test]
    fn versions_of_cmake_are_compared_by_number_and_not_by_text() {
        assert_eq!(version("cmake version 3.25.1\n"), Some((3, 25)));
        assert!(version("cmake version 3.9.6\n") < Some(CMAKE));
        assert!(version("cmake version 4.4.4\n") >= Some(CMAKE));
        assert_eq!(version("no cmake"), None);
    }
}
