//! Queues in an event loop of one's own: `epoll(7)` waits for messages and for a timer at once.
//!
//!     cargo run -p chronicle-examples --example epoll
//!
//! An [`EventSet`] shows by a file descriptor that one of its readers has something. The rule of such a
//! loop: call [`EventSet::poll`] until it finds nothing, and only then sleep. It is the poll that finds
//! nothing which asks the writers to be woken, and which makes the descriptor unreadable.
#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "epoll is of Linux"))]

use std::error::Error;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    linux::run()
}

/// Other systems have `kqueue(2)` or `poll(2)`, to which the descriptor of the set is given likewise.
#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn Error>> {
    Err("epoll is of Linux".into())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::thread;
    use std::time::Duration;

    use chronicle_std::{EventSet, Queue, QueueError, QueueWriter, WaitOutcome};
    use rustix::buffer::spare_capacity;
    use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    const TYPE: u16 = 0x8000;
    const MESSAGES: usize = 6;

    /// What the loop waits for, as the kernel hands it back.
    const QUEUES: u64 = 0;
    const TIMER: u64 = 1;

    pub fn run() -> Result<(), Box<dyn Error>> {
        let home = tempfile::tempdir()?;
        let (orders, prices) = (home.path().join("orders"), home.path().join("prices"));
        // These would be other processes.
        let mut writers = Vec::new();
        for (path, what) in [(&orders, "order"), (&prices, "price")] {
            let writer = Queue::open_publisher(path)?;
            writers.push(thread::spawn(move || write(writer, what)));
        }

        let mut set = EventSet::new()?;
        let orders = set.add(Queue::open_subscriber(&orders, "loop")?)?;
        set.add(Queue::open_subscriber(&prices, "loop")?)?;

        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let tick = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let every = Itimerspec { it_interval: tick, it_value: tick };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;

        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &set, EventData::new_u64(QUEUES), EventFlags::IN)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;

        let (mut read, mut ticks) = (0, 0);
        let mut events = Vec::new();
        let mut ready = Vec::with_capacity(8);
        loop {
            // All that the queues have, before the loop sleeps.
            loop {
                set.poll(&mut events);
                if events.is_empty() {
                    break;
                }
                for event in events.drain(..) {
                    let queue = if event.member == orders { "orders" } else { "prices" };
                    if event.outcome? != WaitOutcome::Ready {
                        // A writer died or is stuck; another one may come.
                        continue;
                    }
                    let Some(reader) = set.reader_mut(event.member) else { continue };
                    while let Some(message) = reader.next()? {
                        let text = String::from_utf8_lossy(message.payload);
                        println!("{queue}: {} {text}", message.seq);
                        read += 1;
                    }
                    reader.commit()?;
                }
            }
            if read >= MESSAGES && ticks >= 3 {
                break;
            }
            ready.clear();
            epoll::wait(&epoll, spare_capacity(&mut ready), None)?;
            for event in &ready {
                if event.data.u64() == TIMER {
                    // A timer stays readable until it is read: how often it has gone off.
                    let mut count = [0; 8];
                    rustix::io::read(&timer, &mut count)?;
                    ticks += u64::from_ne_bytes(count);
                }
            }
        }
        println!("read {read} messages beside a timer");
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked")??;
        }
        Ok(())
    }

    fn write(mut writer: QueueWriter, what: &str) -> Result<(), QueueError> {
        for number in 0..MESSAGES / 2 {
            thread::sleep(Duration::from_millis(5));
            writer.append(TYPE, format!("{what} {number}").as_bytes())?;
        }
        Ok(())
    }
}
