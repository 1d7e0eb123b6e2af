//! `kill -9` of the writer, with the thread that prepares its segments, and of readers, at random
//! instants, again and again. What was acknowledged, which a file outside the queue says, is there,
//! once and in order; a reader that was killed goes on exactly where it committed last, and prints
//! nothing that leaves a gap to what it had printed.
//!
//! `CHRONICLE_TEST_KILLS` sets how many kills, `CHRONICLE_TEST_SEED` repeats a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use chronicle_std::{Queue, QueueReader, ReaderState, RetentionPolicy, WriterConfig};
use support::{Place, program};

/// Under a minute for a build with optimisation; one without takes as long for a fifth of it.
const KILLS: u64 = if cfg!(debug_assertions) { 200 } else { 1000 };
/// Lines that a writer gets in one life: some five segments' worth.
const LINES: u64 = 2000;
/// The longest that all are left alone.
const PAUSE_US: u64 = 12_000;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The payload with this number in a writer's life.
fn line(life: u64, index: u64) -> String {
    format!("{life} {index} {}", "x".repeat((index * 37 % 300) as usize))
}

/// Starts the program with its output in a file, so that nothing of what it has said dies with it.
fn start(arguments: &[&str], output: &str) -> Child {
    let mut command: Command = program();
    command.args(arguments).stdin(Stdio::piped()).stdout(File::create(output).unwrap());
    command.stderr(Stdio::null()).spawn().unwrap()
}

