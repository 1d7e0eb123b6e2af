//! Two routers, each a process, that follow the same storm of strategies that are started and killed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../chronicle-core/tests/support/child.rs"]
mod child;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use child::{Body, Process, told};
use chronicle_bus::{BusLayout, Change, RouterDiscovery, StrategyId};

/// Longer than anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);
/// Processes, each with strategies that live and die together.
const GROUPS: usize = 12;
const IN_A_GROUP: usize = 4;

/// Not a test of its own: runs the strategies of a group until it is killed.
#[test]
fn body_runs_a_group() {
    let Some(root) = told::<PathBuf>("ROOT") else { return };
    let layout = BusLayout::new(&root).unwrap();
    let run = |name| {
        let mut lease = layout.strategy(StrategyId::new(name).unwrap()).write_lease().unwrap();
        lease.mark_ready().unwrap();
        lease
    };
    let _leases: Vec<_> = told::<String>("NAMES").unwrap().split(',').map(run).collect();
    println!("ready");
    thread::sleep(Duration::from_secs(600));
}

/// Not a test of its own: says what a router is told, until it is told to stop, or the test is over.
#[test]
fn body_routes() {
    let Some(root) = told::<PathBuf>("ROOT") else { return };
    let mut discovery = RouterDiscovery::new(&BusLayout::new(&root).unwrap());
    println!("routing");
    while root.exists() && !root.join("stop").exists() {
        for event in discovery.wait(Some(Duration::from_millis(200))).unwrap() {
            let (change, holder) = match event.change {
                Change::Added(holder) => ("+", holder),
                Change::Removed(holder) => ("-", holder),
                Change::Restarted(holder) => ("~", holder),
                other => panic!("{other:?}"),
            };
            println!("event {} {change} {} {}", event.strategy.id(), holder.pid, holder.epoch);
        }
    }
}

/// Who runs a strategy: process and epoch.
type Runner = (u32, u32);

/// What a router knows, from what it was told.
#[derive(Default)]
struct Known {
    there: BTreeMap<String, Runner>,
    /// All that was ever there, with the newest epoch of each strategy last.
    seen: BTreeMap<String, Vec<Runner>>,
    events: usize,
    /// Of these, those of one that was there.
    restarts: usize,
}

impl Known {
    /// Takes one event in; what is wrong with it, if anything is.
    fn tell(&mut self, event: &str) -> Result<(), String> {
        let words: Vec<&str> = event.split(' ').collect();
        let [name, change, pid, epoch] = words[..] else { return Err("no event".to_owned()) };
        let runner = (pid.parse().unwrap(), epoch.parse().unwrap());
        let before = self.there.get(name).copied();
        self.events += 1;
        match (change, before) {
            ("-", Some(before)) if before == runner => {
                self.there.remove(name);
                return Ok(());
            }
            ("+", None) => {}
            ("~", Some(before)) if before != runner => self.restarts += 1,
            _ => return Err(format!("{before:?} was there")),
        }
        let seen = self.seen.entry(name.to_owned()).or_default();
        if seen.last().is_some_and(|(_, epoch)| *epoch >= runner.1) {
            return Err(format!("after {seen:?}"));
        }
        seen.push(runner);
        self.there.insert(name.to_owned(), runner);
        Ok(())
    }

    fn pids(&self) -> BTreeMap<String, u32> {
        self.there.iter().map(|(name, (pid, _))| (name.clone(), *pid)).collect()
    }
}

/// What a router knows, and what is wrong with what it was told.
type Told = Arc<Mutex<(Known, Vec<String>)>>;

/// Starts a router, and a thread that listens to it until it ends.
fn start_router(root: &Path) -> (Told, JoinHandle<()>) {
    let mut process = Body::named("body_routes").tell("ROOT", root.display()).start();
    process.said("routing").unwrap();
    let told = Told::default();
    let of_thread = Arc::clone(&told);
    let listening = thread::spawn(move || {
        while let Some(event) = process.said("event ") {
            let (known, wrong) = &mut *of_thread.lock().unwrap();
            if let Err(reason) = known.tell(&event) {
                wrong.push(format!("router {}: {event}: {reason}", process.pid()));
            }
        }
        process.succeed();
    });
    (told, listening)
}

fn names(group: usize) -> Vec<String> {
    (0..IN_A_GROUP).map(|number| format!("g{group}-{number}")).collect()
}

#[test]
fn two_routers_are_told_the_same_of_a_storm_of_kills() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let routers = [start_router(root), start_router(root)];
    let mut groups: Vec<Option<Process>> = (0..GROUPS).map(|_| None).collect();
    let mut started: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    // What was there while nothing was killed, and so was told to both.
    let mut settled: BTreeSet<(String, u32)> = BTreeSet::new();
    let mut kills = 0;
    for round in 0..4 {
        let until = Instant::now() + child::seconds(6) / 4;
        while Instant::now() < until {
            let group = fastrand::usize(..GROUPS);
            let killed = groups[group].take().is_some_and(|mut process| {
                process.kill();
                kills += 1;
                true
            });
            // Some come back before anybody has looked.
            if !killed || fastrand::bool() {
                let body = Body::named("body_runs_a_group").tell("ROOT", root.display());
                let process = body.tell("NAMES", names(group).join(",")).start();
                for name in names(group) {
                    started.entry(name).or_default().insert(process.pid());
                }
                groups[group] = Some(process);
            }
            thread::sleep(Duration::from_millis(fastrand::u64(..30)));
        }
        let mut truth = BTreeMap::new();
        for (group, process) in groups.iter_mut().enumerate() {
            if let Some(process) = process {
                // Once for each process: those of the round before have said it.
                if !settled.contains(&(names(group).remove(0), process.pid())) {
                    process.said("ready").unwrap();
                }
                truth.extend(names(group).into_iter().map(|name| (name, process.pid())));
            }
        }
        let until = Instant::now() + PATIENCE;
        for (told, _) in &routers {
            while told.lock().unwrap().0.pids() != truth {
                assert!(Instant::now() < until, "round {round}: a router knows something else");
                thread::sleep(Duration::from_millis(10));
            }
        }
        settled.extend(truth);
    }
    fs::write(root.join("stop"), "").unwrap();
    let routers = routers.map(|(told, listening)| {
        listening.join().unwrap();
        told
    });
    let known = routers.each_ref().map(|told| told.lock().unwrap());
    for router in &known {
        let (known, wrong) = &**router;
        assert!(wrong.is_empty(), "{wrong:#?}");
        for (name, seen) in &known.seen {
            for (pid, _) in seen {
                assert!(started[name].contains(pid), "{name} was never run by {pid}");
            }
        }
        for (name, pid) in &settled {
            let runners = &known.seen[name];
            let times = runners.iter().filter(|(runner, _)| runner == pid).count();
            assert_eq!(times, 1, "{name} by {pid}: {runners:?}");
        }
    }
    let [(first, _), (second, _)] = known.each_ref().map(|router| &**router);
    assert_eq!(first.there, second.there);
    let same = first.seen.iter().filter(|(name, seen)| second.seen.get(*name) == Some(*seen));
    println!("{kills} kills, {} strategies, {} told the same", first.seen.len(), same.count());
    for Known { events, restarts, .. } in [first, second] {
        println!("{events} events, {restarts} of them restarts");
    }
}
