//! Strategies that come and go, awaited.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use chronicle_bus::{
    AsyncRouterDiscovery, BusLayout, Change, Lease, RouterDiscovery, StrategyEvent, StrategyId,
};

/// No look without a hint.
const NEVER: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(60);

fn ready(root: &Path, name: &str) -> Lease {
    let layout = BusLayout::new(root).unwrap();
    let mut lease = layout.strategy(StrategyId::new(name).unwrap()).write_lease().unwrap();
    lease.mark_ready().unwrap();
    lease
}

fn facts(events: &[StrategyEvent]) -> Vec<(String, char)> {
    let fact = |event: &StrategyEvent| {
        let change = match event.change {
            Change::Added(_) => '+',
            Change::Removed(_) => '-',
            _ => '~',
        };
        (event.strategy.id().to_string(), change)
    };
    events.iter().map(fact).collect()
}

fn fact(name: &str, change: char) -> Vec<(String, char)> {
    vec![(name.to_owned(), change)]
}

async fn next(discovery: &mut AsyncRouterDiscovery) -> Vec<(String, char)> {
    facts(&tokio::time::timeout(PATIENCE, discovery.changes()).await.unwrap().unwrap())
}

#[tokio::test]
async fn what_comes_and_goes_wakes_the_task_without_a_rescan() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("not/there/yet");
    let layout = BusLayout::new(&root).unwrap();
    let mut discovery = RouterDiscovery::with_rescan(&layout, NEVER).into_async().unwrap();
    let maker = tokio::task::spawn_blocking(move || {
        thread::sleep(Duration::from_millis(50));
        ready(&root, "a")
    });
    assert_eq!(next(&mut discovery).await, fact("a", '+'));
    let lease = maker.await.unwrap();
    let leaver = tokio::task::spawn_blocking(move || {
        thread::sleep(Duration::from_millis(50));
        drop(lease);
    });
    assert_eq!(next(&mut discovery).await, fact("a", '-'));
    leaver.await.unwrap();
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let layout = BusLayout::new(directory.path()).unwrap();
    let mut discovery = RouterDiscovery::with_rescan(&layout, NEVER).into_async().unwrap();
    let mut leases = Vec::new();
    for number in 0..20 {
        let given_up = tokio::time::timeout(Duration::from_millis(2), discovery.changes());
        assert!(given_up.await.is_err(), "nothing has changed");
        let name = format!("s{number}");
        leases.push(ready(directory.path(), &name));
        if number % 2 == 0 {
            // Found for the wait that was given up, before there is another one.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(next(&mut discovery).await, fact(&name, '+'));
    }
}

#[tokio::test]
async fn what_happens_while_nobody_awaits_is_told_as_what_came_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let layout = BusLayout::new(directory.path()).unwrap();
    let mut discovery = RouterDiscovery::new(&layout).into_async().unwrap();
    let first = ready(directory.path(), "a");
    assert_eq!(next(&mut discovery).await, fact("a", '+'));
    drop(first);
    for _ in 0..10 {
        drop(ready(directory.path(), "b"));
    }
    let _again = ready(directory.path(), "a");
    assert_eq!(next(&mut discovery).await, fact("a", '~'));
}

#[tokio::test]
async fn an_error_is_told_and_the_next_wait_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("bus");
    fs::create_dir(&root).unwrap();
    std::os::unix::fs::symlink(directory.path(), root.join("orders")).unwrap();
    let layout = BusLayout::new(&root).unwrap();
    let discovery = RouterDiscovery::with_rescan(&layout, Duration::from_millis(5));
    let mut discovery = discovery.into_async().unwrap();
    let error = discovery.changes().await.unwrap_err();
    assert!(error.to_string().contains("links are refused"), "{error}");
    fs::remove_file(root.join("orders")).unwrap();
    let _lease = ready(&root, "a");
    loop {
        // Further looks may have been made before the link was gone.
        match discovery.changes().await {
            Ok(events) => return assert_eq!(facts(&events), fact("a", '+')),
            Err(error) => assert!(error.to_string().contains("links are refused"), "{error}"),
        }
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn it_needs_no_executor_of_a_kind_and_its_thread_ends_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let layout = BusLayout::new(directory.path()).unwrap();
    let mut discovery = RouterDiscovery::new(&layout).into_async().unwrap();
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    assert!(discovery.poll_changes(&mut context).is_pending());
    let _lease = ready(directory.path(), "a");
    let until = Instant::now() + PATIENCE;
    loop {
        if let Poll::Ready(events) = discovery.poll_changes(&mut context) {
            break assert_eq!(facts(&events.unwrap()), fact("a", '+'));
        }
        assert!(Instant::now() < until);
        thread::park_timeout(PATIENCE);
    }
    drop(discovery);
    while cfg!(target_os = "linux") && discovery_threads() > 0 {
        assert!(Instant::now() < until, "the thread lives on");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Threads of this process that follow a bus. Those of the other tests here end too.
fn discovery_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let name =
        |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    // The kernel keeps 15 characters of a name (prctl(2), PR_SET_NAME).
    tasks.flatten().map(name).filter(|name| name.starts_with("chronicle-disco")).count()
}
