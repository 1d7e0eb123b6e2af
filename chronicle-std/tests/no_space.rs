//! Queues that run out of space, of file size and of descriptors: typed errors and never a signal,
//! readers that go on, and a writer that goes on by itself once there is room again.
//!
//! Every case runs in a process of its own, whose end shows whether a signal came. File systems of
//! many sizes are mounted in a mount namespace of the test's own; where that is not allowed, the test
//! says so and is skipped. `CHRONICLE_TEST_SIZES=1` tries every size.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

#[path = "../../chronicle-core/tests/support/child.rs"]
mod child;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use child::{Body, setting, told};
use chronicle_std::format::{COUNTERS_FILE_SIZE, CountersKind};
use chronicle_std::{
    CountersFile, Queue, QueueError, QueueReader, QueueWriter, ReaderConfig, WriterConfig,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const TYPE: u16 = 0x8000;
const PAGE: usize = 4096;
const MIB: usize = 1 << 20;
/// In CI every so manieth size, which meets every size modulo the steps that space is taken in.
const STRIDE: usize = 37;

/// A record that says which one it is, of many lengths.
fn payload(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + (number * 131 % 1700) as usize, number as u8);
    bytes
}

fn is_no_space(error: &QueueError) -> bool {
    let QueueError::Io { source, .. } = error else { return false };
    matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge)
}

/// Appends until there is no space; returns how many records that were.
fn fill(writer: &mut QueueWriter) -> u64 {
    let first = writer.next_seq();
    loop {
        let number = writer.next_seq();
        match writer.append(TYPE, &payload(number)) {
            Ok(seq) => assert_eq!(seq, number),
            Err(error) => {
                assert!(is_no_space(&error), "{error}");
                assert_eq!(writer.next_seq(), number, "a refused record took a number");
                return number - first;
            }
        }
    }
}

/// Reads on to the end and checks what comes.
fn drain(reader: &mut QueueReader, expected: &mut u64) {
    while let Some(message) = reader.next().unwrap() {
        assert_eq!(message.seq, *expected);
        assert_eq!(message.payload, payload(*expected));
        *expected += 1;
    }
}

