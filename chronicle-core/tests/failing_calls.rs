//! Every call of the platform fails once, in every way that is plausible, at every place of a script
//! that uses a queue from its creation to its last close.
//!
//! Whatever fails: the caller gets a typed error or does not notice, the same call made again works,
//! a failed sync poisons and nothing else does, and in the end the queue holds exactly what was
//! acknowledged and no temporary file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use chronicle_core::{
    Appender, CreateOptions, Error, Inspection, Operation, ReaderName, ReplicaReporter,
    RetentionPolicy, RetentionReport, SegmentSize, Start, Syncer, TailOptions, Tailer, Visibility,
    WaitStrategy, Watermark, Watermarks, WriteOptions, apply_retention, create, plan_retention,
    remove_reader, verify,
};
use chronicle_format::layout::control;
use chronicle_sync::{Clock, ErrorKind, Platform};
use support::faulty::{Call, Faults, Faulty, FaultyError};
use support::{Home, TYPE};

/// Large enough for an index, and small enough for many rolls.
const SEGMENT: u64 = 68 << 10;
const STEP: u64 = 16 << 10;
/// Segments that the queue keeps.
const KEPT: u64 = 3;

/// How a call can plausibly fail.
fn plausible(call: Call) -> &'static [ErrorKind] {
    use ErrorKind::{
        AlreadyExists, Denied, Exhausted, Io, Locked, NoSpace, NotFound, Other, Unsupported,
    };
    match call {
        Call::Prepare | Call::Stage => &[NoSpace, Denied, Exhausted, Io],
        Call::SyncStaged | Call::Sync => &[Io, NoSpace, Exhausted],
        Call::Publish => &[AlreadyExists, NoSpace, Denied, Io],
        Call::Open | Call::View => &[NotFound, Denied, Exhausted, Io],
        Call::CopyOut => &[NotFound, Denied, Exhausted, Io],
        Call::SyncObject => &[NotFound, Io],
        Call::Remove => &[Denied, Io],
        Call::Visit => &[Exhausted, Denied, Io],
        Call::Reserve => &[NoSpace, Io, Unsupported],
        Call::SyncNames => &[Io, Exhausted, Denied],
        Call::Lock => &[Locked, NotFound, Denied, Exhausted],
        Call::Inscribe => &[NoSpace, Io],
        Call::LockState => &[Exhausted, Io],
        Call::Wait | Call::Wake => &[Other],
        // Hints, and what only a repair asks for.
        Call::Prefault | Call::Sweep | Call::Rescue | Call::WriteStaged => &[],
    }
}

/// A payload of one of the sizes that matter: empty, small, several steps, the largest.
fn payload(number: u64) -> Vec<u8> {
    let length = match number % 8 {
        0 => 0,
        1..=4 => 5000 + number as usize,
        5 => 20_000,
        6 => 100,
        _ => 11_000,
    };
    let length = if number == 37 { SEGMENT as usize - 96 } else { length };
    let mut bytes = vec![number as u8; length];
    let stamp = number.to_le_bytes();
    bytes.iter_mut().zip(stamp).for_each(|(byte, stamp)| *byte = stamp);
    bytes
}

/// The script, and what it has been promised so far.
struct Script<'a> {
    home: &'a Home,
    faults: &'a Faults,
    /// What is to fail, for messages.
    point: String,
    /// Records whose append returned.
    acknowledged: u64,
    /// Errors that reached the caller.
    errors: u32,
    reboots: u32,
}

type Writer = Appender<Faulty>;
type Failure = Error<FaultyError>;

