//! The systems that are compared, one file each, and the list of them.

#[cfg(feature = "aeron")]
mod aeron;
mod bus;
mod cache_line;
pub mod chronicle;
mod copy;
mod crossbeam;
mod futex;
mod iceoryx2;
pub mod ideal;
mod pipe;
mod rtrb;
mod socket;

use std::fs;
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::control::Control;
use crate::job::{Drive, Job, Side, Values};
use crate::measure::drive::{lag, receive, send};
use crate::system::{Place, Processes, Threads};

/// A system, or a limit, in the comparison.
pub struct Entry {
    /// As it is called in tables and on the command line.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// The processes that it takes.
    pub sides: &'static [Side],
    /// Whether it takes part, driven like this and with messages of this size.
    pub takes_part: fn(Drive, usize) -> bool,
    /// Bytes of messages after which everything it uses is warm.
    pub warm_up_bytes: u64,
    run: fn(Side, &Job) -> Result<Values>,
}

const TWO: &[Side] = &[Side::Receive, Side::Send];
const ONE: &[Side] = &[Side::Both];
/// More than Chronicle allocates before it needs more space, which it then gets in one piece.
const WARM_UP_BYTES: u64 = 4 << 20;

const fn processes<S: Processes>(name: &'static str, what: &'static str) -> Entry {
    Entry {
        name,
        what,
        sides: TWO,
        takes_part: |drive, _| !matches!(drive, Drive::Woken { .. }),
        warm_up_bytes: WARM_UP_BYTES,
        run: run_process::<S>,
    }
}

const fn threads<S: Threads>(name: &'static str, what: &'static str) -> Entry {
    Entry { sides: ONE, run: run_threads::<S>, ..processes::<pipe::Pipe>(name, what) }
}

/// An entry for each size of message, where a size is a type.
macro_rules! each_size {
    ($shape:ident, $system:path, $name:expr, $what:expr) => {
        [
            each_size!($shape, $system, $name, $what, 64),
            each_size!($shape, $system, $name, $what, 256),
            each_size!($shape, $system, $name, $what, 1024),
            each_size!($shape, $system, $name, $what, 16384),
        ]
    };
    ($shape:ident, $system:path, $name:expr, $what:expr, $size:expr) => {{
        use $system as System;
        Entry {
            takes_part: |drive, size| size == $size && !matches!(drive, Drive::Woken { .. }),
            ..$shape::<System<$size>>($name, $what)
        }
    }};
}

/// Everything that is compared. To add a system, add a file beside this one and a line here.
const LISTS: &[&[Entry]] = &[
    &[
        processes::<chronicle::OneSegment<false>>("chronicle", "one prepared segment, no checksum"),
        processes::<chronicle::OneSegment<true>>(
            "chronicle crc",
            "the same, CRC-32C written and verified",
        ),
        processes::<chronicle::Timed>(
            "chronicle timed",
            "one prepared segment, no checksum, times given by the writer",
        ),
        processes::<chronicle::Rolling<128, true>>(
            "chronicle default",
            "as opened without options: CRC-32C, segments of 128 MiB prepared as it goes",
        ),
        Entry {
            takes_part: |drive, _| matches!(drive, Drive::OneWay { .. }),
            ..processes::<chronicle::Rolling<1, false>>(
                "chronicle rolling",
                "segments of 1 MiB prepared as it goes, no checksum",
            )
        },
        processes::<ideal::Ideal<{ ideal::BARE }>>("ideal", "a bare queue of a hundred lines"),
        processes::<ideal::Ideal<{ ideal::SEQ }>>("ideal +seq", "with sequence number"),
        processes::<ideal::Ideal<{ ideal::SEQ_TIME }>>(
            "ideal +time",
            "and with time stamps from the counter, as Chronicle's",
        ),
        processes::<ideal::Ideal<{ ideal::SEQ_TIME_WAKE }>>(
            "ideal +wake",
            "and with Chronicle's look for sleepers",
        ),
        processes::<ideal::Ideal<{ ideal::PLAIN }>>("ideal full", "and with segments"),
        processes::<ideal::Ideal<{ ideal::SEALED }>>(
            "ideal full crc",
            "and with CRC-32C, written and verified",
        ),
        processes::<ideal::Ideal<{ ideal::PLAIN_LAZY }>>(
            "ideal full lazy",
            "ideal full, but the reader's pages are not present before",
        ),
        #[cfg(feature = "aeron")]
        Entry {
            warm_up_bytes: aeron::WARM_UP_BYTES,
            ..processes::<aeron::Aeron<false>>(
                "aeron offer",
                "Aeron IPC, exclusive publication, offer",
            )
        },
        #[cfg(feature = "aeron")]
        Entry {
            warm_up_bytes: aeron::WARM_UP_BYTES,
            ..processes::<aeron::Aeron<true>>(
                "aeron claim",
                "Aeron IPC, exclusive publication, tryClaim",
            )
        },
        processes::<iceoryx2::Slices>("iceoryx2 copy", "iceoryx2, copied into slices"),
    ],
    &each_size!(
        processes,
        self::iceoryx2::Loans,
        "iceoryx2 loan",
        "iceoryx2, written in place in loaned samples"
    ),
    &[
        processes::<pipe::Pipe>("pipe", "Unix pipe"),
        processes::<socket::Socket>("socket", "Unix socket, SOCK_SEQPACKET"),
        threads::<rtrb::Rtrb>("rtrb", "threads, not persisted: a ring of bytes"),
    ],
    &each_size!(
        threads,
        self::crossbeam::Channel,
        "crossbeam channel",
        "threads, not persisted: bounded channel"
    ),
    &each_size!(
        threads,
        self::crossbeam::Array,
        "crossbeam array",
        "threads, not persisted: ArrayQueue"
    ),
    &[
        Entry {
            takes_part: |drive, _| matches!(drive, Drive::Woken { .. }),
            ..processes::<chronicle::Parked>("chronicle parked", "a reader that sleeps")
        },
        Entry {
            takes_part: |drive, size| size == bus::SIZE && matches!(drive, Drive::Woken { .. }),
            ..processes::<bus::Bus>(
                "chronicle bus",
                "a strategy's orders and a router that sleeps in a set, both counted",
            )
        },
        Entry {
            takes_part: |drive, _| matches!(drive, Drive::Woken { .. }),
            ..processes::<futex::Futex>("futex", "limit: a bare futex")
        },
        Entry {
            name: "cache line",
            what: "limit: a number in the same cache line each time",
            sides: TWO,
            takes_part: |drive, size| drive == Drive::RoundTrip && size == 64,
            warm_up_bytes: 0,
            run: cache_line::same,
        },
        Entry {
            name: "another line",
            what: "limit: a number in another cache line each time",
            sides: TWO,
            takes_part: |drive, size| drive == Drive::RoundTrip && size == 64,
            warm_up_bytes: 0,
            run: cache_line::another,
        },
        Entry {
            name: "memcpy",
            what: "limit: copies into a warm mapping, which nobody reads",
            sides: ONE,
            takes_part: |drive, _| drive == Drive::Behind,
            warm_up_bytes: 0,
            run: copy::run,
        },
    ],
];

