//! A broken promise: what shows it, as little of it as possible, and the command that shows it again.

use std::fmt;

use crate::check::Stop;
use crate::crash::{Choice, Crash};
use crate::explore::{FIRST_BOOT, check_rot, check_state, record_recovery};
use crate::platform::SimPlatform;
use crate::workload::{Run, Workload, run};

/// The loss of power during the recovery from the first one.
#[derive(Clone, Debug)]
pub struct Second {
    pub(crate) point: usize,
    pub(crate) choice: Choice,
}

/// A broken promise, and what led to it.
#[derive(Clone, Debug)]
pub struct Failure {
    pub(crate) workload: Workload,
    pub(crate) seed: u64,
    /// At which moment the machine stopped.
    pub(crate) point: usize,
    pub(crate) stop: Stop,
    pub(crate) choice: Choice,
    pub(crate) second: Option<Second>,
    pub(crate) rot: Option<u64>,
    /// Which promise, in words.
    pub why: String,
    /// What was not on the medium.
    pub lost: Vec<String>,
}

impl Failure {
    /// A failure of the run itself.
    #[must_use]
    pub fn new(workload: &Workload, seed: u64) -> Self {
        Self {
            workload: workload.clone(),
            seed,
            point: usize::MAX,
            stop: Stop::Killed,
            choice: Choice::new(),
            second: None,
            rot: None,
            why: String::new(),
            lost: Vec::new(),
        }
    }

    /// The machine stopped at this moment, and this is what the medium holds.
    #[must_use]
    pub fn at(mut self, point: usize, stop: Stop, choice: Vec<u16>) -> Self {
        (self.point, self.stop, self.choice) = (point, stop, choice);
        self
    }

    /// And once more, at this moment of the recovery.
    #[must_use]
    pub fn and_again(mut self, point: usize, choice: Vec<u16>) -> Self {
        self.second = Some(Second { point, choice });
        self
    }

    /// And the sector that this number leads to is not what was written.
    #[must_use]
    pub fn with_rot(mut self, rot: u64) -> Self {
        self.rot = Some(rot);
        self
    }

    /// What was done.
    #[must_use]
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    pub(crate) fn because(mut self, why: String) -> Self {
        self.why = why;
        self
    }

    /// What is found when this is done again; `Ok` if nothing is.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn replay(&self) -> Result<(), String> {
        let run = run(&self.workload, self.seed)?;
        self.check(&run)
    }

    fn check(&self, run: &Run) -> Result<(), String> {
        let Some(point) = run.history.points.get(self.point) else { return Ok(()) };
        let setup = &self.workload.setup;
        let platform = SimPlatform::new(self.seed);
        let mut crash = Crash::new(&run.history, point, setup.names);
        if self.choice.len() != crash.nodes.len() {
            return Err("the choice does not fit this moment".to_owned());
        }
        if let Some(second) = &self.second {
            let recorded = record_recovery(&platform, setup, &mut crash, &run.facts, &self.choice)?;
            let Some((history, facts)) = recorded else { return Ok(()) };
            let Some(point) = history.points.get(second.point) else { return Ok(()) };
            let mut crash = Crash::new(&history, point, setup.names);
            if second.choice.len() != crash.nodes.len() {
                return Ok(());
            }
            let (stop, boot) = (Stop::PowerLoss, FIRST_BOOT + 2);
            check_state(&platform, setup, &mut crash, &facts, &second.choice, stop, boot)?;
            let (stop, boot) = (Stop::Killed, FIRST_BOOT + 1);
            let newest = crash.newest();
            if second.choice == newest {
                check_state(&platform, setup, &mut crash, &facts, &newest, stop, boot)?;
            }
            return Ok(());
        }
        match self.stop {
            Stop::Rot => {
                let rot = self.rot.unwrap_or_default();
                check_rot(&platform, setup, &mut crash, &run.facts, &self.choice, rot).map(drop)
            }
            stop => {
                let boot = FIRST_BOOT + u64::from(stop == Stop::PowerLoss);
                check_state(&platform, setup, &mut crash, &run.facts, &self.choice, stop, boot)
                    .map(drop)
            }
        }
    }

    /// Puts back, node by node, what the failure does not need to be missing: delta debugging to a
    /// set of which every element counts (Zeller and Hildebrandt, TSE 2002).
    pub(crate) fn minimize(&mut self) {
        let Ok(run) = run(&self.workload, self.seed) else { return };
        let fails = |failure: &Self| failure.check(&run).err();
        let mut smaller = true;
        while smaller && self.stop == Stop::PowerLoss {
            smaller = false;
            for second in [true, false] {
                let length = match (&self.second, second) {
                    (Some(second), true) => second.choice.len(),
                    (None, true) => 0,
                    (_, false) if self.second.is_some() => 0,
                    (_, false) => self.choice.len(),
                };
                for node in 0..length {
                    let mut tried = self.clone();
                    let Some(full) = self.full(&run, second, node) else { continue };
                    let choice = match &mut tried.second {
                        Some(inner) if second => &mut inner.choice,
                        _ => &mut tried.choice,
                    };
                    if choice[node] == full {
                        continue;
                    }
                    choice[node] = full;
                    if let Some(why) = fails(&tried) {
                        tried.why = why;
                        *self = tried;
                        smaller = true;
                    }
                }
            }
        }
        self.lost = self.describe(&run);
    }

    /// The newest form of a node.
    fn full(&self, run: &Run, second: bool, node: usize) -> Option<u16> {
        let names = self.workload.setup.names;
        let mut crash = Crash::new(&run.history, run.history.points.get(self.point)?, names);
        if !second {
            return crash.newest().get(node).copied();
        }
        let platform = SimPlatform::new(self.seed);
        let setup = &self.workload.setup;
        let recorded = record_recovery(&platform, setup, &mut crash, &run.facts, &self.choice);
        let (history, _) = recorded.ok()??;
        let point = history.points.get(self.second.as_ref()?.point)?;
        Crash::new(&history, point, names).newest().get(node).copied()
    }

    fn describe(&self, run: &Run) -> Vec<String> {
        let names = self.workload.setup.names;
        let Some(point) = run.history.points.get(self.point) else { return Vec::new() };
        let mut crash = Crash::new(&run.history, point, names);
        let mut lost = crash.describe(&self.choice);
        if let Some(second) = &self.second {
            let platform = SimPlatform::new(self.seed);
            let setup = &self.workload.setup;
            let recorded = record_recovery(&platform, setup, &mut crash, &run.facts, &self.choice);
            if let Ok(Some((history, _))) = recorded
                && let Some(point) = history.points.get(second.point)
            {
                let again = Crash::new(&history, point, names).describe(&second.choice);
                lost.extend(again.into_iter().map(|what| format!("in the recovery, {what}")));
            }
        }
        lost
    }
}

fn list(choice: &Choice) -> String {
    let forms: Vec<String> = choice.iter().map(ToString::to_string).collect();
    forms.join(",")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.why)?;
        for lost in &self.lost {
            writeln!(f, "  lost: {lost}")?;
        }
        write!(f, "  again: chronicle-sim replay --seed {} {}", self.seed, self.workload)?;
        if self.point != usize::MAX {
            write!(f, " --point {} --stop {:?}", self.point, self.stop)?;
            write!(f, " --choice {}", list(&self.choice))?;
        }
        if let Some(second) = &self.second {
            write!(f, " --second {}:{}", second.point, list(&second.choice))?;
        }
        if let Some(rot) = self.rot {
            write!(f, " --rot {rot:#x}")?;
        }
        Ok(())
    }
}
