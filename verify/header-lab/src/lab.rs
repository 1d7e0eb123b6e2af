//! Processes, files and tables around the loops of [`crate::record`].

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{error, fmt, fs, io, process, ptr, thread};

use clap::{Parser, Subcommand};
use hdrhistogram::Histogram;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::record::{FEATURES, PAYLOADS, VARIANTS, tsc};

const LAG_BYTES: usize = 2 << 20;
const LATENCY_WARM_UP: usize = 2_000;
const FIFO_PRIORITY: i32 = 40;
/// Idle time before each run; keeps the duty cycle below the kernel's real-time limit of 95 %.
const REST: Duration = Duration::from_millis(20);

pub(crate) type Outcome<T> = Result<T, Box<dyn error::Error>>;

#[derive(Parser)]
#[command(about = "Measures what record header and alignment cost in a shared-memory queue")]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    /// Directory for the shared file.
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// Size of the shared file; it bounds the messages of a throughput run.
    #[arg(long, default_value_t = 512)]
    mib: usize,
    /// Repeats of every measurement.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Round trips per latency run.
    #[arg(long, default_value_t = 200_000)]
    round_trips: usize,
    /// Also write every single result to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Role {
    /// The reading process, started by the program itself.
    #[command(hide = true)]
    Reader { file: PathBuf, bytes: usize },
}

#[derive(Clone, Copy, PartialEq)]
enum Regime {
    Behind,
    CaughtUp,
    PingPong,
}

/// One run, as sent to the reading process on a line of its standard input.
#[derive(Clone, Copy)]
struct Job {
    variant: usize,
    payload: usize,
    feature: usize,
    regime: Regime,
    count: usize,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Job { variant, payload, feature, regime, count } = *self;
        write!(f, "{variant} {payload} {feature} {} {count}", regime as usize)
    }
}

impl Job {
    fn parse(line: &str) -> Outcome<Self> {
        let fields: Vec<usize> =
            line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let &[variant, payload, feature, regime, count] = fields.as_slice() else {
            return Err(format!("not a job: {line:?}").into());
        };
        let regime = [Regime::Behind, Regime::CaughtUp, Regime::PingPong][regime];
        Ok(Job { variant, payload, feature, regime, count })
    }

    fn operations(&self) -> crate::record::Operations {
        (VARIANTS[self.variant].operations)(PAYLOADS[self.payload], FEATURES[self.feature].1)
    }
}

/// The shared file as mapped into this process; unmapped when the process ends.
struct Mapping {
    start: *mut u8,
    bytes: usize,
}

impl Mapping {
    fn new(file: &File, bytes: usize, populate: Advice) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe { mmap(ptr::null_mut(), bytes, access, MapFlags::SHARED, file, 0)? };
        // SAFETY: the range is exactly the mapping just made; populating changes no contents.
        unsafe { madvise(start, bytes, populate)? };
        Ok(Mapping { start: start.cast(), bytes })
    }

    fn second_half(&self) -> *mut u8 {
        self.start.wrapping_add(self.bytes / 2)
    }
}

unsafe extern "C" {
    /// From the C library that std links; `param` points to a `struct sched_param`.
    fn sched_setscheduler(pid: i32, policy: i32, param: *const i32) -> i32;
}

/// Pins the calling thread and asks for real-time scheduling; says whether that was granted.
fn claim_cpu(cpu: usize) -> io::Result<bool> {
    const SCHED_FIFO: i32 = 1;
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)?;
    // SAFETY: on Linux `struct sched_param` is a single int, and the pointer is valid for the call.
    Ok(unsafe { sched_setscheduler(0, SCHED_FIFO, &FIFO_PRIORITY) } == 0)
}

fn run_reader(path: &Path, bytes: usize) -> Outcome<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let fifo = claim_cpu(1)?;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mapping = Mapping::new(&file, bytes, Advice::LinuxPopulateRead)?;
    let mut answers = io::stdout().lock();
    writeln!(answers, "{}", u8::from(fifo))?;
    answers.flush()?;
    for line in io::stdin().lock().lines() {
        let job = Job::parse(&line?)?;
        let operations = job.operations();
        writeln!(answers, "ready")?;
        answers.flush()?;
        // SAFETY: the writer sized the job to fit the file, cleared the records it uses before
        // sending the job, and started only on a CPU with SSE4.2.
        let received = unsafe {
            match job.regime {
                Regime::Behind => {
                    let lag = LAG_BYTES / operations.stride;
                    (operations.receive_behind)(mapping.start, job.count, lag)
                }
                Regime::CaughtUp => (operations.receive_caught_up)(mapping.start, job.count),
                Regime::PingPong => {
                    (operations.echo)(mapping.start, mapping.second_half(), job.count)
                }
            }
        };
        writeln!(answers, "{} {}", received.end, received.errors)?;
        answers.flush()?;
    }
    Ok(())
}