/// The systems that take part in a measurement.
pub fn taking_part(drive: Drive, size: usize) -> impl Iterator<Item = &'static Entry> {
    let all = LISTS.iter().flat_map(|list| list.iter());
    all.filter(move |entry| (entry.takes_part)(drive, size))
}

/// What could not be built into this program, and how it could.
pub const SKIPPED: &[(&str, &str)] = &[
    #[cfg(not(feature = "aeron"))]
    ("aeron", "built without: needs cmake 3.30, a C compiler, libclang, libbsd and libuuid"),
];

/// The names of all systems, and what each is.
pub fn names() -> Vec<(&'static str, &'static str)> {
    let entries = LISTS.iter().flat_map(|list| list.iter());
    let mut names: Vec<_> = entries.map(|entry| (entry.name, entry.what)).collect();
    names.dedup();
    names
}

/// Runs one side of a job; called in the process that plays it.
pub fn run(side: Side, job: &Job) -> Result<Values> {
    let entry = taking_part(job.drive, job.size).find(|entry| entry.name == job.system);
    let entry = entry.with_context(|| format!("no system is called {}", job.system))?;
    (entry.run)(side, job).with_context(|| format!("{} ({side:?})", job.system))
}

/// Refuses a processor that the ideal queue cannot run on.
pub fn check_processor() -> Result<()> {
    ideal::check_processor()
}

/// Makes what both sides need before they start.
pub fn prepare(job: &Job) -> Result<()> {
    for direction in ["there", "back"] {
        fs::create_dir(job.directory.join(direction))?;
    }
    Control::create(&job.directory.join("control"))
}

fn open_control(job: &Job) -> Result<Control> {
    Control::open(&job.directory.join("control"))
}

fn run_process<S: Processes>(side: Side, job: &Job) -> Result<Values> {
    let control = open_control(job)?;
    let lag = lag(job, S::capacity(job.size));
    let (there, back) = (Place::new(job, "there"), Place::new(job, "back"));
    let both_ways = job.drive == Drive::RoundTrip;
    // Both sides open first what leads there: each may wait for the other in it.
    match side {
        Side::Send => {
            let mut sender = S::sender(&there)?;
            let mut receiver = if both_ways { Some(S::receiver(&back)?) } else { None };
            send(job, &control, lag, &mut sender, receiver.as_mut())
        }
        Side::Receive => {
            let mut receiver = S::receiver(&there)?;
            let mut sender = if both_ways { Some(S::sender(&back)?) } else { None };
            receive(job, &control, lag, &mut receiver, sender.as_mut())
        }
        Side::Both => Err(anyhow!("each side is a process")),
    }
}

fn run_threads<S: Threads>(_: Side, job: &Job) -> Result<Values> {
    let control = open_control(job)?;
    let lag = lag(job, Some(S::capacity(job.size)));
    let (mut sender, mut receiver) = S::pair(&Place::new(job, "there"))?;
    let (mut back_sender, mut back_receiver) = S::pair(&Place::new(job, "back"))?;
    thread::scope(|scope| {
        let control = &control;
        let receiving =
            scope.spawn(move || receive(job, control, lag, &mut receiver, Some(&mut back_sender)));
        let mut values = send(job, control, lag, &mut sender, Some(&mut back_receiver))?;
        let received = receiving.join().map_err(|_| anyhow!("the receiving thread panicked"))?;
        values.extend(received?);
        Ok(values)
    })
}
