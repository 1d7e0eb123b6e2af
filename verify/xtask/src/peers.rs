//! The comparison with other queues: builds it with everything that can be built here, and runs it.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use crate::steps::{Outcome, cargo, root, run, target_directory};

/// Aeron's sources need a cmake that is at least this (`CMakeLists.txt`, `cmake_minimum_required`).
const CMAKE: (u32, u32) = (3, 30);

/// Builds `verify/peers` and runs it with these arguments, and those that are not given.
pub(crate) fn peers(arguments: &[String]) -> Outcome {
    if given(arguments, "--from") {
        // What was measured is there already: who took part does not matter.
        run(build_command(false))?;
    } else {
        build()?;
    }
    let mut command = Command::new(target_directory().join("peers/release/chronicle-peers"));
    command.args(arguments).args(defaults(arguments)).current_dir(root());
    run(command)
}

/// What is added to these arguments. What is drawn goes to `docs/plots`, unless only a part is measured, only
/// a table is asked for, or it is told otherwise.
fn defaults(arguments: &[String]) -> Vec<OsString> {
    let given = |option| given(arguments, option);
    let mut defaults: Vec<OsString> = Vec::new();
    if !given("--disk") && !given("--from") {
        defaults.extend(["--disk".into(), target_directory().join("peers-disk").into()]);
    }
    let table_only = given("--from") && given("--markdown");
    if !["--plots", "--quick", "--only"].into_iter().any(given) && !table_only {
        defaults.extend(["--plots".into(), root().join("docs/plots").into()]);
    }
    defaults
}

fn given(arguments: &[String], option: &str) -> bool {
    let mut names = arguments.iter().map(|argument| argument.split('=').next());
    names.any(|name| name == Some(option))
}

/// Builds it with Aeron if that can be done, else without.
fn build() -> Outcome {
    let with_aeron = cmake().and_then(|()| run(build_command(true)));
    with_aeron.or_else(|why| {
        println!("SKIPPED Aeron: {why}");
        run(build_command(false))
    })
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
    use super::{CMAKE, defaults, version};

    #[test]
    fn plots_of_the_documentation_are_drawn_of_whole_runs_only() {
        let options = |line: &str| {
            let given: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let defaults = defaults(&given).into_iter().step_by(2);
            defaults.map(|option| option.into_string().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(options(""), "--disk --plots");
        assert_eq!(options("--only aeron"), "--disk");
        assert_eq!(options("--disk=/disk --quick"), "");
        assert_eq!(options("--from run.json"), "--plots");
        assert_eq!(options("--from=now.json --from before.json --markdown"), "");
    }

    #[test]
    fn versions_of_cmake_are_compared_by_number_and_not_by_text() {
        assert_eq!(version("cmake version 3.25.1\n"), Some((3, 25)));
        assert!(version("cmake version 3.9.6\n") < Some(CMAKE));
        assert!(version("cmake version 4.4.4\n") >= Some(CMAKE));
        assert_eq!(version("no cmake"), None);
    }
}
