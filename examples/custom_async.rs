//! A runtime of one's own: tasks of a hand-written executor wait for messages, and no thread ever
//! blocks in a queue.
//!
//!     cargo run -p chronicle-examples --example custom_async
//!
//! Three tasks share one thread. The first appends orders, the second turns orders into fills, the
//! third prints the fills. A task that finds its queue empty arms its reader ([`Tailer::arm`]), leaves
//! its waker with the word of the ticket, and gives the thread away. The writer's side of the queue
//! calls [`Park::wake`] where somebody has armed, and that is where this runtime makes the task ready
//! again. Were a wake-up lost, the executor would have nothing to run, and it counts how often that is.
//!
//! Files, locks and clocks are the system's; only sleeping is replaced. A wake-up goes to the rest of
//! the host as well, so that other processes may read these queues in the ordinary way. *Their* writers
//! do not call this process's `wake`: a task notices them when its reader's longest sleep is over, which
//! is 100 ms. Where that is too late, `chronicle_std::AsyncSet` has a thread listen for all queues.
#![allow(clippy::disallowed_types, reason = "a park is handed the word that it sleeps on")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error;
use std::ffi::CString;
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake as Awaken, Waker};
use std::thread;

#[cfg(target_os = "linux")]
use chronicle_platform_linux::LinuxPlatform as System;
#[cfg(target_os = "macos")]
use chronicle_platform_macos::MacosPlatform as System;

use chronicle_core::{
    Appender, CreateOptions, SegmentSize, TailOptions, Tailer, WriteOptions, create,
};
use chronicle_sync::notify::{Barrier, Ticket};
use chronicle_sync::{AtomicU32, Clock as _, Instant, Park, Platform, Wake};

type SystemError = <System as Platform>::Error;
type Reader<'q> = Tailer<&'q Queue>;

/// A queue as this runtime sees it: the system's files, and a list of the tasks that sleep on it.
/// A reference to a platform is a platform, so writer and readers of a queue share this value.
struct Queue {
    system: System,
    park: TaskPark,
}

/// Wakes tasks. Sleeping by it would block the thread, and nothing here does.
struct TaskPark {
    system: <System as Platform>::Park,
    sleepers: RefCell<Vec<Sleeper>>,
}

/// A task that sleeps on a word.
struct Sleeper {
    /// The word's place inside its page. Each opening of `notify.meta` is a mapping of its own, so the
    /// address says nothing; but mappings begin at a page, and all words that are slept on are in the
    /// first one.
    word: usize,
    waker: Waker,
}

fn place(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word).addr() % 4096
}

impl TaskPark {
    /// Leaves a waker with the word of a ticket; `false` if the word has moved already, and the task
    /// had better look. The comparison and the leaving are one step with regard to [`wake`](Park::wake)
    /// because there is one thread; with several, a lock around the list makes them one.
    fn sleep_on(&self, ticket: &Ticket<'_>, waker: &Waker) -> bool {
        if ticket.has_moved() {
            return false;
        }
        let word = place(ticket.word());
        let mut sleepers = self.sleepers.borrow_mut();
        // One that was woken by its time is in the list still.
        sleepers.retain(|sleeper| !sleeper.waker.will_wake(waker));
        sleepers.push(Sleeper { word, waker: waker.clone() });
        true
    }
}

impl Park for TaskPark {
    type Error = SystemError;

    fn wait(&self, word: &AtomicU32, expected: u32, until: Instant) -> Result<Wake, SystemError> {
        eprintln!("a thread of the runtime blocks");
        self.system.wait(word, expected, until)
    }

    fn wake(&self, word: &AtomicU32, at_most: NonZeroU32) -> Result<u32, SystemError> {
        let most = at_most.get() as usize;
        let mut woken = Vec::new();
        self.sleepers.borrow_mut().retain(|sleeper| {
            let stays = sleeper.word != place(word) || woken.len() == most;
            if !stays {
                woken.push(sleeper.waker.clone());
            }
            stays
        });
        let tasks = woken.len() as u32;
        woken.into_iter().for_each(Waker::wake);
        // The other processes of the host get what is left of the number.
        match NonZeroU32::new(at_most.get() - tasks) {
            Some(rest) => Ok(tasks + self.system.wake(word, rest)?),
            None => Ok(tasks),
        }
    }

    fn enlist(&self) -> Barrier {
        self.system.enlist()
    }

    fn heavy_barrier(&self) -> bool {
        self.system.heavy_barrier()
    }
}

impl Platform for Queue {
    type Error = SystemError;
    type Storage = <System as Platform>::Storage;
    type Park = TaskPark;
    type Clock = <System as Platform>::Clock;

    fn storage(&self) -> &Self::Storage {
        self.system.storage()
    }

    fn park(&self) -> &TaskPark {
        &self.park
    }

    fn clock(&self) -> &Self::Clock {
        self.system.clock()
    }

    fn entropy(&self) -> u64 {
        self.system.entropy()
    }
}

impl Queue {
    /// Makes a queue in a directory and opens it.
    fn make(path: &Path) -> Result<Self, Box<dyn Error>> {
        std::fs::create_dir(path)?;
        let system = System::open(&CString::new(path.as_os_str().as_bytes())?)?;
        let park = TaskPark { system: *system.park(), sleepers: RefCell::default() };
        let queue = Self { system, park };
        let mut options = CreateOptions::default();
        options.segment_size = SegmentSize::new(1 << 16)?;
        create(&queue, &options)?;
        Ok(queue)
    }