fn kill(child: &mut Child) {
    assert!(child.try_wait().unwrap().is_none(), "ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The whole lines of a file; what follows the last line's end was never said.
fn whole_lines(path: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    lines.map(str::to_owned).collect()
}

/// One life of the writer.
struct Writer {
    child: Child,
    feeder: JoinHandle<ChildStdin>,
    oracle: String,
    life: u64,
}

impl Writer {
    fn start(queue: &str, oracle: String, life: u64) -> Self {
        let mut child = start(&["append", queue, "--ack"], &oracle);
        let mut input = child.stdin.take().unwrap();
        let feeder = thread::spawn(move || {
            for index in 0..LINES {
                if writeln!(input, "{}", line(life, index)).is_err() {
                    break;
                }
            }
            // Kept open: a writer at the end of its input would close the queue in peace.
            input
        });
        Self { child, feeder, oracle, life }
    }

    /// Kills it; returns the sequence numbers that it acknowledged.
    fn kill(mut self) -> Vec<u64> {
        kill(&mut self.child);
        self.feeder.join().unwrap();
        whole_lines(&self.oracle).iter().map(|line| line.parse().unwrap()).collect()
    }
}

/// A named reader over all of its lives.
struct Reader {
    name: &'static str,
    child: Child,
    printed: String,
    /// The number behind the last one that was printed in any life.
    next: u64,
    /// Where its name stood when the life began.
    resumes_at: u64,
    /// Life and number of the last payload.
    last: Option<(u64, u64)>,
    again: u64,
}

impl Reader {
    fn start(queue: &str, printed: String, name: &'static str) -> Self {
        let child = Self::child(queue, &printed, name);
        Self { name, child, printed, next: 0, resumes_at: 0, last: None, again: 0 }
    }

    fn child(queue: &str, printed: &str, name: &str) -> Child {
        start(&["tail", queue, "--reader", name, "-f", "--format", "json"], printed)
    }

    /// Checks what one life printed.
    fn check(&mut self) {
        for (index, text) in whole_lines(&self.printed).iter().enumerate() {
            let message: serde_json::Value = serde_json::from_str(text).unwrap();
            let seq = message["seq"].as_u64().unwrap();
            let payload = message["payload"].as_str().unwrap();
            let mut numbers = payload.split(' ').map_while(|number| number.parse::<u64>().ok());
            let (life, number) = (numbers.next().unwrap(), numbers.next().unwrap());
            assert_eq!(payload, line(life, number), "{}: seq {seq}", self.name);
            assert_eq!(seq, self.resumes_at + index as u64, "{}: not where it stopped", self.name);
            if seq < self.next {
                self.again += 1;
                continue;
            }
            assert_eq!(seq, self.next, "{}: a gap", self.name);
            let goes_on = self.last.map_or(number == 0, |(last_life, last)| {
                (life, number) == (last_life, last + 1) || life > last_life && number == 0
            });
            assert!(goes_on, "{}: {life} {number} behind {:?}", self.name, self.last);
            self.last = Some((life, number));
            self.next += 1;
        }
    }

    /// Kills it, checks what it printed and where it stopped, and starts it again.
    fn kill_and_restart(&mut self, queue: &str) {
        kill(&mut self.child);
        self.check();
        let report = Queue::inspect(queue).unwrap();
        let committed = report.readers.iter().find_map(|reader| match reader {
            ReaderState::Known(reader) if reader.name.as_str() == self.name => {
                Some(reader.committed)
            }
            ReaderState::Known(_) => None,
            ReaderState::Damaged(error) => panic!("{error}"),
        });
        // Killed before its name was there, it stands where all begin: nothing is removed before.
        let committed = committed.map_or(0, |position| position.seq);
        assert!(committed <= self.next, "{}: committed before it was printed", self.name);
        assert!(committed >= self.resumes_at, "{}: went back", self.name);
        self.resumes_at = committed;
        self.child = Self::child(queue, &self.printed, self.name);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks that the next records are the lines of this life from `index` on; returns how many there
/// are of it.
fn drain(reader: &mut QueueReader, life: u64, mut index: u64, next_seq: &mut u64) -> u64 {
    while let Some(message) = reader.next().unwrap() {
        assert_eq!(message.seq, *next_seq, "life {life}: a gap or a double");
        assert_eq!(message.payload, line(life, index).as_bytes(), "life {life}, line {index}");
        *next_seq += 1;
        index += 1;
    }
    reader.commit().unwrap();
    index
}

#[test]
fn a_thousand_kills_at_random_instants_lose_nothing_acknowledged() {
    let kills = setting("CHRONICLE_TEST_KILLS").unwrap_or(KILLS);
    let seed = setting("CHRONICLE_TEST_SEED")
        .unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into());
    println!("CHRONICLE_TEST_SEED={seed}");
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };

    let place = Place::new();
    let queue = place.queue();
    let mut config = WriterConfig::default();
    // The smallest that are prepared ahead, and removed soon.
    config.segment_size = 64 << 10;
    config.retention = RetentionPolicy { max_bytes: Some(1 << 20), ..RetentionPolicy::KEEP_ALL };
    drop(Queue::create(&queue, config).unwrap());
    // One that lives through all of it, one that is opened anew each time, and two processes.
    let mut survivor = Queue::open_subscriber(&queue, "survivor").unwrap();
    drop(Queue::open_subscriber(&queue, "reopened").unwrap());
    let mut readers = ["first", "second"].map(|name| Reader::start(&queue, place.path(name), name));
    let (mut survivor_seq, mut reopened_seq) = (0, 0);
    let (mut lives, mut readers_killed, mut acknowledged_in_all, mut in_flight) = (0, 0, 0, 0);
    let begun = Instant::now();
    let mut writer = Writer::start(&queue, place.path("oracle"), 0);
    let mut seen = 0;
    while lives + readers_killed < kills {
        // Sometimes while one opens and recovers, sometimes far into appending and rolling.
        thread::sleep(Duration::from_micros(random() % PAUSE_US));
        let victims = random();
        for (bit, reader) in readers.iter_mut().enumerate() {
            if victims >> bit & 3 == 0 {
                reader.kill_and_restart(&queue);
                readers_killed += 1;
            }
        }
        if victims >> 8 & 3 == 0 {
            // Nobody's death is needed for this one to go on.
            seen = drain(&mut survivor, writer.life, seen, &mut survivor_seq);
            continue;
        }
        let life = writer.life;
        let acknowledged = writer.kill();
        lives += 1;
        let first = survivor_seq - seen;
        let expected: Vec<u64> = (first..).take(acknowledged.len()).collect();
        assert_eq!(acknowledged, expected, "life {life}");
        let found = drain(&mut survivor, life, seen, &mut survivor_seq);
        let count = acknowledged.len() as u64;
        // The record in flight may be there or not; once it is there it stays.
        assert!(
            (count..=count + 1).contains(&found),
            "life {life}: {count} acknowledged, {found} found"
        );
        let mut reopened = Queue::open_subscriber(&queue, "reopened").unwrap();
        assert_eq!(drain(&mut reopened, life, 0, &mut reopened_seq), found);
        acknowledged_in_all += count;
        in_flight += found - count;
        seen = 0;
        writer = Writer::start(&queue, place.path("oracle"), life + 1);
    }
    let last = writer.kill().len() as u64;
    // The readers get to the end, whatever became of them on the way.
    let total = survivor_seq - seen + drain(&mut survivor, lives, seen, &mut survivor_seq);
    assert!(total >= reopened_seq + last);
    let until = Instant::now() + Duration::from_secs(30);
    for reader in &mut readers {
        loop {
            let printed = whole_lines(&reader.printed).len() as u64;
            if reader.resumes_at + printed >= total {
                break;
            }
            assert!(Instant::now() < until, "{} does not get to the end", reader.name);
            thread::sleep(Duration::from_millis(5));
        }
        kill(&mut reader.child);
        reader.check();
        assert_eq!(reader.next, total, "{}", reader.name);
    }
    assert!(acknowledged_in_all > 0);
    let segments = survivor.position().segment.get() + 1;
    println!(
        "{lives} writers and {readers_killed} readers killed in {:.1} s: {acknowledged_in_all} acknowledged \
         messages all there, {in_flight} in flight kept, {segments} segments; the readers got {} messages twice",
        begun.elapsed().as_secs_f64(),
        readers.iter().map(|reader| reader.again).sum::<u64>()
    );
    let kills = lives + readers_killed;
    println!("counts: {{\"kills\": {kills}, \"acknowledged\": {acknowledged_in_all}}}");
}
