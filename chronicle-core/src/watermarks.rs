//! The three watermarks of a queue, for whoever wants to read them or wait for them.

use core::time::Duration;

use chronicle_format::layout::replicated;
use chronicle_format::{FormatError, Object, Position, REPLICATED_FILE_SIZE, ReplicatedHeader};
use chronicle_sync::notify::Barrier;
use chronicle_sync::watermark::{self, WatermarkWords};
use chronicle_sync::{
    Clock, Error as _, ErrorKind, Instant, Platform, Region, RegionExt, RegionMut, RegionMutExt,
    Stage, Storage,
};

use crate::Result;
use crate::control::{News, Notifications, check_notify, decode, view_control, waiters};
use crate::error::{Error, Operation};
use crate::start::Start;
use crate::tailer::{TailOptions, Tailer};
use crate::wait::{WaitOutcome, WriterStatus};

/// A line in the log: every record below it has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Watermark {
    /// It survives the death of any process.
    Visible,
    /// It survives a power loss.
    Durable,
    /// A quorum of replicas has it.
    Replicated,
}

impl Watermark {
    const fn news(self) -> News {
        match self {
            Self::Visible => News::Visible,
            Self::Durable => News::Durable,
            Self::Replicated => News::Replicated,
        }
    }
}

/// Looks at a queue's watermarks, as a passive reader does: registers nothing and holds nothing
/// back.
pub struct Watermarks<P: Platform> {
    /// At or before the head.
    tailer: Tailer<P>,
    /// The replica's file, once there is one.
    replicated: Option<<P::Storage as Storage>::View>,
}

impl<P: Platform> Watermarks<P> {
    /// Opens a queue's watermarks.
    ///
    /// # Errors
    /// As [`Tailer::open`] without a name.
    pub fn open(platform: P) -> Result<Self, P> {
        let options = TailOptions { start: Start::Latest, verify: false, ..TailOptions::default() };
        Ok(Self { tailer: Tailer::open(platform, &options)?, replicated: None })
    }

    /// Records below this are visible: the sequence number of the next one.
    ///
    /// The first call after a while passes over what was appended since.
    ///
    /// # Errors
    /// As [`Tailer::next`]; [`Error::FellBehind`] if everything that was there at the last call was
    /// removed: open anew.
    pub fn visible(&mut self) -> Result<u64, P> {
        self.head().map(|head| head.seq)
    }

    /// The place behind the newest visible record.
    ///
    /// # Errors
    /// As [`visible`](Self::visible).
    pub fn head(&mut self) -> Result<Position, P> {
        self.tailer.skip_to_end()?;
        Ok(self.tailer.position())
    }

