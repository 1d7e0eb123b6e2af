//! Standard output and standard error. Neither may be there, and nobody may be reading.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use serde::Serialize;

use crate::failure::Failure;

/// Standard output without a line buffer in between.
pub(crate) fn standard_output() -> Result<File, Failure> {
    let descriptor = io::stdout().as_fd().try_clone_to_owned();
    descriptor.map(File::from).map_err(|error| Failure::output(&error))
}

/// Writes a whole text to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    standard_output()?.write_all(text.as_bytes()).map_err(|error| Failure::output(&error))
}

/// Writes a value to standard output as indented JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::Internal(format!("cannot write JSON: {error}")))?;
    print(&(text + "\n"))
}

/// One line on standard error under the name of the program.
pub(crate) fn complain(message: &str) {
    note(&format!("chron-cli: {message}"));
}

/// One line on standard error. If that is closed, there is nobody to tell.
pub(crate) fn note(message: &str) {
    let line = message.replace('\n', "\\n") + "\n";
    let _ = io::stderr().write_all(line.as_bytes());
}