/// The writing side: the mapping and the reading process at the other end of two pipes.
struct Bench {
    mapping: Mapping,
    reader: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    ticks_per_ns: f64,
}

impl Bench {
    fn start(dir: &Path, bytes: usize) -> Outcome<Self> {
        let writer_fifo = claim_cpu(0)?;
        let path = dir.join(format!("header-lab-{}.queue", process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        fallocate(&file, FallocateFlags::empty(), 0, bytes as u64)?;
        let mapping = Mapping::new(&file, bytes, Advice::LinuxPopulateWrite)?;
        let mut reader = Command::new(std::env::current_exe()?)
            .arg("reader")
            .args([path.as_os_str(), bytes.to_string().as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let commands = reader.stdin.take().ok_or("reader has no input")?;
        let answers = BufReader::new(reader.stdout.take().ok_or("reader has no output")?);
        let mut bench = Bench { mapping, reader, commands, answers, ticks_per_ns: ticks_per_ns() };
        let reader_fifo = bench.answer();
        fs::remove_file(&path)?;
        let reader_fifo = reader_fifo? == "1";
        println!("SCHED_FIFO {FIFO_PRIORITY}: writer {writer_fifo}, reader {reader_fifo}");
        println!("TSC: {:.3} GHz", bench.ticks_per_ns);
        Ok(bench)
    }

    fn answer(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            return Err("the reading process ended".into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Clears the records the job will use, lets the reader take position, runs the writer's side
    /// and returns (million messages per second, or half round trips in ticks).
    fn run(&mut self, job: Job) -> Outcome<(f64, Vec<u32>)> {
        let operations = job.operations();
        let used = job.count * operations.stride;
        let ping_pong = job.regime == Regime::PingPong;
        assert!(used <= if ping_pong { self.mapping.bytes / 2 } else { self.mapping.bytes });
        // SAFETY: `used` bytes lie inside the mapping, by the assertion also from its middle on;
        // the reader touches nothing until it gets the job.
        unsafe {
            ptr::write_bytes(self.mapping.start, 0, used);
            if ping_pong {
                ptr::write_bytes(self.mapping.second_half(), 0, used);
            }
        }
        thread::sleep(REST);
        let mut half_trips = vec![0; job.count];
        // Written, not just allocated, so that no page fault falls into a round trip.
        half_trips.fill(1);
        writeln!(self.commands, "{job}")?;
        self.answer()?;
        let begin = tsc();
        let mut own_errors = 0;
        // SAFETY: room and cleared records as above; `main` checked the CPU for SSE4.2; this is
        // the only writer, and the echo is written by the reading process alone.
        unsafe {
            if ping_pong {
                let echo = self.mapping.second_half();
                own_errors = (operations.ping)(self.mapping.start, echo, &mut half_trips);
            } else {
                (operations.send)(self.mapping.start, job.count);
            }
        }
        let answer = self.answer()?;
        let (end, errors) = answer.split_once(' ').ok_or("short answer")?;
        let errors = errors.parse::<u64>()? + own_errors;
        if errors != 0 {
            return Err(format!("{errors} records failed verification in job {job}").into());
        }
        let elapsed_ns = (end.parse::<u64>()? - begin) as f64 / self.ticks_per_ns;
        Ok((job.count as f64 * 1e3 / elapsed_ns, half_trips))
    }

    fn measure(&mut self, job: Job, round_trips: usize) -> Outcome<Sample> {
        let behind = self.run(Job { regime: Regime::Behind, ..job })?.0;
        let caught_up = self.run(Job { regime: Regime::CaughtUp, ..job })?.0;
        let ping_pong =
            Job { regime: Regime::PingPong, count: round_trips + LATENCY_WARM_UP, ..job };
        let half_trips = self.run(ping_pong)?.1;
        let mut histogram = Histogram::<u64>::new(3)?;
        for &ticks in &half_trips[LATENCY_WARM_UP..] {
            histogram.record((f64::from(ticks) / self.ticks_per_ns).round() as u64)?;
        }
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| histogram.value_at_quantile(q) as f64);
        Ok(Sample([behind, caught_up, p50, p99, p999]))
    }
}

/// Behind and caught-up in million messages per second; half round trip p50, p99, p99.9 in ns.
struct Sample([f64; 5]);

fn ticks_per_ns() -> f64 {
    let (clock, begin) = (Instant::now(), tsc());
    thread::sleep(Duration::from_millis(100));
    let ticks = tsc() - begin;
    ticks as f64 / clock.elapsed().as_nanos() as f64
}

/// One column over the repeats; `spread` is half the interquartile range in percent of the median.
struct Summary {
    median: f64,
    spread: f64,
    lowest: f64,
    highest: f64,
}

fn summarise(samples: &[Sample], column: usize) -> Summary {
    let mut values: Vec<f64> = samples.iter().map(|sample| sample.0[column]).collect();
    values.sort_by(f64::total_cmp);
    let quantile = |q: f64| {
        let position = q * (values.len() - 1) as f64;
        let (low, high) = (position.floor() as usize, position.ceil() as usize);
        values[low] + (values[high] - values[low]) * position.fract()
    };
    let median = quantile(0.5);
    let spread = (quantile(0.75) - quantile(0.25)) / 2.0 / median * 100.0;
    Summary { median, spread, lowest: quantile(0.0), highest: quantile(1.0) }
}

fn print_table(title: &str, strides: &[usize], samples: &[Vec<Sample>]) {
    println!("\n{title}");
    println!(
        "variant       bytes | behind M/s ratio     ± | caught-up M/s ratio    min    max | \
         RTT/2 p50 ns ratio     ±    p99  p99.9"
    );
    let reference = [0, 1, 2].map(|column| summarise(&samples[0], column).median);
    for (variant, samples) in samples.iter().enumerate() {
        let [behind, caught_up, p50, p99, p999] = [0, 1, 2, 3, 4].map(|c| summarise(samples, c));
        println!(
            "{:<13} {:>5} | {:>10.2} {:>5.3} {:>4.1}% | {:>13.2} {:>5.3} {:>6.2} {:>6.2} | \
             {:>12.0} {:>5.3} {:>4.1}% {:>6.0} {:>6.0}",
            VARIANTS[variant].name,
            strides[variant],
            behind.median,
            behind.median / reference[0],
            behind.spread,
            caught_up.median,
            caught_up.median / reference[1],
            caught_up.lowest,
            caught_up.highest,
            p50.median,
            p50.median / reference[2],
            p50.spread,
            p99.median,
            p999.median,
        );
    }
}

fn json_rows(payload: usize, feature: &str, strides: &[usize], samples: &[Vec<Sample>]) -> String {
    let mut rows = Vec::new();
    for (variant, samples) in samples.iter().enumerate() {
        for (repeat, Sample([behind, caught_up, p50, p99, p999])) in samples.iter().enumerate() {
            rows.push(format!(
                "{{\"payload\":{payload},\"feature\":\"{feature}\",\"variant\":\"{}\",\
                 \"bytes\":{},\"repeat\":{repeat},\"behind_mps\":{behind:.4},\
                 \"caught_up_mps\":{caught_up:.4},\"half_rtt_ns\":[{p50},{p99},{p999}]}}",
                VARIANTS[variant].name, strides[variant]
            ));
        }
    }
    rows.join(",\n")
}

pub(crate) fn main() -> Outcome<()> {
    let cli = Cli::parse();
    if !std::is_x86_feature_detected!("sse4.2") {
        return Err("this program needs SSE4.2".into());
    }
    if let Some(Role::Reader { file, bytes }) = cli.role {
        return run_reader(&file, bytes);
    }
    if cli.repeats == 0 {
        return Err("at least one repeat".into());
    }
    let bytes = cli.mib << 20;
    let mut bench = Bench::start(&cli.dir, bytes)?;
    let mut json = Vec::new();
    for (payload, &payload_bytes) in PAYLOADS.iter().enumerate() {
        let widest = payload_bytes + 64;
        let count = bytes / widest;
        if (cli.round_trips + LATENCY_WARM_UP) * widest > bytes / 2 {
            return Err("the file is too small for that many round trips".into());
        }
        for (feature, (feature_name, _)) in FEATURES.iter().enumerate() {
            let job = |variant, regime| Job { variant, payload, feature, regime, count };
            let strides: Vec<usize> = (0..VARIANTS.len())
                .map(|variant| job(variant, Regime::Behind).operations().stride)
                .collect();
            let mut samples: Vec<Vec<Sample>> = VARIANTS.iter().map(|_| Vec::new()).collect();
            for repeat in 0..cli.repeats {
                for turn in 0..VARIANTS.len() {
                    let variant = (turn + repeat) % VARIANTS.len();
                    let sample = bench.measure(job(variant, Regime::Behind), cli.round_trips)?;
                    samples[variant].push(sample);
                }
            }
            let title = format!(
                "payload {payload_bytes} B, {feature_name}; {count} messages per run, {} repeats",
                cli.repeats
            );
            print_table(&title, &strides, &samples);
            json.push(json_rows(payload_bytes, feature_name, &strides, &samples));
        }
    }
    drop(bench.commands);
    bench.reader.wait()?;
    if let Some(path) = cli.json {
        fs::write(path, format!("[\n{}\n]\n", json.join(",\n")))?;
    }
    Ok(())
}
