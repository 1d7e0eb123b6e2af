use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use chronicle_std::{QueueError, WaitOutcome};

use crate::answered::{Answered, REQUESTS_IN_FLIGHT, TELLING_REPLIES};
use crate::{BusError, Duplex, Message, Received, Subscriber};

/// A message that answers another one, and says which.
///
/// ```
/// chronicle_bus::message! {
///     /// What a symbol costs.
///     pub struct Quote = 0x2012 {
///         /// Sequence number of the request.
///         pub request_seq: u64,
///         /// The price.
///         pub price: i64,
///     }
/// }
///
/// impl chronicle_bus::Reply for Quote {
///     fn request_seq(&self) -> u64 {
///         self.request_seq
///     }
/// }
/// ```
pub trait Reply: Message + Copy {
    /// Sequence number of the request in its queue.
    fn request_seq(&self) -> u64;
}

/// Sends requests, and receives the replies to them.
///
/// A request is known by its sequence number, which the queue gives it, which is never used twice, and
/// which outlives both processes. Any number of requests may be sent before the first reply comes; the
/// responder takes [`REQUESTS_IN_FLIGHT`] at a time, and replies come in the order in which it gives them.
/// A requester that dies and comes back receives the replies that it has not
/// [committed](Self::commit), if the reader of its [`Duplex`] has a name; what it had asked is in its
/// queue, and what is still without a reply [is told](Self::in_flight).
///
/// Nothing is allocated for a message. Sending is appending, and receiving gives the message where it
/// lies; [`wait_for`](Self::wait_for) copies, and keeps copies of other replies that come meanwhile.
///
/// ```
/// use std::time::Duration;
/// use chronicle_bus::{BusLayout, Duplex, Reply, Requester, Responder};
/// use chronicle_std::{ReaderConfig, WriterConfig};
///
/// chronicle_bus::message! {
///     /// What does it cost?
///     pub struct Price = 0x2011 { pub symbol: u64 }
/// }
/// chronicle_bus::message! {
///     /// So much.
///     pub struct Quote = 0x2012 { pub request_seq: u64, pub price: i64 }
/// }
/// impl Reply for Quote {
///     fn request_seq(&self) -> u64 {
///         self.request_seq
///     }
/// }
///
/// # let directory = tempfile::tempdir()?;
/// # let root = directory.path().join("bus");
/// let bus = BusLayout::new(&root)?;
/// let (asked, answered) = (bus.live("prices", "asked")?, bus.live("prices", "answered")?);
/// let named = |name: &str| {
///     let mut reader = ReaderConfig::default();
///     reader.name = Some(name.to_owned());
///     reader
/// };
/// let writer = WriterConfig::default;
/// let mut client = Requester::<Price, Quote>::new(Duplex::open_first(
///     &asked, &answered, writer(), named("client"),
/// )?)?;
/// let first = client.send(&Price { symbol: 1 })?;
/// let second = client.send(&Price { symbol: 2 })?;
///
/// // In another process:
/// let mut server = Responder::<Price, Quote>::new(Duplex::open(
///     &answered, &asked, writer(), named("server"),
/// )?)?;
/// while let Some(request) = server.next()? {
///     let (request_seq, price) = (request.seq, 100 * request.message.symbol as i64);
///     server.reply(&Quote { request_seq, price })?;
/// }
///
/// let timeout = Some(Duration::from_secs(1));
/// assert_eq!(client.wait_for(second, timeout)?.map(|quote| quote.price), Some(200));
/// assert_eq!(client.wait_for(first, timeout)?.map(|quote| quote.price), Some(100));
/// assert_eq!(client.in_flight().count(), 0);
/// client.commit()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Requester<Request, Answer> {
    queues: Duplex<Request, Answer>,
    answered: Answered,
    /// Came while another one was waited for, in the order in which they came.
    held: VecDeque<Held<Answer>>,
    /// The last one of these that was given out.
    given: Option<Held<Answer>>,
}

