//! Processes that do something wrong, each of which must be found out.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use chronicle_std::{Queue, QueueWriter};
use clap::ValueEnum;
use nix::sys::signal::{Signal, raise};

use crate::calls::{KINDS, What};
use crate::fixture::{Fixture, READER, TYPE, config, flip, line};
use crate::run::{Bench, Usual};
use crate::scenarios::{ALL, Ack, Beside, Prints, Scenario};
use crate::told;
use crate::trace::{End, Fault};

/// What a process does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wrong {
    Panics,
    DiesOfASignal,
    Hangs,
    FailsWithoutAWord,
    FailsWithoutAFile,
    EndsWellWithNothingDone,
    AcknowledgesWhatIsNotThere,
    AcknowledgesWhatIsNotDurable,
    DamagesWhatItAcknowledged,
    DamagesWhatWasThere,
    AppendsWhatNobodyAskedFor,
    LeavesATemporaryFile,
    TakesTheQueueAway,
    PrintsOtherMessages,
    TakesAReaderFurtherThanItPrinted,
}

impl Wrong {
    /// Works on a queue with 60 messages, as `append` or `tail` would.
    #[allow(clippy::panic, reason = "one of them panics, to be found out")]
    pub(crate) fn run(self, queue: &Path) -> Result<(), String> {
        match self {
            Self::Panics => panic!("something that cannot be"),
            Self::DiesOfASignal => raise(Signal::SIGABRT).map_err(told),
            Self::Hangs => {
                std::thread::sleep(Duration::from_secs(60));
                Ok(())
            }
            Self::FailsWithoutAWord => std::process::exit(2),
            Self::FailsWithoutAFile => Err("something failed".to_owned()),
            Self::EndsWellWithNothingDone => Ok(()),
            Self::AcknowledgesWhatIsNotThere => {
                append(queue, 4)?;
                acknowledge(64)
            }
            Self::AcknowledgesWhatIsNotDurable => append(queue, 5),
            Self::DamagesWhatItAcknowledged => {
                append(queue, 5)?;
                flip(queue, 64)
            }
            Self::DamagesWhatWasThere => {
                append(queue, 5)?;
                flip(queue, 7)
            }
            Self::AppendsWhatNobodyAskedFor => {
                append(queue, 5)?;
                let mut writer = Queue::open_publisher_with(queue, config(4096)).map_err(told)?;
                writer.append(TYPE, line(65).as_bytes()).map(drop).map_err(told)
            }
            Self::LeavesATemporaryFile => {
                append(queue, 5)?;
                fs::write(queue.join("control.meta.new.tmp"), b"").map_err(told)
            }
            Self::TakesTheQueueAway => {
                append(queue, 5)?;
                fs::remove_file(queue.join("control.meta")).map_err(told)
            }
            Self::PrintsOtherMessages => print("another message\n"),
            Self::TakesAReaderFurtherThanItPrinted => {
                let mut reader = Queue::open_subscriber(queue, READER).map_err(told)?;
                for seq in 20..25 {
                    reader.next().map_err(told)?;
                    if seq < 24 {
                        print(&(line(seq) + "\n"))?;
                    }
                }
                reader.commit().map_err(told)?;
                Err(format!("{}: cannot read: failed", queue.display()))
            }
        }
    }

