//! What processes do while a call fails.

use crate::fixture::Fixture;

/// When a process says that a message is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ack {
    /// Not one by one: all of them, by ending well.
    AtEnd,
    /// A line for each message that is visible.
    Visible,
    /// A line for each message that is durable.
    Durable,
}

/// What the output of a process that ended well is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prints {
    /// Numbers of messages, or nothing.
    Numbers,
    /// What it is without a fault; of a process that failed, the beginning of that.
    Messages,
    /// Anything.
    Report,
    /// What it is without a fault, if the process ends well; else anything.
    Verdict,
}

/// What happens beside the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// A writer opens the queue a little later and appends so many messages, a few at a time.
    Writer(u64),
}

/// A process, and what it finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) fixture: Fixture,
    /// Of `chron-cli`, where QUEUE is the queue and COPY a directory beside it that is not there; of the
    /// worker, which does again what failed, if there are none.
    pub(crate) arguments: &'static [&'static str],
    /// Lines on its standard input.
    pub(crate) lines: u64,
    pub(crate) ack: Ack,
    pub(crate) prints: Prints,
    pub(crate) beside: Beside,
    /// Whether it may remove messages that the named reader has passed.
    pub(crate) removes: bool,
}

const APPEND: Scenario = Scenario {
    name: "append",
    fixture: Fixture::Filled,
    arguments: &["append", "QUEUE", "--ack"],
    lines: 40,
    ack: Ack::Visible,
    prints: Prints::Numbers,
    beside: Beside::Nothing,
    removes: false,
};

const TAIL: Scenario = Scenario {
    name: "tail",
    arguments: &["tail", "QUEUE", "--format", "raw"],
    lines: 0,
    ack: Ack::AtEnd,
    prints: Prints::Messages,
    ..APPEND
};

const LOOK: Scenario = Scenario { prints: Prints::Report, ..TAIL };

const REPAIR: Scenario = Scenario { fixture: Fixture::Damaged, ..LOOK };

/// Messages that the worker appends.
pub(crate) const WORKER_APPENDS: u64 = 89;

/// All of them.
pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "create",
        fixture: Fixture::Missing,
        arguments: &["create", "QUEUE", "--segment-size", "4KiB"],
        ..LOOK
    },
    Scenario {
        name: "append to none",
        fixture: Fixture::Missing,
        arguments: &["append", "QUEUE", "--segment-size", "4KiB", "--ack"],
        ..APPEND
    },
    APPEND,
    Scenario {
        name: "append durably",
        arguments: &["append", "QUEUE", "--ack=durable"],
        ack: Ack::Durable,
        ..APPEND
    },
    Scenario {
        name: "append and sync beside",
        arguments: &["append", "QUEUE", "--ack=durable", "--batch", "8", "--sync-every", "1ms"],
        ack: Ack::Durable,
        ..APPEND
    },
    Scenario {
        name: "append and flush",
        fixture: Fixture::Large,
        arguments: &["append", "QUEUE", "--flush"],
        ack: Ack::AtEnd,
        ..APPEND
    },
    Scenario { name: "append behind a dead writer", fixture: Fixture::Crashed, ..APPEND },
    Scenario { name: "append after a reboot", fixture: Fixture::Rebooted, ..APPEND },
    Scenario { name: "append after a failed sync", fixture: Fixture::Poisoned, ..APPEND },
    Scenario { name: "append and remove", fixture: Fixture::Prunable, removes: true, ..APPEND },
    TAIL,
    Scenario {
        name: "tail by name",
        arguments: &["tail", "QUEUE", "--format", "raw", "--reader", "r"],
        ..TAIL
    },
    Scenario {
        name: "tail by a new name",
        arguments: &["tail", "QUEUE", "--format", "raw", "--reader", "new"],
        ..TAIL
    },
    Scenario {
        name: "tail backwards",
        fixture: Fixture::Large,
        arguments: &["tail", "QUEUE", "--format", "raw", "--reverse", "--limit", "30"],
        ..TAIL
    },
    Scenario {
        name: "tail from a time",
        fixture: Fixture::Large,
        arguments: &["tail", "QUEUE", "--format", "raw", "--from", "seq:1400"],
        ..TAIL
    },
    Scenario {
        name: "tail along with a writer",
        arguments: &["tail", "-f", "QUEUE", "--format", "raw", "--limit", "75"],
        beside: Beside::Writer(20),
        ..TAIL
    },
    Scenario {
        name: "tail before the queue",
        fixture: Fixture::Missing,
        arguments: &["tail", "-f", "QUEUE", "--format", "raw", "--limit", "15"],
        beside: Beside::Writer(20),
        ..TAIL
    },
    Scenario { name: "inspect", arguments: &["inspect", "QUEUE"], ..LOOK },
    Scenario { name: "verify", arguments: &["verify", "QUEUE"], prints: Prints::Verdict, ..TAIL },
    Scenario { name: "readers ls", arguments: &["readers", "ls", "QUEUE"], ..LOOK },
    Scenario { name: "readers rm", arguments: &["readers", "rm", "QUEUE", "r"], ..LOOK },
    Scenario {
        name: "retention why",
        fixture: Fixture::Prunable,
        arguments: &["retention", "why", "QUEUE"],
        ..LOOK
    },
    Scenario {
        name: "retention apply",
        fixture: Fixture::Prunable,
        arguments: &["retention", "apply", "QUEUE"],
        removes: true,
        ..LOOK
    },
    Scenario { name: "repair, a plan", arguments: &["repair", "QUEUE"], ..REPAIR },
    Scenario { name: "repair in place", arguments: &["repair", "QUEUE", "--apply"], ..REPAIR },
    Scenario { name: "repair a copy", arguments: &["repair", "QUEUE", "--into", "COPY"], ..REPAIR },
    Scenario {
        name: "worker",
        fixture: Fixture::Missing,
        arguments: &[],
        lines: WORKER_APPENDS,
        removes: true,
        ..APPEND
    },
];