/// A reply that was copied out of its queue.
struct Held<Answer> {
    seq: u64,
    timestamp_ns: u64,
    reply: Answer,
}

impl<Request: Message, Answer: Reply> Requester<Request, Answer> {
    /// Begins where the reader of the conversation's end is.
    ///
    /// # Errors
    /// Those of [`Subscriber::next`], while it reads the last replies before that place.
    pub fn new(mut queues: Duplex<Request, Answer>) -> Result<Self, BusError> {
        let end = queues.incoming.reader().position().seq;
        let answered = told_by(&mut queues.incoming, end)?;
        Ok(Self { queues, answered, held: VecDeque::new(), given: None })
    }

    /// Sends a request, and returns its sequence number, which its reply names.
    ///
    /// # Errors
    /// Those of [`Publisher::send`](crate::Publisher::send).
    #[inline]
    pub fn send(&mut self, request: &Request) -> Result<u64, BusError> {
        self.queues.outgoing.send(request)
    }

    /// The next reply, to whichever request, or `None` if there is none yet.
    ///
    /// # Errors
    /// [`BusError::UnexpectedReply`] for one to a request that was never sent or has a reply, which the
    /// next call passes over; those of [`Subscriber::next`].
    pub fn receive(&mut self) -> Result<Option<Received<'_, Answer>>, BusError> {
        if let Some(held) = self.held.pop_front() {
            let Held { seq, timestamp_ns, reply: message } = self.given.insert(held);
            return Ok(Some(Received { seq: *seq, timestamp_ns: *timestamp_ns, message }));
        }
        let Duplex { outgoing, incoming } = &mut self.queues;
        let Some(received) = incoming.next()? else { return Ok(None) };
        let request_seq = received.message.request_seq();
        if request_seq >= outgoing.writer().next_seq() || !self.answered.insert(request_seq) {
            let requests = outgoing.writer().path().to_owned();
            return Err(BusError::UnexpectedReply { requests, seq: received.seq, request_seq });
        }
        Ok(Some(received))
    }

    /// Waits for the reply to one request, at most for `timeout`; `None` if the time was up. Replies to
    /// others that come meanwhile are kept for later calls of this and of [`receive`](Self::receive).
    ///
    /// A reply that was given out before is not given out again.
    ///
    /// # Errors
    /// As [`receive`](Self::receive); those of [`Subscriber::wait`].
    pub fn wait_for(
        &mut self,
        request_seq: u64,
        timeout: Option<Duration>,
    ) -> Result<Option<Answer>, BusError> {
        let is_wanted = |held: &Held<Answer>| held.reply.request_seq() == request_seq;
        if let Some(held) = self.held.iter().position(is_wanted).and_then(|at| self.held.remove(at))
        {
            return Ok(Some(held.reply));
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // Those that are held were looked through: only what comes from now on is of interest.
        let mut held = std::mem::take(&mut self.held);
        let found = loop {
            match self.receive().map(|received| received.map(copied)) {
                Ok(Some(reply)) if is_wanted(&reply) => break Ok(Some(reply.reply)),
                Ok(Some(reply)) => held.push_back(reply),
                Ok(None) => {
                    let now = Instant::now();
                    if deadline.is_some_and(|deadline| now >= deadline) {
                        break Ok(None);
                    }
                    let left = deadline.map(|deadline| deadline - now);
                    if let Err(error) = self.queues.incoming.wait(left) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        self.held = held;
        found
    }

    /// Waits until there is a reply, at most for `timeout`.
    ///
    /// # Errors
    /// Those of [`Subscriber::wait`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<WaitOutcome, BusError> {
        if self.held.is_empty() {
            self.queues.incoming.wait(timeout)
        } else {
            Ok(WaitOutcome::Ready)
        }
    }

    /// Keeps the place behind the last reply: a requester whose reader has this name goes on there. While
    /// replies are kept that [`wait_for`](Self::wait_for) has passed over, it stays as it is: they
    /// would be lost.
    ///
    /// # Errors
    /// Those of [`Subscriber::commit`].
    pub fn commit(&mut self) -> Result<(), BusError> {
        if self.held.is_empty() { self.queues.incoming.commit() } else { Ok(()) }
    }

    /// The requests whose replies have not been read yet, the oldest first; also those that were sent
    /// before this process began.
    pub fn in_flight(&mut self) -> impl Iterator<Item = u64> {
        let sent = self.queues.outgoing.writer().next_seq();
        let answered = &self.answered;
        (answered.lowest_open()..sent).filter(|request| !answered.contains(*request))
    }

    /// The conversation's end, for whatever else it does.
    pub fn queues(&mut self) -> &mut Duplex<Request, Answer> {
        &mut self.queues
    }
}

fn copied<Answer: Reply>(received: Received<'_, Answer>) -> Held<Answer> {
    let Received { seq, timestamp_ns, message } = received;
    Held { seq, timestamp_ns, reply: *message }
}

/// Receives requests, and answers each once.
///
/// Requests may be answered in any order, up to [`REQUESTS_IN_FLIGHT`] of them beside the oldest one
/// without an answer. A responder that dies and comes back is given the requests without a reply again,
/// and no others: what has a reply, the queue of replies says. So nothing is answered twice, however often
/// it was worked on, and nothing is forgotten.
///
/// The queue of replies has to keep at least the newest `2 * REQUESTS_IN_FLIGHT` of them, which the default
/// retention does. With a reader that has a name, the requests that have been answered need not be kept.
///
/// See [`Requester`] for an example.
pub struct Responder<Request, Answer> {
    queues: Duplex<Answer, Request>,
    answered: Answered,
    /// Requests that a repair of their queue has found to be lost, and that are not noted yet as answered.
    lost: Range<u64>,
    /// Replies since the place in the queue of requests was kept.
    since_commit: u64,
}

impl<Request: Message, Answer: Reply> Responder<Request, Answer> {
    /// Begins with the oldest request without a reply.
    ///
    /// # Errors
    /// [`BusError::UnexpectedReply`] if there are replies to requests that are not there, as where one
    /// queue was removed and the other was not; those of [`Subscriber::next`] and of
    /// [`QueueReader::seek_seq`](chronicle_std::QueueReader::seek_seq).
    pub fn new(mut queues: Duplex<Answer, Request>) -> Result<Self, BusError> {
        let end = queues.outgoing.writer().next_seq();
        let mut replies = queues.outgoing.subscriber()?;
        let mut answered = told_by(&mut replies, end)?;
        let reader = queues.incoming.reader();
        let begin = reader.position().seq;
        reader.seek_to_end()?;
        let sent = reader.position().seq;
        if answered.lowest_open() > sent {
            return Err(BusError::UnexpectedReply {
                requests: reader.path().to_owned(),
                seq: end.saturating_sub(1),
                request_seq: answered.lowest_open() - 1,
            });
        }
        // A place is kept only where all before it has been answered, and what is not there any more
        // never will be.
        answered.raise(begin);
        reader.seek_seq(answered.lowest_open())?;
        Ok(Self { queues, answered, lost: 0..0, since_commit: 0 })
    }

    /// The next request that has no reply and was not given out yet, or `None` if there is none, or as many
    /// are open [as there may be](Self::is_full).
    ///
    /// # Errors
    /// Those of [`Subscriber::next`]. What is no request of this type, or was lost, needs no reply.
    #[allow(
        clippy::should_implement_trait,
        reason = "the view borrows the reader: no iterator can"
    )]
    pub fn next(&mut self) -> Result<Option<Received<'_, Request>>, BusError> {
        if self.is_full() {
            return Ok(None);
        }
        let Self { queues, answered, lost, .. } = self;
        while answered.contains(queues.incoming.reader().position().seq) {
            if queues.incoming.next()?.is_none() {
                return Ok(None);
            }
        }
        let next = queues.incoming.next();
        match &next {
            Err(BusError::UnexpectedMessage { seq, .. }) => {
                answered.insert(*seq);
            }
            Err(BusError::Queue(QueueError::Gap { first, next, .. })) => *lost = *first..*next,
            _ => {}
        }
        next
    }

    /// Notes lost requests as answered, as far as they are in reach: nobody will answer them.
    fn pass_lost(&mut self) {
        let Self { answered, lost, .. } = self;
        if lost.start <= answered.lowest_open() {
            answered.raise(std::mem::take(lost).end);
        }
        while answered.reaches(lost.start)
            && let Some(request) = lost.next()
        {
            answered.insert(request);
        }
    }

    /// Answers a request that was given out. Returns the reply's sequence number.
    ///
    /// # Errors
    /// [`BusError::NotAsked`] if no such request was given out, or it has its reply; those of
    /// [`Publisher::send`](crate::Publisher::send): it has no reply then.
    pub fn reply(&mut self, reply: &Answer) -> Result<u64, BusError> {
        let Self { queues, answered, .. } = self;
        let request_seq = reply.request_seq();
        if request_seq >= queues.incoming.reader().position().seq || answered.contains(request_seq)
        {
            let queue = queues.incoming.reader().path().to_owned();
            return Err(BusError::NotAsked { queue, request_seq });
        }
        let seq = queues.outgoing.send(reply)?;
        answered.insert(request_seq);
        self.since_commit += 1;
        self.keep_place()?;
        Ok(seq)
    }

    /// Keeps the place before the oldest request that is open, so that those before it need not be kept.
    /// What has a reply is known without it.
    fn keep_place(&mut self) -> Result<(), BusError> {
        let reader = self.queues.incoming.reader();
        if reader.committed().is_none() {
            return Ok(());
        }
        let (lowest_open, next) = (self.answered.lowest_open(), reader.position().seq);
        if lowest_open >= next {
            reader.commit()?;
        } else if self.since_commit >= REQUESTS_IN_FLIGHT {
            reader.seek_seq(lowest_open)?;
            reader.commit()?;
            reader.seek_seq(next)?;
        } else {
            return Ok(());
        }
        self.since_commit = 0;
        Ok(())
    }

    /// Waits until there is a request, at most for `timeout`. Where [none is taken](Self::is_full) it
    /// returns at once, as if the time were up.
    ///
    /// # Errors
    /// Those of [`Subscriber::wait`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<WaitOutcome, BusError> {
        if self.is_full() { Ok(WaitOutcome::TimedOut) } else { self.queues.incoming.wait(timeout) }
    }

    /// Whether the oldest open request has to be answered before another one is given out.
    pub fn is_full(&mut self) -> bool {
        self.pass_lost();
        !self.answered.reaches(self.queues.incoming.reader().position().seq)
    }

    /// The requests that were given out and have no reply yet, the oldest first.
    pub fn open_requests(&mut self) -> impl Iterator<Item = u64> {
        let next = self.queues.incoming.reader().position().seq;
        let answered = &self.answered;
        (answered.lowest_open()..next).filter(|request| !answered.contains(*request))
    }

    /// The conversation's end, for whatever else it does.
    pub fn queues(&mut self) -> &mut Duplex<Answer, Request> {
        &mut self.queues
    }
}

/// What the replies before one of them say of the requests. The reader stands there afterwards.
fn told_by<Answer: Reply>(
    replies: &mut Subscriber<Answer>,
    end: u64,
) -> Result<Answered, BusError> {
    let mut answered = Answered::default();
    let begin = end.saturating_sub(TELLING_REPLIES);
    if replies.reader().seek_seq(begin).is_err() {
        // Fewer are kept.
        replies.reader().seek_to_start()?;
    }
    while replies.reader().position().seq < end {
        match replies.next() {
            Ok(Some(received)) => {
                answered.insert(received.message.request_seq());
            }
            Ok(None) => break,
            // Told when it was there to be read, or to be told when it is.
            Err(BusError::UnexpectedMessage { .. } | BusError::Queue(QueueError::Gap { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answered)
}