    /// A part of what is to be said of it.
    fn fault(self) -> &'static str {
        match self {
            Self::Panics => "it panicked",
            Self::DiesOfASignal => "SIGABRT",
            Self::Hangs => "TookTooLong",
            Self::FailsWithoutAWord | Self::FailsWithoutAFile => "did not say why",
            Self::EndsWellWithNothingDone => "ended well after 0 messages",
            Self::AcknowledgesWhatIsNotThere => "a reader that was there before gets 64 messages",
            Self::AcknowledgesWhatIsNotDurable => "durable below 60, not 65",
            Self::DamagesWhatItAcknowledged => "damaged at",
            Self::DamagesWhatWasThere => "(seq 7): its checksum does not match",
            Self::AppendsWhatNobodyAskedFor => "66 messages, not 65 to 65",
            Self::LeavesATemporaryFile => "control.meta.new.tmp is left",
            Self::TakesTheQueueAway => "the queue is not there any more",
            Self::PrintsOtherMessages => "it printed",
            Self::TakesAReaderFurtherThanItPrinted => "goes on at 25, not from 20 to 24",
        }
    }

    fn scenario(self) -> Scenario {
        let reads =
            matches!(self, Self::PrintsOtherMessages | Self::TakesAReaderFurtherThanItPrinted);
        let (ack, prints) = match self {
            _ if reads => (Ack::AtEnd, Prints::Messages),
            Self::AcknowledgesWhatIsNotDurable => (Ack::Durable, Prints::Numbers),
            _ => (Ack::Visible, Prints::Numbers),
        };
        Scenario {
            name: "canary",
            fixture: Fixture::Filled,
            // The last words are where the check looks for the reader's name.
            arguments: if reads {
                &["tail", "QUEUE", "--reader", READER]
            } else {
                &["append", "QUEUE"]
            },
            lines: if reads { 0 } else { 5 },
            ack,
            prints,
            beside: Beside::Nothing,
            removes: false,
        }
    }
}

fn print(text: &str) -> Result<(), String> {
    std::io::stdout().write_all(text.as_bytes()).map_err(told)
}

fn acknowledge(seq: u64) -> Result<(), String> {
    print(&format!("{seq}\n"))
}

/// Appends so many messages and acknowledges them.
fn append(queue: &Path, count: u64) -> Result<(), String> {
    let mut writer: QueueWriter = Queue::open_publisher_with(queue, config(4096)).map_err(told)?;
    for seq in 60..60 + count {
        writer.append(TYPE, line(seq).as_bytes()).map_err(told)?;
        acknowledge(seq)?;
    }
    Ok(())
}

/// Has every wrong process found out, and sees that calls fail when they are to. Returns how many.
pub(crate) fn all(bench: &mut Bench) -> Result<u64, String> {
    let expected: String = (20..60).map(|seq| line(seq) + "\n").collect();
    let usual = Usual { calls: vec![0], output: expected.into_bytes() };
    for wrong in Wrong::value_variants() {
        let here = std::env::current_exe().map_err(told)?;
        let outcome = bench.trial(&wrong.scenario(), &usual, false, |task| {
            let name = wrong.to_possible_value().map(|value| value.get_name().to_owned());
            let queue = task.program.get(2).cloned();
            task.program = vec![here.into(), "wrong".into(), name.unwrap_or_default().into()];
            task.program.extend(queue);
            task.patience = Duration::from_millis(500);
        })?;
        match outcome.verdict {
            Err(fault) if fault.contains(wrong.fault()) => {}
            other => return Err(format!("{wrong:?} was not found out: {other:?}")),
        }
    }
    strikes(bench)?;
    Ok(Wrong::value_variants().len() as u64 + 1)
}

/// A call that fails is felt, and only the one that was meant.
fn strikes(bench: &mut Bench) -> Result<(), String> {
    let scenario = ALL.iter().find(|it| it.name == "inspect").ok_or("no such scenario")?;
    let kind = KINDS.iter().position(|kind| kind.name == "openat").ok_or("no such kind")?;
    let usual = bench.usual(scenario)?;
    let way = What::Error(libc::EMFILE);
    let mut run = |after| bench.with_fault(scenario, &usual, Fault { kind, after, way, times: 1 });
    let late = run(1_000_000)?;
    if late.struck || late.ended.end != End::Code(0) {
        return Err("a call failed that was not to fail".to_owned());
    }
    for after in 0..*usual.calls.get(kind).unwrap_or(&0) {
        let outcome = run(after)?;
        if outcome.ended.errors.contains("Too many open files") {
            return Ok(());
        }
    }
    Err("no call failed that was to fail: this shows nothing".to_owned())
}
