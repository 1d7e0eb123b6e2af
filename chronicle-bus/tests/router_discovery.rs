//! What a router is told of strategies that come, die and come back, as processes of their own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../chronicle-core/tests/support/child.rs"]
mod child;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use child::{Body, Process, told};
use chronicle_bus::{
    BusLayout, Change, RouterDiscovery, StrategyEndpoints, StrategyEvent, StrategyId,
};

/// Longer than anything here takes, however busy the machine is.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));
/// No look without a hint.
const NEVER: Duration = Duration::from_secs(3600);
/// Time for what must not happen.
const A_WHILE: Option<Duration> = Some(Duration::from_millis(300));

fn strategy(root: &Path, name: &str) -> StrategyEndpoints {
    BusLayout::new(root).unwrap().strategy(StrategyId::new(name).unwrap())
}

/// Not a test of its own: runs the strategies that it is told, until it is killed.
#[test]
fn body_runs_strategies() {
    let Some(root) = told::<PathBuf>("ROOT") else { return };
    let names = told::<String>("NAMES").unwrap();
    let leases: Vec<_> = names
        .split(',')
        .map(|name| {
            let mut lease = strategy(&root, name).write_lease().unwrap();
            lease.mark_ready().unwrap();
            lease
        })
        .collect();
    println!("marked {}", leases.len());
    thread::sleep(Duration::from_secs(120));
}

fn running(root: &Path, names: &str) -> Process {
    let body = Body::named("body_runs_strategies").tell("ROOT", root.display());
    let mut process = body.tell("NAMES", names).start();
    process.said("marked").unwrap();
    process
}

/// Names and changes, without who.
fn facts(events: &[StrategyEvent]) -> Vec<(String, char)> {
    let fact = |event: &StrategyEvent| {
        let change = match event.change {
            Change::Added(_) => '+',
            Change::Removed(_) => '-',
            Change::Restarted(_) => '~',
            _ => '?',
        };
        (event.strategy.id().to_string(), change)
    };
    events.iter().map(fact).collect()
}

fn fact(name: &str, change: char) -> Vec<(String, char)> {
    vec![(name.to_owned(), change)]
}

#[test]
fn a_strategy_that_is_killed_and_comes_back_is_one_removed_and_one_added() {
    let directory = tempfile::tempdir().unwrap();
    let layout = BusLayout::new(directory.path()).unwrap();
    let mut discovery = RouterDiscovery::with_rescan(&layout, Duration::from_millis(20));
    assert_eq!(facts(&discovery.poll().unwrap()), []);
    let mut process = running(directory.path(), "a");
    let events = discovery.wait(PATIENCE).unwrap();
    assert_eq!(facts(&events), fact("a", '+'));
    let Change::Added(holder) = events[0].change else { unreachable!() };
    assert_eq!(holder.pid, process.pid());
    assert_eq!(discovery.strategies().collect::<Vec<_>>(), [(events[0].strategy.id(), holder)]);

    process.kill();
    assert_eq!(facts(&discovery.wait(PATIENCE).unwrap()), fact("a", '-'));
    assert_eq!(facts(&discovery.wait(A_WHILE).unwrap()), []);
    let _again = running(directory.path(), "a");
    assert_eq!(facts(&discovery.wait(PATIENCE).unwrap()), fact("a", '+'));
    assert_eq!(facts(&discovery.wait(A_WHILE).unwrap()), []);
}

#[test]
fn a_strategy_that_is_killed_and_back_before_anybody_looked_is_restarted() {
    let directory = tempfile::tempdir().unwrap();
    let layout = BusLayout::new(directory.path()).unwrap();
    let mut discovery = RouterDiscovery::with_rescan(&layout, NEVER);
    let mut first = running(directory.path(), "a");
    assert_eq!(facts(&discovery.poll().unwrap()), fact("a", '+'));
    first.kill();
    let second = running(directory.path(), "a");
    let events = discovery.wait(PATIENCE).unwrap();
    assert_eq!(facts(&events), fact("a", '~'));
    let Change::Restarted(holder) = events[0].change else { unreachable!() };
    assert_eq!((holder.pid, holder.epoch), (second.pid(), 2));
    assert_eq!(facts(&discovery.wait(A_WHILE).unwrap()), []);
}

#[test]
fn what_comes_and_goes_in_good_order_is_noticed_without_a_rescan() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("not/there/yet");
    let layout = BusLayout::new(&root).unwrap();
    let mut discovery = RouterDiscovery::with_rescan(&layout, NEVER);
    assert_eq!(facts(&discovery.poll().unwrap()), []);
    assert!(discovery.is_watching());
    assert!(!root.exists(), "a look makes nothing");

    let maker = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        let mut lease = strategy(&root, "a").write_lease().unwrap();
        lease.mark_ready().unwrap();
        lease
    });
    let begun = Instant::now();
    assert_eq!(facts(&discovery.wait(PATIENCE).unwrap()), fact("a", '+'));
    let lease = maker.join().unwrap();
    let leaver = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        drop(lease);
    });
    assert_eq!(facts(&discovery.wait(PATIENCE).unwrap()), fact("a", '-'));
    leaver.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30), "it was not the end of the patience");
}

