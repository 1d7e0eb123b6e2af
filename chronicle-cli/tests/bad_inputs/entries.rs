//! Every public entry point of `chronicle-std`, one after the other, in a process of its own.

use std::path::Path;
use std::time::Duration;

use chronicle_std::{Queue, QueueError, ReaderConfig, Start, Visibility, Watermark, WriterConfig};

use crate::queue::{READER, RECORDS, TYPE};
use crate::snapshot::{Snapshot, snapshot};

/// What an entry point came to, and what was changed meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) entry: String,
    pub(crate) outcome: String,
    pub(crate) changed: String,
}

/// Marks the lines of the process that are reports.
const MARK: &str = "entry\t";
/// What was refused only behind an open that worked.
const OPENS: &str = "opens, then ";

impl Report {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        // The test runner may have begun the line.
        let (_, report) = line.split_once(MARK)?;
        let mut parts = report.split('\t').map(str::to_owned);
        Some(Self { entry: parts.next()?, outcome: parts.next()?, changed: parts.next()? })
    }

    pub(crate) fn is_refusal(&self) -> bool {
        !["works", "cuts", "clean", "reads all"].contains(&self.outcome.as_str())
            && !self.outcome.starts_with(OPENS)
    }
}

type Outcome = Result<String, (String, QueueError)>;
type Entry = fn(&Path) -> Outcome;

/// Without the writer, which comes last because it repairs.
const ENTRIES: &[(&str, Entry)] = &[
    ("inspect", |path| works(Queue::inspect(path).map(drop))),
    ("verify", |path| {
        let (report, faults) = Queue::verify(path).map_err(refused)?;
        assert_eq!(report.faults as usize, faults.len());
        Ok(match faults.first() {
            None => "clean".to_owned(),
            Some(fault) => format!("{}: {}", faults.len(), name(fault)),
        })
    }),
    ("retention plan", |path| works(Queue::retention_plan(path).map(drop))),
    ("watermarks", |path| {
        let mut marks = Queue::open_watermarks(path).map_err(refused)?;
        let _ = marks.durable();
        marks.visible().map_err(refused)?;
        marks.replicated().map_err(refused)?;
        works(marks.wait(Watermark::Durable, RECORDS, Some(Duration::from_millis(1))).map(drop))
    }),
    ("reader", |path| read(path, ReaderConfig::default())),
    ("reader without verification", |path| {
        let config = with(|config| config.verify_checksums = false);
        read(path, config)
    }),
    ("reader of durable messages", |path| {
        let config = with(|config| config.visibility = Visibility::Durable);
        read(path, config)
    }),
    ("reader at the newest message", |path| {
        let config = with(|config| config.start = Start::Latest);
        works(Queue::open_reader(path, config).map(drop))
    }),
    ("reader at a number", |path| {
        let config = with(|config| config.start = Start::Seq(RECORDS - 1));
        let mut reader = Queue::open_reader(path, config).map_err(refused)?;
        works(reader.next().map(drop))
    }),
    ("reader at a time", |path| {
        let config = with(|config| config.start = Start::Timestamp(u64::MAX));
        let mut reader = Queue::open_reader(path, config).map_err(refused)?;
        works(reader.next().map(drop))
    }),
    ("seek", |path| {
        let mut reader = Queue::open_reader(path, ReaderConfig::default()).map_err(refused)?;
        let seeks = [
            reader.seek_seq(RECORDS - 2).map(drop),
            reader.seek_timestamp(1).map(drop),
            reader.seek_to_end(),
            reader.seek_back(5).map(drop),
            reader.seek_seq(u64::MAX).map(drop),
            reader.seek_to_start().map(drop),
        ];
        works(seeks.into_iter().collect())
    }),
    ("wait", |path| {
        let mut reader = Queue::open_reader(path, ReaderConfig::default()).map_err(refused)?;
        works(reader.wait(Some(Duration::from_millis(1))).map(drop))
    }),
    ("subscriber", |path| {
        let mut reader = Queue::open_subscriber(path, READER).map_err(refused)?;
        loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                // That it has opened is noted in the reader's file.
                Err(error) => return Err((OPENS.to_owned(), error)),
            }
        }
        works(reader.commit())
    }),
    ("new subscriber", |path| works(Queue::open_subscriber(path, "new").map(drop))),
    ("replica", |path| works(Queue::open_replica_reporter(path).map(drop))),
    ("retention", |path| works(Queue::apply_retention(path).map(drop))),
    ("remove reader", |path| works(Queue::remove_reader(path, READER))),
    ("create", |path| works(Queue::create(path, WriterConfig::default()).map(drop))),
];

/// The writer on its own.
pub(crate) const WRITER: &str = "writer";

const WRITERS: &[(&str, Entry)] = &[(WRITER, |path| {
    let mut writer = Queue::open_publisher(path).map_err(refused)?;
    let cut = writer.recovery().cut.is_some();
    writer.append(TYPE, b"behind what was there").map_err(refused)?;
    // What it appended is there, flushed or not.
    writer.flush().map_err(|error| (OPENS.to_owned(), error))?;
    Ok(if cut { "cuts" } else { "works" }.to_owned())
})];

/// Reads everything, once and again.
fn read(path: &Path, config: ReaderConfig) -> Outcome {
    let mut reader = Queue::open_reader(path, config).map_err(refused)?;
    let mut count = 0;
    loop {
        match reader.next() {
            Ok(Some(_)) => count += 1,
            Ok(None) if count == RECORDS => return Ok("reads all".to_owned()),
            Ok(None) => return Ok(format!("reads {count}")),
            Err(error) => {
                // The same call gives the same error.
                assert_eq!(reader.next().map(drop).unwrap_err().to_string(), error.to_string());
                return Err((format!("reads {count}, then "), error));
            }
        }
    }
}

fn with(set: impl FnOnce(&mut ReaderConfig)) -> ReaderConfig {
    let mut config = ReaderConfig::default();
    set(&mut config);
    config
}

fn works(result: Result<(), QueueError>) -> Outcome {
    result.map(|()| "works".to_owned()).map_err(refused)
}

fn refused(error: QueueError) -> (String, QueueError) {
    (String::new(), error)
}

/// The kind of an error, without what differs from run to run.
fn name(error: &QueueError) -> String {
    let variant = |text: String| {
        let end = text.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(text.len());
        text[..end].to_owned()
    };
    match error {
        QueueError::Corrupt { damage, .. } => {
            format!("Corrupt ({})", variant(format!("{:?}", damage.fault)))
        }
        QueueError::InvalidFile { source, .. } => {
            format!("InvalidFile ({})", variant(format!("{source:?}")))
        }
        QueueError::Queue { reason, .. } => variant(format!("{reason:?}")),
        other => variant(format!("{other:?}")),
    }
}

/// Tries the entry points on a queue and says what came of each.
pub(crate) fn try_all(root: &Path, writer_only: bool) {
    let path = root.join("queue");
    let mut before: Snapshot = snapshot(root);
    for (entry, call) in if writer_only { WRITERS } else { ENTRIES } {
        let outcome = match call(&path) {
            Ok(outcome) => outcome,
            Err((so_far, error)) => {
                let text = error.to_string();
                assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
                format!("{so_far}{}", name(&error))
            }
        };
        let after = snapshot(root);
        let changed = crate::snapshot::changed(&before, &after);
        before = after;
        println!("{MARK}{entry}\t{outcome}\t{changed}");
    }
}
