//! What one run of a program that verifies has done: one JSON object in a file, so that the figures of
//! many runs can be added up from what was written down and need not be estimated.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Map, Value};

/// The account of one run.
///
/// Every account has `what`, `commit` (null where there is no repository; it ends with `-dirty` where
/// the tree had changes), `seed` (null where nothing is random), `seconds` and `failures`. Beside them
/// are the counts of the program, by name.
pub struct Account {
    fields: Map<String, Value>,
    begun: Instant,
}

impl Account {
    /// Begins the account of a run of `what`; time counts from here.
    #[must_use]
    pub fn begin(what: &str, seed: Option<u64>) -> Self {
        let mut fields = Map::new();
        fields.insert("what".to_owned(), what.into());
        // Now, because a long run may see its tree move on.
        fields.insert("commit".to_owned(), commit().into());
        fields.insert("seed".to_owned(), seed.into());
        Self { fields, begun: Instant::now() }
    }

    /// Adds to a count, which begins at zero.
    pub fn add(&mut self, name: &str, count: u64) {
        let before = self.fields.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.fields.insert(name.to_owned(), before.saturating_add(count).into());
    }

    /// Says that nothing was done, and why.
    pub fn skip(&mut self, reason: &str) {
        self.fields.insert("skipped".to_owned(), reason.into());
    }

    /// Writes the account of a run with so many failures, in place of what the file held.
    ///
    /// # Errors
    /// In words, if the file cannot be written.
    pub fn write(mut self, path: &Path, failures: u64) -> Result<(), String> {
        self.fields.insert("seconds".to_owned(), self.begun.elapsed().as_secs_f64().into());
        self.fields.insert("failures".to_owned(), failures.into());
        let line = format!("{}\n", Value::Object(self.fields));
        fs::write(path, line).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// The commit of the sources that this was built from, as far as can be told now, with `-dirty` behind
/// it where the tree has changes; `None` without a repository.
#[must_use]
pub fn commit() -> Option<String> {
    let told = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let name = String::from_utf8(told.stdout).ok()?;
    told.status.success().then(|| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_holds_sums_and_says_how_the_run_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("account.json");
        let mut account = Account::begin("trial", Some(7));
        account.add("states", 2);
        account.add("states", 3);
        account.write(&path, 1).unwrap();
        let written: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let expected = [("what", Value::from("trial")), ("seed", 7.into()), ("states", 5.into())];
        for (name, value) in expected.into_iter().chain([("failures", 1.into())]) {
            assert_eq!(written.get(name), Some(&value), "{written}");
        }
        assert!(written.get("seconds").is_some_and(Value::is_f64), "{written}");
        assert!(written.get("commit").is_some(), "{written}");
        assert_eq!(written.get("skipped"), None);
    }

    #[test]
    fn a_run_that_did_nothing_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("account.json");
        let mut account = Account::begin("trial", None);
        account.skip("nothing here to try it on");
        account.write(&path, 0).unwrap();
        let written: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(written.get("skipped"), Some(&Value::from("nothing here to try it on")));
        assert_eq!(written.get("seed"), Some(&Value::Null));
    }
}
