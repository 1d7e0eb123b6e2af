//! What a part tried, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// How a test says what it has counted: a line of its output that begins with this, and goes on with a
/// JSON object of numbers.
const MARK: &str = "counts: ";

/// Numbers of things that were tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(BTreeMap<String, u64>);

impl Counts {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(&mut self, what: &str, number: u64) {
        *self.0.entry(what.to_owned()).or_default() += number;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, number)| (what.as_str(), *number))
    }

    /// All that tests have said in their output.
    pub(crate) fn read_output(output: &str) -> Result<Self, String> {
        let mut counts = Self::new();
        for line in output.lines() {
            if let Some((_, object)) = line.split_once(MARK) {
                let value: Value = serde_json::from_str(object)
                    .map_err(|error| format!("{line:?} is no count: {error}"))?;
                counts.add_object(&value, &[])?;
            }
        }
        Ok(counts)
    }

    /// The named numbers of an account that a program wrote (`verify/account`); or why it did
    /// nothing.
    pub(crate) fn read_account(
        path: &Path,
        wanted: &[&str],
    ) -> Result<Result<Self, String>, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{path:?}: {error}"))?;
        let value: Value =
            serde_json::from_str(&text).map_err(|error| format!("{path:?}: {error}"))?;
        if let Some(why) = value.get("skipped").and_then(Value::as_str) {
            return Ok(Err(why.to_owned()));
        }
        let mut counts = Self::new();
        counts.add_object(&value, wanted)?;
        counts.demand(wanted).map_err(|why| format!("{path:?}: {why}"))?;
        Ok(Ok(counts))
    }

    /// That each of these was counted, and is not zero: what tried nothing has shown nothing.
    pub(crate) fn demand(&self, wanted: &[&str]) -> Result<(), String> {
        for what in wanted {
            if self.0.get(*what).is_none_or(|number| *number == 0) {
                return Err(format!("nothing was counted as {what:?}"));
            }
        }
        Ok(())
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        for (what, number) in other.iter() {
            self.add(what, number);
        }
    }

    fn add_object(&mut self, value: &Value, wanted: &[&str]) -> Result<(), String> {
        let Some(object) = value.as_object() else { return Err(format!("{value} is no object")) };
        for (what, number) in object {
            if let Some(number) = number.as_u64()
                && (wanted.is_empty() || wanted.contains(&what.as_str()))
            {
                self.add(what, number);
            }
        }
        Ok(())
    }
}

/// `12,345 distinct, 23,456 raw`.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (what, number)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}", grouped(*number), what.replace('_', " "))?;
        }
        Ok(())
    }
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tests_say_is_added_up() {
        let output =
            "running 2 tests\ncounts: {\"kills\": 7}\ntest a ... counts: {\"kills\": 1000}\nok\n";
        let counts = Counts::read_output(output).unwrap();
        assert_eq!(counts.to_string(), "1,007 kills");
        assert!(Counts::read_output("counts: seven").is_err());
    }

    #[test]
    fn thousands_are_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