impl Script<'_> {
    fn platform(&self) -> Faulty {
        Faulty::new(|| self.home.platform(), self.faults)
    }

    /// Makes a call; a second time if it fails, which must work because the fault is over.
    fn again<T: Debug>(
        &mut self,
        what: &str,
        mut call: impl FnMut(&Self) -> Result<T, Failure>,
    ) -> T {
        match call(self) {
            Ok(done) => done,
            Err(error) => {
                self.note(what, &error);
                call(self).unwrap_or_else(|second| {
                    panic!("{}: {what}: {error:?}, and again: {second:?}", self.point)
                })
            }
        }
    }

    fn note(&mut self, what: &str, error: &Failure) {
        self.errors += 1;
        assert!(!error.to_string().is_empty());
        assert!(self.errors <= 3, "{}: {what}: {error:?} is one error too many", self.point);
        let mut claim = None;
        if let Error::Platform { source: FaultyError::Injected(call, kind), .. } = error {
            claim = Some((call, kind));
        }
        if let Some((Call::Sync | Call::SyncNames, _)) = claim {
            assert!(!error.to_string().contains("nothing was lost"), "{}: {error}", self.point);
        }
    }

    /// Opens the writer, after a reboot if a sync has failed.
    fn writer(&mut self) -> Writer {
        for _ in 0..3 {
            let mut options = WriteOptions::default();
            options.step = STEP;
            match Appender::open(self.platform(), options) {
                Ok(writer) => return writer,
                Err(Error::Poisoned) => self.reboot(),
                Err(error) => self.note("open", &error),
            }
        }
        panic!("{}: no writer can be opened", self.point);
    }

    /// Has the queue look as after a reboot at which nothing was lost.
    fn reboot(&mut self) {
        self.reboots += 1;
        self.home.forget_boot();
        self.home.write_at("control.meta", control::POISONED_BOOT as u64, &[0xee; 8]);
    }

    /// What is to be done about a writer's error: the writer to go on with, and whether the call is
    /// to be made again.
    fn after(&mut self, what: &str, writer: Writer, error: &Failure) -> Writer {
        self.note(what, error);
        assert_eq!(writer.next_seq(), self.acknowledged, "{}: {what}: {error:?}", self.point);
        match error {
            Error::Platform { .. } | Error::Damaged(_) | Error::Format { .. } => writer,
            Error::Poisoned | Error::Fenced { .. } => {
                drop(writer);
                self.writer()
            }
            other => panic!("{}: {what}: {other:?}", self.point),
        }
    }

    /// Removes what may go. It syncs too, so a failure may poison the queue: then it is opened anew.
    fn retain(&mut self, mut writer: Writer) -> (RetentionReport, Writer) {
        for _ in 0..3 {
            match apply_retention(&self.platform(), |_| false) {
                Ok(report) => return (report, writer),
                Err(Error::Poisoned) => {
                    drop(writer);
                    writer = self.writer();
                }
                Err(error) => self.note("retention", &error),
            }
        }
        panic!("{}: nothing can be removed", self.point);
    }

    fn append(&mut self, mut writer: Writer, count: u64) -> Writer {
        for _ in 0..count {
            let number = self.acknowledged;
            for attempt in 0.. {
                assert!(attempt < 3, "{}: append {number}", self.point);
                let appended = if number % 5 == 2 {
                    let bytes = payload(number);
                    writer.claim(bytes.len()).and_then(|mut claim| {
                        claim.copy_from_slice(&bytes);
                        claim.commit(TYPE)
                    })
                } else {
                    writer.append(TYPE, &payload(number))
                };
                match appended {
                    Ok(seq) => {
                        assert_eq!(seq, number, "{}", self.point);
                        break;
                    }
                    Err(error) => writer = self.after("append", writer, &error),
                }
            }
            self.acknowledged += 1;
        }
        writer
    }

    fn flush(&mut self, mut writer: Writer) -> Writer {
        let before = writer.durable_seq();
        for attempt in 0.. {
            assert!(attempt < 3, "{}: flush", self.point);
            match writer.flush() {
                Ok(()) => break,
                Err(error) => {
                    // Where only the checkpoint failed, the records are durable.
                    let durable_seq = writer.durable_seq();
                    let true_still = durable_seq == before || durable_seq == self.acknowledged;
                    assert!(true_still, "{}: {error:?}: {durable_seq}", self.point);
                    let poisoned = matches!(writer.begin_flush(), Err(Error::Poisoned));
                    let sync_failed = matches!(
                        &error,
                        Error::Platform { operation: Operation::Sync, source, .. }
                            if matches!(
                                chronicle_sync::Error::kind(source),
                                ErrorKind::Io | ErrorKind::NoSpace
                            )
                    );
                    assert_eq!(poisoned, sync_failed, "{}: {error:?}", self.point);
                    writer = self.after("flush", writer, &error);
                    if poisoned {
                        drop(writer);
                        writer = self.writer();
                    }
                }
            }
        }
        assert_eq!(writer.durable_seq(), self.acknowledged, "{}", self.point);
        writer
    }

    fn reader(&mut self, name: Option<&str>, visibility: Visibility) -> Tailer<Faulty> {
        let mut options = TailOptions::default();
        options.name = name.map(|name| ReaderName::new(name).unwrap());
        options.visibility = visibility;
        for _ in 0..3 {
            match Tailer::open(self.platform(), &options) {
                Ok(tailer) => return tailer,
                Err(error) => self.note("open reader", &error),
            }
        }
        panic!("{}: no reader can be opened", self.point);
    }

    /// Reads so many records, from the given one on.
    fn read(&mut self, tailer: &mut Tailer<Faulty>, from: u64, count: u64) {
        for number in from..from + count {
            let mut failed = None;
            let message = match tailer.next() {
                Err(error) => {
                    failed = Some(error);
                    None
                }
                Ok(message) => message.map(|message| (message.seq, message.payload.to_vec())),
            };
            let message = match failed {
                None => message,
                Some(error) => {
                    self.note("read", &error);
                    let message = tailer.next().unwrap();
                    message.map(|message| (message.seq, message.payload.to_vec()))
                }
            };
            assert!(message == Some((number, payload(number))), "{}: record {number}", self.point);
        }
    }

    fn run(&mut self) {
        let mut options = CreateOptions::default();
        options.segment_size = SegmentSize::new(SEGMENT).unwrap();
        options.retention = RetentionPolicy::KEEP_ALL;
        options.retention.max_segments = Some(KEPT);
        match create(&self.platform(), &options) {
            Ok(()) => {}
            Err(error) => {
                self.note("create", &error);
                match create(&self.platform(), &options) {
                    // Only the last sync of names came too late to be undone.
                    Ok(()) | Err(Error::AlreadyExists) => {}
                    Err(second) => panic!("{}: {error:?}, then {second:?}", self.point),
                }
            }
        }

        let mut writer = self.writer();
        writer = self.append(writer, 12);
        let mut durable = self.reader(None, Visibility::Durable);
        assert!(durable.next().unwrap().is_none());
        writer = self.flush(writer);
        self.read(&mut durable, 0, 12);

        let mut named = self.reader(Some("named"), Visibility::Visible);
        self.read(&mut named, 0, 7);
        named.commit().unwrap();
        drop(named);

        if let Err(error) = writer.prepare_next() {
            self.note("prepare", &error);
        }
        writer = self.append(writer, 20);
        drop(writer.claim(50_000));
        writer = self.append(writer, 1);
        writer = self.flush(writer);

        // Nobody has read what is to go.
        let (report, opened) = self.retain(writer);
        writer = opened;
        assert_eq!(report.plan.readers_keep_from, report.plan.oldest, "{}", self.point);
        let mut named = self.reader(Some("named"), Visibility::Visible);
        self.read(&mut named, 7, 20);
        named.commit().unwrap();
        let seq = self.acknowledged - 3;
        let sought = match named.seek_seq(seq) {
            Ok(sought) => sought,
            Err(error) => {
                self.note("seek", &error);
                named.seek_seq(seq).unwrap()
            }
        };
        assert!(sought.found, "{}", self.point);
        self.read(&mut named, seq, 3);
        let until = self.platform().clock().now().after(Duration::from_millis(1));
        if let Err(error) = named.wait(WaitStrategy::Park, until, Some(Duration::ZERO)) {
            self.note("wait", &error);
        }
        named.commit().unwrap();
        drop(named);
        self.again("plan", |script| plan_retention(&script.platform(), |_| false));
        (_, writer) = self.retain(writer);

        // A syncer of its own, as group commit has it.
        if let Some(syncer) = writer.detach_syncer() {
            writer = self.append(writer, 9);
            writer = self.sync_beside(syncer, writer);
        }
        self.again("inspect", |script| {
            let platform = script.platform();
            let inspection = Inspection::of(&platform)?;
            let mut damaged = Ok(());
            inspection.readers(&platform, |reader| {
                if let Err(error) = reader {
                    damaged = Err(error);
                }
            })?;
            damaged
        });
        self.again("verify", |script| {
            let mut first = None;
            verify(&script.platform(), |fault| {
                first.get_or_insert(fault);
            })?;
            first.map_or(Ok(()), Err)
        });
        self.again("report", |script| {
            let mut reporter = ReplicaReporter::open(script.platform())?;
            reporter.advance(5);
            let mut marks = Watermarks::open(script.platform())?;
            let until = script.platform().clock().now();
            marks.wait(Watermark::Replicated, 4, until, None)
        });
        drop(writer);

        let writer = self.writer();
        let writer = self.append(writer, 2);
        drop(writer);
        let name = ReaderName::new("named").unwrap();
        match remove_reader(&self.platform(), &name) {
            Ok(()) => {}
            Err(error) => {
                self.note("remove", &error);
                remove_reader(&self.platform(), &name).unwrap();
            }
        }
        let mut latest = TailOptions::default();
        latest.start = Start::Latest;
        self.again("latest", |script| Tailer::open(script.platform(), &latest).map(drop));
    }

    fn sync_beside(&mut self, mut syncer: Syncer<Faulty>, writer: Writer) -> Writer {
        for attempt in 0.. {
            assert!(attempt < 3, "{}: sync", self.point);
            let platform = self.platform();
            match syncer.sync(&platform).and_then(|()| syncer.checkpoint(&platform)) {
                Ok(true) => break,
                Ok(false) => panic!("nobody else is at the checkpoint"),
                Err(error) => {
                    self.note("sync", &error);
                    if matches!(syncer.sync(&platform), Err(Error::Poisoned)) {
                        drop(writer);
                        return self.writer();
                    }
                }
            }
        }
        assert_eq!(syncer.durable_seq(), self.acknowledged, "{}", self.point);
        writer
    }

    /// What everybody finds once nothing fails any more.
    fn check(&mut self) {
        let mut appender = match self.home.try_appender() {
            Err(Error::Poisoned) => {
                self.reboot();
                self.home.appender()
            }
            other => other.unwrap_or_else(|error| panic!("{}: {error:?}", self.point)),
        };
        assert_eq!(appender.recovery().cut, None, "{}", self.point);
        assert_eq!(appender.append(TYPE, &payload(self.acknowledged)).unwrap(), self.acknowledged);
        drop(appender);
        let messages = self.home.read_all();
        let first = messages.first().unwrap().0;
        assert_eq!(messages.last().unwrap().0, self.acknowledged, "{}", self.point);
        for (expected, (seq, bytes)) in (first..).zip(&messages) {
            assert!(*seq == expected && *bytes == payload(expected), "{}: {expected}", self.point);
        }
        let mut faults = Vec::new();
        verify(&self.home.platform(), |fault| faults.push(fault)).unwrap();
        assert!(faults.is_empty(), "{}: {faults:?}", self.point);
        for directory in ["", "readers"] {
            for entry in std::fs::read_dir(self.home.file(directory)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(!name.ends_with(".tmp"), "{}: {name} is left", self.point);
            }
        }
    }
}