    /// Records below this are durable. Never goes back, but over a power loss.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.tailer.control.known_durable_seq()
    }

    /// Records below this were acknowledged by a quorum; `None` if no replica reports for this
    /// queue, or none has since its last one died over a report.
    ///
    /// # Errors
    /// [`Error::Format`] if the replica's file is not one of this queue; the platform's.
    pub fn replicated(&mut self) -> Result<Option<u64>, P> {
        if self.replicated.is_none() {
            let view = match self.tailer.platform.storage().view(&Object::Replicated) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                view => view.map_err(Error::platform(Object::Replicated, Operation::Open))?,
            };
            self.replicated = Some(check(view, self.tailer.control.queue_id())?);
        }
        Ok(self.replicated.as_ref().and_then(replicated_seq))
    }

    /// Waits until `watermark` has passed the record with sequence number `seq`, at most until
    /// `until`; returns [`Ready`](WaitOutcome::Ready) at once if it has.
    ///
    /// After `writer_limit` without a move the writer is looked at: where it is
    /// [`Dead`](WriterStatus::Dead) or [`Stalled`](WriterStatus::Stalled), nothing will become
    /// visible or durable.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if a sync failed, so that the durable watermark will not move any more in
    /// this boot; as [`visible`](Self::visible) and [`replicated`](Self::replicated).
    pub fn wait(
        &mut self,
        watermark: Watermark,
        seq: u64,
        until: Instant,
        writer_limit: Option<Duration>,
    ) -> Result<WaitOutcome, P> {
        let mut look_at_writer = match watermark {
            Watermark::Visible | Watermark::Durable => self.look_at(writer_limit),
            // Quorums move without this queue's writer.
            Watermark::Replicated => Instant::NEVER,
        };
        loop {
            if self.has_passed(watermark, seq)? {
                return Ok(WaitOutcome::Ready);
            }
            let control = &self.tailer.control;
            if watermark == Watermark::Durable
                && control.poisoned_boot() == self.tailer.platform.clock().boot()
            {
                return Err(Error::Poisoned);
            }
            let now = self.tailer.platform.clock().now();
            if now >= until {
                return Ok(WaitOutcome::TimedOut);
            }
            if let Some(limit) = writer_limit
                && now >= look_at_writer
            {
                match self.tailer.writer_status(limit)? {
                    status @ (WriterStatus::Dead | WriterStatus::Stalled) => {
                        return Ok(WaitOutcome::Writer(status));
                    }
                    _ => look_at_writer = now.after(limit),
                }
            }
            self.park(watermark, seq, until.min(look_at_writer))?;
        }
    }

    /// As [`wait`](Self::wait) without a look at the writer, but at most one sleep long: returns too
    /// when it was woken for nothing. For a thread that whoever wakes it may want to end. Returns
    /// whether the watermark has passed the record.
    ///
    /// # Errors
    /// As [`visible`](Self::visible) and [`replicated`](Self::replicated).
    pub fn doze(&mut self, watermark: Watermark, seq: u64, until: Instant) -> Result<bool, P> {
        if self.has_passed(watermark, seq)? {
            return Ok(true);
        }
        self.park(watermark, seq, until)?;
        self.has_passed(watermark, seq)
    }

    /// The platform underneath.
    #[must_use]
    pub fn platform(&self) -> &P {
        self.tailer.platform()
    }

    fn look_at(&self, writer_limit: Option<Duration>) -> Instant {
        let now = self.tailer.platform.clock().now();
        writer_limit.map_or(Instant::NEVER, |limit| now.after(limit))
    }

    fn has_passed(&mut self, watermark: Watermark, seq: u64) -> Result<bool, P> {
        Ok(match watermark {
            Watermark::Visible => self.visible()? > seq,
            Watermark::Durable => self.durable() > seq,
            Watermark::Replicated => self.replicated()?.is_some_and(|passed| passed > seq),
        })
    }

    fn park(&mut self, watermark: Watermark, seq: u64, until: Instant) -> Result<(), P> {
        let news = watermark.news();
        let (tailer, replicated) = (&self.tailer, &self.replicated);
        let look = || match watermark {
            Watermark::Visible => tailer.has_news(),
            Watermark::Durable => tailer.control.durable_seq().is_some_and(|passed| passed > seq),
            Watermark::Replicated => {
                replicated.as_ref().and_then(replicated_seq).is_some_and(|passed| passed > seq)
            }
        };
        let barrier = || match watermark {
            Watermark::Visible => tailer.control.barrier(),
            Watermark::Durable | Watermark::Replicated => Barrier::Full,
        };
        let mut refused = tailer.barrier_refused;
        let parked = tailer.notify.park(&tailer.platform, news, until, barrier, &mut refused, look);
        self.tailer.barrier_refused = refused;
        parked
    }
}

/// Reports how far replicas have followed a queue: whoever replicates it holds one.
///
/// The queue itself does nothing with the watermark; readers may wait for it.
pub struct ReplicaReporter<P: Platform> {
    file: <P::Storage as Storage>::Map,
    notify: Notifications<<P::Storage as Storage>::Map>,
    seq: u64,
    platform: P,
    _lock: <P::Storage as Storage>::Guard,
}

