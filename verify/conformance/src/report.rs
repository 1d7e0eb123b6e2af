use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a check did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Failed(String),
    Skipped(String),
}

pub(crate) type Verdict = Result<(), Stop>;

/// Stops a check unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::report::Stop::Failed(format!($($what)+)));
        }
    };
}
pub(crate) use ensure;

/// What became of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The backend did what the contract asks for.
    Passed,
    /// The backend cannot be asked: why.
    Skipped(String),
    /// The backend broke the contract: how.
    Failed(String),
}

/// One check of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is checked, as a sentence about a backend.
    pub name: &'static str,
    /// The clause of the contract in `chronicle-sync` that it rests on.
    pub clause: &'static str,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a backend did with the checks of one level.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a report that nobody looks at proves nothing"]
pub struct Report {
    level: &'static str,
    checks: Vec<Check>,
}

impl Report {
    pub(crate) fn new(level: &'static str) -> Self {
        Self { level, checks: Vec::new() }
    }

    pub(crate) fn run(
        &mut self,
        path: &'static str,
        clause: &'static str,
        check: impl FnOnce() -> Verdict,
    ) {
        let name = path.rsplit("::").next().unwrap_or(path).trim();
        let outcome = match catch_unwind(AssertUnwindSafe(check)) {
            Ok(Ok(())) => Outcome::Passed,
            Ok(Err(Stop::Skipped(why))) => Outcome::Skipped(why),
            Ok(Err(Stop::Failed(how))) => Outcome::Failed(how),
            Err(_) => Outcome::Failed("panicked".to_owned()),
        };
        self.checks.push(Check { name, clause, outcome });
    }

    /// The level: `memory`, `threads`, `process`, `durable`, `power-loss` or `watch`.
    #[must_use]
    pub fn level(&self) -> &'static str {
        self.level
    }

    /// All checks, in the order in which they ran.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| matches!(check.outcome, Outcome::Failed(_)))
    }

    /// Prints the report, and fails the test that calls this if a check failed.
    ///
    /// # Panics
    /// If a check failed.
    #[track_caller]
    pub fn assert_passed(&self) {
        println!("{self}");
        let failures = self.failures().count();
        assert!(failures == 0, "{failures} checks of {} failed, see above", self.checks.len());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { name, clause, outcome } in &self.checks {
            match outcome {
                Outcome::Passed => writeln!(f, "{}: passed  {name}", self.level)?,
                Outcome::Skipped(why) => {
                    writeln!(f, "{}: SKIPPED {name}: {why} [{clause}]", self.level)?;
                }
                Outcome::Failed(how) => {
                    writeln!(f, "{}: FAILED  {name}: {how} [{clause}]", self.level)?;
                }
            }
        }
        Ok(())
    }
}