    fn writer(&self) -> Result<Appender<&Self>, Box<dyn Error>> {
        Ok(Appender::open(self, WriteOptions::default())?)
    }

    fn reader(&self) -> Result<Reader<'_>, Box<dyn Error>> {
        Ok(Tailer::open(self, &TailOptions::default())?)
    }
}

/// The executor: tasks, of which some are ready to run.
#[derive(Default)]
struct Runtime {
    ready: Arc<Ready>,
    /// Tasks that look again at a time, whatever they hear until then.
    timers: RefCell<Vec<(Instant, Waker)>>,
    /// How often there was nothing to run.
    idle: Cell<u32>,
}

/// Numbers of the tasks that are ready.
#[derive(Default)]
struct Ready(Mutex<VecDeque<usize>>);

impl Ready {
    fn queue(&self) -> MutexGuard<'_, VecDeque<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes one task ready.
struct TaskWaker {
    task: usize,
    ready: Arc<Ready>,
}

impl Awaken for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.queue();
        if !ready.contains(&self.task) {
            ready.push_back(self.task);
        }
    }
}

type Task<'q> = Pin<Box<dyn Future<Output = Result<(), Box<dyn Error>>> + 'q>>;

impl Runtime {
    /// Runs tasks until all have come to their end.
    fn run(
        &self,
        clock: &impl chronicle_sync::Clock,
        tasks: Vec<Task<'_>>,
    ) -> Result<(), Box<dyn Error>> {
        let waker_of =
            |task| Waker::from(Arc::new(TaskWaker { task, ready: Arc::clone(&self.ready) }));
        let mut tasks: Vec<_> =
            (0..).zip(tasks).map(|(number, task)| Some((task, waker_of(number)))).collect();
        self.ready.queue().extend(0..tasks.len());
        while tasks.iter().any(Option::is_some) {
            let next = self.wake_by_time(clock.now());
            let Some(number) = self.ready.queue().pop_front() else {
                // Nothing is left to do before that time.
                self.idle.set(self.idle.get() + 1);
                let until = next.ok_or("every task waits, and for nothing")?;
                thread::sleep(until.since(clock.now()));
                continue;
            };
            let Some(slot) = tasks.get_mut(number) else { continue };
            let Some((task, waker)) = slot else { continue };
            if let Poll::Ready(ended) = task.as_mut().poll(&mut Context::from_waker(waker)) {
                *slot = None;
                ended?;
            }
        }
        Ok(())
    }

    /// Makes a task ready at a time; there is one such time for each.
    fn wake_at(&self, until: Instant, waker: &Waker) {
        let mut timers = self.timers.borrow_mut();
        timers.retain(|(_, known)| !known.will_wake(waker));
        timers.push((until, waker.clone()));
    }

    /// Makes the tasks ready whose time has come, and returns when that is for the next one.
    fn wake_by_time(&self, now: Instant) -> Option<Instant> {
        let mut timers = self.timers.borrow_mut();
        timers.extract_if(.., |(until, _)| *until <= now).for_each(|(_, waker)| waker.wake());
        timers.iter().map(|(until, _)| *until).min()
    }

    /// Gives the other tasks a turn.
    async fn turn(&self) {
        let mut had = false;
        poll_fn(|context| {
            if std::mem::replace(&mut had, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Waits until the reader has a message. This is all that a runtime needs of a queue.
    async fn readable(&self, reader: &mut Reader<'_>) -> Result<(), Box<dyn Error>> {
        poll_fn(|context| {
            loop {
                if reader.is_ready()? {
                    return Poll::Ready(Ok(()));
                }
                // Armed after the look that found nothing, and arming looks once more: nothing falls
                // in between.
                let Some(armed) = reader.arm() else { continue };
                let queue = *reader.platform();
                if queue.park.sleep_on(&armed.ticket, context.waker()) {
                    let until = queue.clock().now().after(armed.at_most);
                    self.wake_at(until, context.waker());
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}

const ORDER: u16 = 0x8000;
const FILL: u16 = 0x8001;
const COUNT: u64 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let orders = &Queue::make(&home.path().join("orders"))?;
    let fills = &Queue::make(&home.path().join("fills"))?;
    let runtime = &Runtime::default();

    let trader = async move {
        let mut writer = orders.writer()?;
        for number in 0..COUNT {
            // So that the others fall asleep between two orders.
            for _ in 0..10 {
                runtime.turn().await;
            }
            writer.append(ORDER, format!("buy {}", number * 100).as_bytes())?;
        }
        Ok(())
    };
    let exchange = async move {
        let mut reader = orders.reader()?;
        let mut writer = fills.writer()?;
        for _ in 0..COUNT {
            runtime.readable(&mut reader).await?;
            if let Some(order) = reader.next()? {
                let text = String::from_utf8_lossy(order.payload).replace("buy", "bought");
                writer.append(FILL, text.as_bytes())?;
            }
        }
        Ok(())
    };
    let printer = async move {
        let mut reader = fills.reader()?;
        for _ in 0..COUNT {
            runtime.readable(&mut reader).await?;
            if let Some(fill) = reader.next()? {
                println!("fill {}: {}", fill.seq, String::from_utf8_lossy(fill.payload));
            }
        }
        Ok(())
    };

    let clock = orders.clock();
    runtime.run(clock, vec![Box::pin(printer), Box::pin(exchange), Box::pin(trader)])?;
    println!("nothing to run: {} times", runtime.idle.get());
    Ok(())
}
