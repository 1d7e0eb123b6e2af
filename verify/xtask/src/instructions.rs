//! The instructions of the hot paths, counted by Valgrind's Callgrind and held against `docs/performance.md`:
//! a figure that no other load on the machine can move.

use std::process::Command;

use crate::steps::{Outcome, cargo, root, run, run_and_read, target_directory};

/// Where the bounds are.
const PAGE: &str = "docs/performance.md";
/// The head of their table, which also says for which compiler they hold.
const HEAD: &str = "| instructions, rustc ";
/// How often the program runs a path.
const TIMES: u64 = 1_000;
/// A bound that is further from the truth than this part of it, in hundredths, says nothing any more.
const SLACK: u64 = 5;

/// A path and the instructions it may take.
struct Bound {
    path: String,
    most: u64,
}

/// Counts, and compares; with `write` the bounds become what was counted.
pub(crate) fn instructions(write: bool) -> Outcome {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok("SKIPPED: the bounds are those of x86-64 Linux".to_owned());
    }
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        println!("SKIPPED instructions: valgrind: {error}");
        return Ok("SKIPPED: valgrind is not there".to_owned());
    }
    let page = std::fs::read_to_string(root().join(PAGE)).map_err(|error| error.to_string())?;
    let compiler = compiler()?;
    let (stated, bounds) = bounds(&page)?;
    run(build_command())?;
    let program = target_directory().join("release/chronicle-instructions");
    let names = run_and_read(Command::new(&program))?;
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    for name in names.lines() {
        let found = count(&program, name)?;
        let most = bounds.iter().find(|bound| bound.path == name).map(|bound| bound.most);
        println!(
            "{name:<42} {found:>6}  {:>6}",
            most.map_or("-".to_owned(), |most| most.to_string())
        );
        wrong.extend(judge(name, found, most));
        rows.push(format!("| {name} | {found} |"));
    }
    let unknown = bounds.iter().filter(|bound| !names.lines().any(|name| name == bound.path));
    wrong.extend(unknown.map(|bound| format!("{PAGE} has {}, which is no path", bound.path)));
    if write {
        let new = with_rows(&page, &compiler, &rows)?;
        std::fs::write(root().join(PAGE), new).map_err(|error| error.to_string())?;
        return Ok(format!("{} paths written to {PAGE}", rows.len()));
    }
    if compiler != stated {
        let why = format!("the bounds are those of rustc {stated}, this is {compiler}");
        println!("SKIPPED instructions: {why}");
        return Ok(format!("counted, not compared: {why}"));
    }
    if wrong.is_empty() {
        Ok(format!("{} paths", rows.len()))
    } else {
        Err(format!("{}; on purpose: cargo xtask instructions --write", wrong.join("; ")))
    }
}

/// What builds the program whose instructions are counted.
pub(crate) fn build_command() -> Command {
    cargo(["build", "--quiet", "--release", "--package", "chronicle-instructions"])
}

/// What is wrong with a count.
fn judge(name: &str, found: u64, most: Option<u64>) -> Option<String> {
    let Some(most) = most else { return Some(format!("{PAGE} does not have {name}")) };
    if found * 100 > most * (100 + SLACK) {
        return Some(format!("{name}: {found} instructions, {most} are stated"));
    }
    (found * (100 + SLACK) < most * 100)
        .then(|| format!("{name}: only {found} instructions, {most} are stated"))
}

/// Major and minor number of the compiler: `1.95`.
fn compiler() -> Result<String, String> {
    let mut command = Command::new("rustc");
    command.arg("--version");
    let said = run_and_read(command)?;
    let version = said.split(' ').nth(1).unwrap_or_default();
    let mut numbers = version.split('.');
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => Ok(format!("{major}.{minor}")),
        _ => Err(format!("rustc says it is {said}")),
    }
}

/// The compiler that the bounds are for, and the bounds.
fn bounds(page: &str) -> Result<(String, Vec<Bound>), String> {
    let mut lines = page.lines().skip_while(|line| !line.starts_with(HEAD));
    let head =
        lines.next().ok_or_else(|| format!("{PAGE} has no table that begins with {HEAD}"))?;
    let stated = head.trim_start_matches(HEAD).split(' ').next().unwrap_or_default().to_owned();
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let bounds = rows.map(|row| {
        let mut cells = row.trim_matches('|').rsplitn(2, '|').map(str::trim);
        let most = cells.next().and_then(|most| most.parse().ok());
        match (most, cells.next()) {
            (Some(most), Some(path)) => Ok(Bound { path: path.to_owned(), most }),
            _ => Err(format!("{PAGE}: {row} is no path and its instructions")),
        }
    });
    Ok((stated, bounds.collect::<Result<_, _>>()?))
}

/// The page with these rows in its table.
fn with_rows(page: &str, compiler: &str, rows: &[String]) -> Outcome {
    let begin = page.find(HEAD).ok_or_else(|| format!("{PAGE} has no table of instructions"))?;
    let (before, table) = page.split_at(begin);
    let behind = table.find("\n\n").and_then(|end| table.get(end..)).unwrap_or("\n");
    Ok(format!("{before}{HEAD}{compiler} | at most |\n|---|---|\n{}{behind}", rows.join("\n")))
}

/// The instructions of one run of a path.
fn count(program: &std::path::Path, path: &str) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    // What is between the beginning and the end of this function (Callgrind's manual, "Limiting the range").
    command.arg("--toggle-collect=*counted*").arg(program).arg(path);
    let output = command.output().map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    match collected.and_then(|(_, number)| number.trim().parse::<u64>().ok()) {
        Some(number) if output.status.success() && number > 0 => Ok(number.div_ceil(TIMES)),
        _ => Err(format!("valgrind could not count {path}: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "before\n\n| instructions, rustc 1.2 | at most |\n|---|---|\n| next, 64 B | 78 |\n\nbehind\n";

    #[test]
    fn the_table_is_read_and_written() {
        let (compiler, found) = bounds(TABLE).unwrap();
        assert_eq!(compiler, "1.2");
        assert!(matches!(&found[..], [Bound { path, most: 78 }] if path == "next, 64 B"));
        let new = with_rows(TABLE, "1.3", &["| a, b | 5 |".to_owned()]).unwrap();
        let (compiler, found) = bounds(&new).unwrap();
        assert_eq!(compiler, "1.3");
        assert!(matches!(&found[..], [Bound { path, most: 5 }] if path == "a, b"));
        assert!(new.starts_with("before\n") && new.ends_with("\n\nbehind\n"));
        assert!(bounds("no table").is_err());
        assert!(bounds(&TABLE.replace("78", "many")).is_err());
    }

    #[test]
    fn a_count_is_right_within_a_twentieth() {
        assert_eq!(judge("next", 100, Some(100)), None);
        assert_eq!(judge("next", 105, Some(100)), None);
        assert!(judge("next", 106, Some(100)).is_some());
        assert!(judge("next", 95, Some(100)).is_some_and(|why| why.contains("only")));
        assert!(judge("next", 100, None).is_some());
    }
}