/// Not a test of its own: one queue on one file system, filled, relieved, filled again.
#[test]
fn body_fills_a_file_system() {
    let Some(directory) = told::<PathBuf>("DIRECTORY") else { return };
    let mut config = WriterConfig::default();
    config.segment_size = told("SEGMENT").unwrap();
    config.allocation_step = told("STEP").unwrap();
    config.background = told("BACKGROUND").unwrap();
    // Space that is given back later.
    let filler = directory.join("filler");
    File::create(&filler).unwrap().write_all(&vec![1; told("FILLER").unwrap()]).unwrap();
    let queue = directory.join("q");
    let mut writer = match Queue::create(&queue, config.clone()) {
        Ok(writer) => writer,
        Err(error) => {
            assert!(is_no_space(&error), "{error}");
            // Nothing in the way of the next try.
            fs::remove_file(&filler).unwrap();
            match Queue::create(&queue, config.clone()) {
                Ok(writer) => writer,
                Err(QueueError::AlreadyExists { .. }) => Queue::open_publisher(&queue).unwrap(),
                Err(error) => {
                    assert!(is_no_space(&error), "{error}");
                    println!("too small");
                    return;
                }
            }
        }
    };
    let (mut read, mut read_passively) = (0, 0);
    // Registered where there is space for its file, passive otherwise.
    let mut named = Queue::open_subscriber(&queue, "named").ok();
    let mut passive = Queue::open_reader(&queue, ReaderConfig::default()).unwrap();
    let mut counts = Vec::new();
    for round in 0..2 {
        let count = fill(&mut writer);
        // Again and again: the answer stays the same, and so does what is there.
        for _ in 0..3 {
            let more = fill(&mut writer);
            assert!(round == 0 || more == 0 || config.background, "{more} more without space");
        }
        counts.push(count);
        drain(&mut passive, &mut read_passively);
        assert_eq!(read_passively, writer.next_seq());
        if let Some(named) = &mut named {
            drain(named, &mut read);
            named.commit().unwrap();
        }
        // One that comes while the disk is full, and the writer's own bookkeeping.
        let mut late = Queue::open_reader(&queue, ReaderConfig::default()).unwrap();
        let mut read_late = 0;
        drain(&mut late, &mut read_late);
        assert_eq!(read_late, read_passively);
        Queue::inspect(&queue).unwrap();
        writer.flush().unwrap();
        if round == 0 && filler.exists() {
            fs::remove_file(&filler).unwrap();
            // The same writer, without being opened anew.
            let next = writer.next_seq();
            let until = Instant::now() + Duration::from_secs(5);
            while let Err(error) = writer.append(TYPE, &payload(next)) {
                assert!(is_no_space(&error), "{error}");
                assert!(Instant::now() < until, "there is room, and the writer does not see it");
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    // Closed and opened on the full disk: it opens, or says that it is full, and loses nothing.
    let count = writer.next_seq();
    drop(writer);
    match Queue::open_publisher(&queue) {
        Ok(writer) => assert_eq!(writer.next_seq(), count),
        Err(error) => assert!(is_no_space(&error), "{error}"),
    }
    let mut again = 0;
    drain(&mut Queue::open_reader(&queue, ReaderConfig::default()).unwrap(), &mut again);
    assert_eq!(again, count);
    println!("filled {counts:?}, reader registered: {}", named.is_some());
}

/// Not a test of its own: runs in a mount namespace, and mounts a file system of every size.
#[test]
fn body_mounts_file_systems() {
    let Some(directory) = told::<PathBuf>("MOUNTS") else { return };
    let stride: usize = told("STRIDE").unwrap();
    let run = |command: &mut Command| command.status().unwrap().success();
    let place = directory.join("disk");
    fs::create_dir(&place).unwrap();
    // A mount in here is seen nowhere else.
    if !run(Command::new("mount").args(["--make-rprivate", "/"])) {
        println!("skipped: mounts cannot be made private");
        return;
    }
    let (mut cases, mut filled, mut small) = (0, 0, 0);
    for pages in (64..=1024).step_by(stride) {
        let size = pages * PAGE;
        for (segment, step, background) in [
            (64 << 10, MIB, true),
            (64 << 10, PAGE, false),
            (256 << 10, 64 << 10, true),
            (MIB, 128 << 10, pages % 2 == 0),
            (16 * MIB, 256 << 10, false),
        ] {
            let mount = ["-t", "tmpfs", "-o", &format!("size={size},huge=never"), "tmpfs"];
            if !run(Command::new("mount").args(mount).arg(&place)) {
                println!("skipped: no file system can be mounted");
                return;
            }
            let mut case = Body::named("body_fills_a_file_system")
                .tell("DIRECTORY", place.display())
                .tell("SEGMENT", segment)
                .tell("STEP", step)
                .tell("BACKGROUND", background)
                .tell("FILLER", size / 3)
                .start();
            let status = case.end();
            assert!(
                status.success(),
                "{size} bytes, segments of {segment}, step {step}, background {background}: {status}"
            );
            cases += 1;
            while let Some(line) = case.said("") {
                filled += usize::from(line.contains("filled"));
                small += usize::from(line.contains("too small"));
            }
            drop(case);
            assert!(run(Command::new("umount").arg(&place)));
        }
    }
    println!("cases {cases}: {filled} filled twice, {small} too small for a queue");
}

#[test]
fn file_systems_of_every_size_fill_up_without_a_signal_and_the_writer_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let stride = if setting("CHRONICLE_TEST_SIZES").is_some() { 1 } else { STRIDE };
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let allowed = Command::new(unshare.get_program()).args(unshare.get_args()).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no mount namespace is to be had here, so no file system can be filled");
        return;
    }
    let body = Body::named_through(unshare, "body_mounts_file_systems");
    let body = body.tell("MOUNTS", directory.path().display()).tell("STRIDE", stride);
    let mut mounts = body.start();
    // Each of its cases has its own limit.
    let status = mounts.end_within(Duration::from_secs(3600));
    assert!(status.success(), "{status}");
    match mounts.said("cases ") {
        Some(cases) => println!("{cases}"),
        None => eprintln!("SKIPPED: no file system can be mounted here"),
    }
}

/// Sets a limit of this process as low as this, and leaves the hard one.
fn limit(resource: Resource, to: u64) {
    let maximum = getrlimit(resource).maximum;
    setrlimit(resource, Rlimit { current: Some(to), maximum }).unwrap();
}

fn lift(resource: Resource) {
    let maximum = getrlimit(resource).maximum;
    setrlimit(resource, Rlimit { current: maximum, maximum }).unwrap();
}

/// Not a test of its own: a process with a limit on the size of its files.
#[test]
fn body_has_a_file_size_limit() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    let size: u64 = told("LIMIT").unwrap();
    let mut config = WriterConfig::default();
    config.segment_size = 64 << 10;
    config.background = told("BACKGROUND").unwrap();
    if told("FROM_THE_BEGINNING").unwrap() {
        limit(Resource::Fsize, size);
        let error = Queue::create(&queue, config.clone()).map(drop).unwrap_err();
        assert!(is_no_space(&error), "{error}");
        lift(Resource::Fsize);
    }
    let mut writer = Queue::open_publisher_with(&queue, config.clone()).unwrap();
    // The thread looks at the limit before it makes the next segment; nobody can look and make in one.
    while config.background && !queue.join("000000001.q").exists() {
        thread::sleep(Duration::from_millis(1));
    }
    limit(Resource::Fsize, size);
    let mut passive = Queue::open_reader(&queue, ReaderConfig::default()).unwrap();
    let mut read = 0;
    assert!(fill(&mut writer) > 0, "the segment that is there takes what fits");
    drain(&mut passive, &mut read);
    assert_eq!(read, writer.next_seq());
    // A reader's file, a flush and a new writer are met by the same limit.
    match Queue::open_subscriber(&queue, "limited") {
        Ok(_) => {}
        Err(error) => assert!(is_no_space(&error), "{error}"),
    }
    // Nor is anything counted where its file may not be made.
    let counters = queue.join("counters");
    let file = File::create_new(&counters).unwrap();
    match CountersFile::take(&counters, file, CountersKind::Writer) {
        Ok(taken) => assert!(taken.is_some() && size >= COUNTERS_FILE_SIZE),
        Err(error) => assert!(is_no_space(&error) && size < COUNTERS_FILE_SIZE, "{error}"),
    }
    fs::remove_file(counters).unwrap();
    writer.flush().unwrap();
    drop(writer);
    match Queue::open_publisher_with(&queue, config) {
        Ok(_) => {}
        Err(error) => assert!(is_no_space(&error), "{error}"),
    }
    lift(Resource::Fsize);
    let mut writer = Queue::open_publisher(&queue).unwrap();
    for _ in 0..1000 {
        writer.append(TYPE, &payload(writer.next_seq())).unwrap();
    }
    drain(&mut passive, &mut read);
    assert_eq!(read, writer.next_seq());
    println!("done");
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_no_signal() {
    for size in [0, 1, 100, 4096, 65535] {
        for background in [false, true] {
            for from_the_beginning in [false, true] {
                let directory = tempfile::tempdir().unwrap();
                let mut limited = Body::named("body_has_a_file_size_limit")
                    .tell("QUEUE", directory.path().join("q").display())
                    .tell("LIMIT", size)
                    .tell("BACKGROUND", background)
                    .tell("FROM_THE_BEGINNING", from_the_beginning)
                    .start();
                let status = limited.end();
                assert!(
                    status.success(),
                    "limit {size}, background {background}, {from_the_beginning}: {status}"
                );
            }
        }
    }
}

/// Uses up all descriptors but so many.
fn hog(spare: usize) -> Vec<File> {
    let mut hogs = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hogs.push(file);
    }
    hogs.truncate(hogs.len().saturating_sub(spare));
    hogs
}