#[test]
fn directories_that_vanish_and_come_back_are_followed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("bus");
    let layout = BusLayout::new(&root).unwrap();
    let mut discovery = RouterDiscovery::with_rescan(&layout, NEVER);
    for above in ["bus", "bus/orders", "bus/orders/queue", "bus/orders/queue/a"] {
        let lease = {
            let mut lease = strategy(&root, "a").write_lease().unwrap();
            lease.mark_ready().unwrap();
            lease
        };
        assert_eq!(facts(&discovery.wait(PATIENCE).unwrap()), fact("a", '+'), "{above}");
        fs::remove_dir_all(directory.path().join(above)).unwrap();
        assert_eq!(facts(&discovery.wait(PATIENCE).unwrap()), fact("a", '-'), "{above}");
        drop(lease);
    }
}

#[test]
fn two_routers_see_the_same_events() {
    let directory = tempfile::tempdir().unwrap();
    let layout = BusLayout::new(directory.path()).unwrap();
    let mut routers = [RouterDiscovery::new(&layout), RouterDiscovery::new(&layout)];
    let mut process = running(directory.path(), "a,b,c");
    let events: Vec<_> = routers.iter_mut().map(|router| router.poll().unwrap()).collect();
    assert_eq!(facts(&events[0]).len(), 3);
    assert_eq!(events[0], events[1]);
    process.kill();
    let events: Vec<_> = routers.iter_mut().map(|router| router.wait(PATIENCE).unwrap()).collect();
    assert_eq!(facts(&events[0]).len(), 3);
    assert_eq!(events[0], events[1]);
}

#[test]
fn a_thousand_strategies_in_a_second_are_each_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let layout = BusLayout::new(directory.path()).unwrap();
    let mut discovery = RouterDiscovery::with_rescan(&layout, NEVER);
    discovery.poll().unwrap();
    // Five processes, since a thousand would have a second's work to start alone.
    let names: Vec<Vec<String>> = (0..5)
        .map(|process| (0..200).map(|number| format!("s{process}-{number}")).collect())
        .collect();
    let start = |names: &Vec<String>| {
        let body = Body::named("body_runs_strategies").tell("ROOT", directory.path().display());
        body.tell("NAMES", names.join(",")).start()
    };
    let processes: Vec<Process> = names.iter().map(start).collect();
    let begun = Instant::now();
    let mut told = Vec::new();
    while told.len() < 1000 && begun.elapsed() < Duration::from_secs(60) {
        told.extend(facts(&discovery.wait(Some(Duration::from_secs(5))).unwrap()));
    }
    println!("1000 strategies in {:?}", begun.elapsed());
    assert!(told.iter().all(|(_, change)| *change == '+'));
    let different: BTreeSet<&String> = told.iter().map(|(name, _)| name).collect();
    assert_eq!((told.len(), different.len()), (1000, 1000));
    assert_eq!(facts(&discovery.wait(A_WHILE).unwrap()), []);

    drop(processes);
    let mut discovery = RouterDiscovery::new(&layout);
    assert_eq!(facts(&discovery.poll().unwrap()), [], "all of them are dead");
}

#[test]
fn names_and_files_that_are_no_strategies_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let layout = BusLayout::new(directory.path()).unwrap();
    let _process = running(directory.path(), "a");
    let strategies = layout.strategies();
    fs::write(strategies.join("file"), "").unwrap();
    fs::create_dir(strategies.join("no.name")).unwrap();
    fs::create_dir(strategies.join("empty")).unwrap();
    std::os::unix::fs::symlink(strategies.join("a"), strategies.join("link")).unwrap();
    let mut discovery = RouterDiscovery::new(&layout);
    assert_eq!(facts(&discovery.poll().unwrap()), fact("a", '+'));
}

#[test]
fn without_descriptors_nobody_is_said_to_be_gone() {
    let directory = tempfile::tempdir().unwrap();
    let layout = BusLayout::new(directory.path()).unwrap();
    let _process = running(directory.path(), "a");
    let body = Body::named("body_runs_out_of_descriptors").tell("ROOT", directory.path().display());
    body.start().succeed();
    drop(layout);
}

