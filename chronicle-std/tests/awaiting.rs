//! Readers on tokio, whose writer is a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::future::poll_fn;
use std::pin::Pin;
use std::thread;
use std::time::Duration;

use chronicle_std::{AsyncReader, AsyncSet, Message, MessageStream, Queue, QueueError};
use chronicle_std::{ReaderConfig, WaitOutcome, WriterStatus};
use futures_core::Stream;
use support::{TYPE, await_line, given_queue, make_queues, queue, small, start};
use tokio::time::timeout;

const MESSAGES: u64 = 3000;
const PATIENCE: Duration = Duration::from_secs(20);

/// Not a test of its own: appends numbers, now and then with a pause.
#[test]
fn body_appends_in_bursts() {
    let Some(path) = given_queue() else { return };
    let mut writer = Queue::open_publisher_with(&path, small()).unwrap();
    println!("writing");
    for number in 0..MESSAGES {
        if number.is_multiple_of(50) {
            thread::sleep(Duration::from_millis(5));
        }
        writer.append(TYPE, &number.to_le_bytes()).unwrap();
    }
}

async fn next(stream: &mut MessageStream) -> Result<Message, QueueError> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_gives_every_message_of_another_process_once_however_often_it_is_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q");
    drop(Queue::create(&path, small()).unwrap());
    let reader = Queue::open_subscriber(&path, "async").unwrap();
    let mut stream = AsyncReader::new(reader).unwrap().into_stream();
    let mut writer = start("body_appends_in_bursts", &path);
    await_line(&mut writer, "writing");
    let mut cancelled = 0;
    for number in 0..MESSAGES {
        let message = loop {
            // Given up every two milliseconds, and begun anew.
            match timeout(Duration::from_millis(2), next(&mut stream)).await {
                Ok(message) => break message.unwrap(),
                Err(_) => cancelled += 1,
            }
            assert!(cancelled < 10_000);
        };
        assert_eq!((message.seq, message.payload), (number, number.to_le_bytes().to_vec()));
        if number == MESSAGES / 2 {
            stream.commit().unwrap();
        }
    }
    assert!(cancelled > 10, "{cancelled} waits were cancelled");
    assert!(writer.wait().unwrap().success());
    drop(stream);
    let mut again = AsyncReader::new(Queue::open_subscriber(&path, "async").unwrap()).unwrap();
    assert_eq!(again.ready().await.unwrap(), WaitOutcome::Ready);
    assert_eq!(again.read().unwrap().unwrap().seq, MESSAGES / 2 + 1);
}

#[tokio::test(flavor = "current_thread")]
async fn other_tasks_go_on_while_a_reader_is_awaited_and_a_dead_writer_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q");
    drop(Queue::create(&path, small()).unwrap());
    let mut config = ReaderConfig::default();
    config.writer_timeout = Some(Duration::from_millis(50));
    let mut reader = AsyncReader::new(Queue::open_reader(&path, config).unwrap()).unwrap();
    let waiting = tokio::spawn(async move { reader.ready().await.unwrap() });
    let mut turns = 0;
    while !waiting.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        turns += 1;
        assert!(turns < 20_000);
    }
    assert!(turns > 10, "the one thread of the runtime was blocked");
    assert_eq!(waiting.await.unwrap(), WaitOutcome::Writer(WriterStatus::Dead));
}

#[tokio::test(flavor = "current_thread")]
async fn one_task_awaits_many_queues() {
    let directory = tempfile::tempdir().unwrap();
    make_queues(directory.path(), 140);
    let mut set = AsyncSet::new();
    let mut ids = Vec::new();
    for number in 0..140 {
        let mut config = ReaderConfig::default();
        config.writer_timeout = None;
        let reader = Queue::open_reader(queue(directory.path(), number), config).unwrap();
        ids.push(set.add(reader).unwrap());
    }
    for number in [3, 139, 70] {
        let path = queue(directory.path(), number);
        let appending = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            Queue::open_publisher_with(path, small()).unwrap().append(TYPE, b"x").unwrap();
        });
        let mut events = Vec::new();
        timeout(PATIENCE, set.wait(&mut events)).await.unwrap();
        let member = events.pop().unwrap().member;
        assert_eq!(Some(&member), ids.get(number));
        assert!(set.reader_mut(member).unwrap().next().unwrap().is_some());
        appending.join().unwrap();
    }
}