fn is_exhausted(error: &QueueError) -> bool {
    let QueueError::Io { source, .. } = error else { return false };
    source.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error())
}

/// Not a test of its own: a process that runs out of descriptors, with so many to spare.
#[test]
fn body_runs_out_of_descriptors() {
    let Some(queue) = told::<PathBuf>("QUEUE") else { return };
    limit(Resource::Nofile, 64);
    let spare: usize = told("SPARE").unwrap();
    let mut config = WriterConfig::default();
    config.segment_size = 64 << 10;
    config.background = told("BACKGROUND").unwrap();
    let mut writer = Queue::create(&queue, config.clone()).unwrap();
    let mut named = Queue::open_subscriber(&queue, "named").unwrap();
    let hogs = hog(spare);
    let mut refused = 0;
    let mut read = 0;
    for _ in 0..2000 {
        let number = writer.next_seq();
        match writer.append(TYPE, &payload(number)) {
            Ok(_) => {}
            Err(error) => {
                assert!(is_exhausted(&error), "{error}");
                refused += 1;
            }
        }
        match named.next() {
            Ok(Some(message)) => {
                assert_eq!(message.payload, payload(read));
                read += 1;
                named.commit().unwrap();
            }
            Ok(None) => {}
            Err(error) => assert!(is_exhausted(&error), "{error}"),
        }
    }
    for opened in [
        Queue::open_reader(&queue, ReaderConfig::default()).map(drop),
        Queue::open_subscriber(&queue, "other").map(drop),
        Queue::inspect(&queue).map(drop),
    ] {
        assert!(opened.as_ref().is_ok() || opened.as_ref().is_err_and(is_exhausted), "{opened:?}");
    }
    // A descriptor that is not to be had is no lost byte: the next flush may succeed.
    match writer.flush() {
        Ok(()) => {}
        Err(error) => assert!(is_exhausted(&error), "{error}"),
    }
    drop(hogs);
    for _ in 0..500 {
        writer.append(TYPE, &payload(writer.next_seq())).unwrap();
    }
    writer.flush().unwrap();
    drain(&mut named, &mut read);
    assert_eq!(read, writer.next_seq());
    println!("refused {refused}");
}

#[test]
fn a_process_without_descriptors_gets_errors_and_goes_on_when_it_has_some() {
    let mut refused = 0;
    for spare in 0..8 {
        for background in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let mut process = Body::named("body_runs_out_of_descriptors")
                .tell("QUEUE", directory.path().join("q").display())
                .tell("SPARE", spare)
                .tell("BACKGROUND", background)
                .start();
            let status = process.end();
            assert!(status.success(), "{spare} to spare, background {background}: {status}");
            refused += process.said("refused ").unwrap().parse::<u64>().unwrap();
        }
    }
    println!("{refused} appends were refused in all");
    assert!(refused > 0, "no append was ever short of a descriptor");
}