/// Not a test of its own: a limit on descriptors is the whole process's.
#[test]
fn body_runs_out_of_descriptors() {
    let Some(root) = told::<PathBuf>("ROOT") else { return };
    let layout = BusLayout::new(&root).unwrap();
    let mut discovery = RouterDiscovery::with_rescan(&layout, Duration::ZERO);
    assert_eq!(facts(&discovery.poll().unwrap()), fact("a", '+'));
    // Each look comes a little after the one before, whatever the time between them is to be.
    let a_little = Duration::from_millis(200);
    thread::sleep(a_little);
    let mut taken = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        taken.push(file);
    }
    discovery.poll().unwrap_err();
    assert_eq!(discovery.strategies().count(), 1);
    drop(taken);
    thread::sleep(a_little);
    assert_eq!(facts(&discovery.poll().unwrap()), []);
    assert_eq!(discovery.strategies().count(), 1);
}

/// Time of this thread on a processor, and open descriptors of the process.
#[cfg(target_os = "linux")]
fn usage() -> (Duration, usize) {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let on_processor: u64 = stat.split(' ').next().unwrap().parse().unwrap();
    (Duration::from_nanos(on_processor), fs::read_dir("/proc/self/fd").unwrap().count())
}

/// Not a test of its own: follows a storm, and says what it takes.
#[test]
#[cfg(target_os = "linux")]
fn body_follows_a_storm() {
    let Some(root) = told::<PathBuf>("ROOT") else { return };
    let layout = BusLayout::new(&root).unwrap();
    let mut discovery = RouterDiscovery::new(&layout);
    let mut there = BTreeSet::new();
    discovery.poll().unwrap();
    let (_, before) = usage();
    println!("following");
    let stop = root.join("stop");
    let mut count = 0;
    while !stop.exists() {
        for (name, change) in facts(&discovery.wait(Some(Duration::from_millis(200))).unwrap()) {
            count += 1;
            match change {
                '+' => assert!(there.insert(name), "added twice"),
                '-' => assert!(there.remove(&name), "removed twice"),
                _ => assert!(there.contains(&name), "restarted and not there"),
            }
        }
    }
    // Two looks later everything that was killed is known.
    let until = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < until {
        for (name, change) in facts(&discovery.wait(Some(Duration::from_millis(500))).unwrap()) {
            if change == '+' {
                there.insert(name)
            } else {
                there.remove(&name)
            };
        }
    }
    let (begun, descriptors) = usage();
    let quiet = Instant::now();
    discovery.wait(Some(Duration::from_secs(3))).unwrap();
    let used = usage().0 - begun;
    assert!(
        used < Duration::from_millis(300),
        "{used:?} of three seconds in which nothing happens"
    );
    println!("events {count}");
    println!("descriptors {before} then {descriptors}");
    println!("idle {used:?} of {:?}", quiet.elapsed());
    println!("there {}", there.into_iter().collect::<Vec<_>>().join(","));
}

#[test]
#[cfg(target_os = "linux")]
fn after_a_storm_of_deaths_the_set_is_the_truth() {
    let directory = tempfile::tempdir().unwrap();
    let body = Body::named("body_follows_a_storm").tell("ROOT", directory.path().display());
    let mut router = body.start();
    router.said("following").unwrap();
    // Each process has ten strategies, which live and die together.
    let names = |group: usize| -> Vec<String> {
        (0..10).map(|number| format!("g{group}-{number}")).collect()
    };
    let mut groups: Vec<Option<Process>> = (0..20).map(|_| None).collect();
    let until = Instant::now() + child::seconds(5);
    let mut kills = 0;
    while Instant::now() < until {
        let group = fastrand::usize(..groups.len());
        groups[group] = match groups[group].take() {
            Some(mut process) => {
                process.kill();
                kills += 1;
                None
            }
            None => {
                let body = Body::named("body_runs_strategies");
                let body = body.tell("ROOT", directory.path().display());
                Some(body.tell("NAMES", names(group).join(",")).start())
            }
        };
        thread::sleep(Duration::from_millis(fastrand::u64(..20)));
    }
    let mut truth = BTreeSet::new();
    for (group, process) in groups.iter_mut().enumerate() {
        if let Some(process) = process {
            process.said("marked").unwrap();
            truth.extend(names(group));
        }
    }
    fs::write(directory.path().join("stop"), "").unwrap();
    let events = router.said("events").unwrap();
    let descriptors = router.said("descriptors").unwrap();
    println!("{kills} kills, {events} events, descriptors {descriptors}");
    println!("idle {}", router.said("idle").unwrap());
    let (before, after) = descriptors.split_once(" then ").unwrap();
    assert_eq!(before, after, "descriptors stay open");
    let there = router.said("there").unwrap();
    let there: BTreeSet<String> =
        there.split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect();
    assert_eq!(there, truth);
}
