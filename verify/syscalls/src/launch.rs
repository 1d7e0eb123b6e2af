//! The first moments of a process that is watched: it has itself traced and limited, and becomes the
//! program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::ptrace;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, raise};
use nix::unistd::{Gid, Uid, setgid, setuid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::told;

/// A limit of getrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Limit {
    /// Descriptors
    Descriptors,
    /// Bytes of address space
    Memory,
    /// Bytes of a file
    FileSize,
    /// Processes and threads of the user
    Threads,
}

impl Limit {
    fn resource(self) -> Resource {
        match self {
            Self::Descriptors => Resource::RLIMIT_NOFILE,
            Self::Memory => Resource::RLIMIT_AS,
            Self::FileSize => Resource::RLIMIT_FSIZE,
            Self::Threads => Resource::RLIMIT_NPROC,
        }
    }
}

/// What a process is started with.
#[derive(clap::Args)]
pub(crate) struct Launch {
    /// Numbers of the system calls at which it stops
    #[arg(long, value_delimiter = ',')]
    calls: Vec<i64>,
    #[arg(long, requires = "to")]
    limit: Option<Limit>,
    #[arg(long)]
    to: Option<u64>,
    /// Whom it runs as
    #[arg(long)]
    user: Option<u32>,
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

/// Stops once for the tracer, then becomes the program. Returns only if that fails.
pub(crate) fn launch(launch: &Launch) -> Result<(), String> {
    // Made first: nothing is allocated under a limit.
    let stops: BTreeMap<_, _> = launch.calls.iter().map(|call| (*call, Vec::new())).collect();
    let filter = SeccompFilter::new(
        stops,
        SeccompAction::Allow,
        SeccompAction::Trace(0),
        TargetArch::x86_64,
    );
    let filter: BpfProgram = filter.map_err(told)?.try_into().map_err(told)?;
    let (program, arguments) = launch.program.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(arguments);

    ptrace::traceme().map_err(told)?;
    raise(Signal::SIGSTOP).map_err(told)?;
    if let Some((limit, to)) = launch.limit.zip(launch.to) {
        setrlimit(limit.resource(), to, to).map_err(told)?;
    }
    if let Some(user) = launch.user {
        setgid(Gid::from_raw(user)).map_err(told)?;
        setuid(Uid::from_raw(user)).map_err(told)?;
    }
    if !launch.calls.is_empty() {
        seccompiler::apply_filter(&filter).map_err(told)?;
    }
    Err(told(command.exec()))
}