/// Runs the script with the `nth` call of a kind failing; whether that call was made at all.
fn run_with(call: Call, nth: u64, kind: ErrorKind) -> bool {
    let home = Home::in_memory();
    let faults = Faults::default();
    faults.fail(call, nth, kind);
    let mut script = Script {
        home: &home,
        faults: &faults,
        point: format!("{call:?} {nth} {kind:?}"),
        acknowledged: 0,
        errors: 0,
        reboots: 0,
    };
    script.run();
    let made = !faults.heal();
    script.check();
    made
}

fn sweep(calls: &[Call]) {
    let mut points: BTreeMap<String, u64> = BTreeMap::new();
    for call in calls {
        for kind in plausible(*call) {
            let made = (0..).take_while(|nth| run_with(*call, *nth, *kind)).count() as u64;
            assert!(made > 0, "the script never makes the call {call:?}");
            points.insert(format!("{call:?} {kind:?}"), made);
        }
    }
    let total: u64 = points.values().sum();
    println!("points of failure: {points:?}");
    println!("counts: {{\"points_of_failure\": {total}}}");
}

#[test]
fn every_opening_may_fail() {
    sweep(&[Call::Open]);
}

#[test]
fn every_look_may_fail() {
    sweep(&[Call::View, Call::CopyOut, Call::Visit, Call::LockState]);
}

#[test]
fn every_making_and_removing_may_fail() {
    sweep(&[Call::Prepare, Call::Stage, Call::SyncStaged, Call::Publish, Call::Remove]);
}

#[test]
fn every_sync_may_fail() {
    sweep(&[Call::Sync, Call::SyncNames, Call::SyncObject]);
}

#[test]
fn every_other_call_may_fail() {
    sweep(&[Call::Reserve, Call::Lock, Call::Inscribe, Call::Wait, Call::Wake]);
}