impl<P: Platform> ReplicaReporter<P> {
    /// Opens the replica's file of a queue, which is made if there is none. A report that is there
    /// from before stays until it is replaced by a higher one, or [`restart`](Self::restart) is
    /// called.
    ///
    /// # Errors
    /// [`Error::Platform`] with kind `Locked` if another process reports for this queue; as
    /// [`Tailer::open`].
    pub fn open(platform: P) -> Result<Self, P> {
        let control = view_control(&platform)?;
        let (queue_id, group_readable) = (control.queue_id(), control.group_readable());
        let object = Object::Replicated;
        let storage = platform.storage();
        // Before anything is made: who is refused leaves nothing behind.
        let notify = storage.open(&Object::Notify);
        let notify = notify.map_err(Error::platform(Object::Notify, Operation::Open))?;
        let notify = check_notify(notify)?;
        let file = match storage.open(&object) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make(&platform, queue_id, group_readable)?
            }
            file => file.map_err(Error::platform(object.clone(), Operation::Open))?,
        };
        let file = check(file, queue_id)?;
        let lock = storage.lock(&object).map_err(Error::platform(object, Operation::Lock))?;
        let seq = replicated_seq(&file).unwrap_or(0);
        Ok(Self { file, notify, seq, platform, _lock: lock })
    }

    /// What was reported last: records below this were acknowledged by a quorum.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Reports that a quorum has every record below `seq`, and wakes who waits for that. A lower
    /// number than before changes nothing.
    pub fn advance(&mut self, seq: u64) {
        if seq > self.seq {
            self.store(seq);
        }
    }

    /// Reports `seq` even if it is lower than before: for a log that lost its end in a power loss
    /// and is being filled up again by its replicas.
    pub fn restart(&mut self, seq: u64) {
        self.store(seq);
    }

    fn store(&mut self, seq: u64) {
        self.seq = seq;
        if let Some(words) = replicated_words(&self.file) {
            words.store(seq);
        }
        if let Some(waiters) = waiters(&self.notify, News::Replicated)
            && waiters.someone_waits(Barrier::Full)
        {
            // Whoever is not woken wakes by its time-out.
            let _ = waiters.wake_all(self.platform.park());
        }
    }
}

/// Makes the replica's file. Whoever comes second takes the first one's.
fn make<P: Platform>(
    platform: &P,
    queue_id: u64,
    group_readable: bool,
) -> Result<<P::Storage as Storage>::Map, P> {
    let (object, storage) = (Object::Replicated, platform.storage());
    let length = REPLICATED_FILE_SIZE;
    let stage = Stage { length, reserved: length, group_readable };
    let created = || Error::platform(Object::Replicated, Operation::Create);
    let staged = storage.stage(&object, &stage).map_err(created())?;
    staged.store_bytes(0, &ReplicatedHeader { queue_id }.encode());
    if let Some(words) = replicated_words(&staged) {
        words.store(0);
    }
    storage.sync_staged(&staged).map_err(Error::platform(object.clone(), Operation::Sync))?;
    match storage.publish(staged) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            storage.open(&object).map_err(Error::platform(object, Operation::Open))
        }
        file => file.map_err(created()),
    }
}

fn check<R: Region, E>(region: R, queue_id: u64) -> core::result::Result<R, Error<E>> {
    decode(&region, REPLICATED_FILE_SIZE, ReplicatedHeader::decode)
        .and_then(|header| {
            let found = header.queue_id;
            if found == queue_id { Ok(()) } else { Err(FormatError::ForeignQueue { found }) }
        })
        .map_err(Error::format(Object::Replicated))?;
    Ok(region)
}

fn replicated_seq<R: Region>(region: &R) -> Option<u64> {
    let value = region.read_u64(replicated::REPLICATED_SEQ as u64)?;
    watermark::read(value, region.read_u64(replicated::REPLICATED_COMPLEMENT as u64)?)
}

fn replicated_words<R: RegionMut>(region: &R) -> Option<WatermarkWords<'_>> {
    Some(WatermarkWords {
        value: region.word_u64(replicated::REPLICATED_SEQ as u64)?,
        complement: region.word_u64(replicated::REPLICATED_COMPLEMENT as u64)?,
    })
}
