//! Processes with little memory and little time.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What a process may allocate: 64 MiB. Mapped files do not count (getrlimit(2), `RLIMIT_DATA`).
const KILOBYTES: &str = "65536";
/// A process that does nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// Runs a program to its end with at most so many seconds of processor time. Fails if it hangs, or is
/// ended by a signal.
pub(crate) fn run<A: AsRef<OsStr>>(
    what: &str,
    seconds: u32,
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = A>,
    root: &Path,
) -> Ended {
    let mut command = Command::new("sh");
    let limits = format!("ulimit -c 0; ulimit -t {seconds}; ulimit -d {KILOBYTES}; exec \"$@\"");
    command.args(["-c", &limits, "sh"]).arg(program).args(arguments).env(crate::ROOT, root);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whoever refuses does not read its input.
    let _ = child.stdin.take().unwrap().write_all(b"behind what was there\n");
    let (output, errors) = (text(child.stdout.take()), text(child.stderr.take()));
    let status = wait(what, &mut child);
    let (output, errors) = (output.join().unwrap(), errors.join().unwrap());
    assert_eq!(status.signal(), None, "{what}: {errors}");
    Ended { status, output, errors }
}

fn text(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.unwrap().read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(what: &str, child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{what} hangs");
        }
        thread::sleep(Duration::from_millis(1));
    }
}
