//! How a model is explored, and how its failure is told from a failure of the tool.
//!
//! The first panic ends the process from the panic hook. Unwinding out of an execution that loom has
//! given up drops guards and counters that call loom again, which panics a second time and aborts:
//! the hook runs before any of that.

use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use loom::model::Builder;

/// What every claim's message begins with.
pub(crate) const CLAIM: &str = "claim violated: ";

/// Fails the model unless the condition holds.
macro_rules! claim {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            panic!("{}{}", $crate::explore::CLAIM, format_args!($($message)+));
        }
    };
}
pub(crate) use claim;

/// Room for one execution's branches. The longest here needs a few hundred; a model that spins runs
/// into it, which is reported as the tool's failure and not as the model's.
const BRANCHES: usize = 5_000;

/// The exploration of one model, which may consist of several scenarios.
#[derive(Default)]
pub(crate) struct Exploration {
    executions: Arc<AtomicUsize>,
}

impl Exploration {
    /// Explores every execution of `scenario` that loom can tell apart.
    pub(crate) fn exhaustive(&mut self, scenario: impl Fn() + Send + Sync + 'static) {
        self.check(None, scenario);
    }

    /// Explores the executions of `scenario` in which threads are preempted at most `preemptions`
    /// times. Which of the stores that are visible a load returns is explored in full all the same.
    pub(crate) fn bounded(
        &mut self,
        preemptions: usize,
        scenario: impl Fn() + Send + Sync + 'static,
    ) {
        self.check(Some(preemptions), scenario);
    }

    /// As [`exhaustive`](Self::exhaustive), and a thread that never ends is a failure: every loop of
    /// the algorithm is to have a bound, or another thread that it waits for.
    pub(crate) fn in_bounded_steps(&mut self, scenario: impl Fn() + Send + Sync + 'static) {
        MUST_END.store(true, Ordering::Relaxed);
        self.check(None, scenario);
        MUST_END.store(false, Ordering::Relaxed);
    }

    /// Executions explored so far.
    pub(crate) fn executions(&self) -> usize {
        self.executions.load(Ordering::Relaxed)
    }

    fn check(&self, preemption_bound: Option<usize>, scenario: impl Fn() + Send + Sync + 'static) {
        let executions = Arc::clone(&self.executions);
        // All limits are set here, so that no variable of the environment makes a model smaller.
        let mut builder = Builder::new();
        builder.max_branches = BRANCHES;
        builder.max_permutations = None;
        builder.max_duration = None;
        builder.preemption_bound = preemption_bound;
        builder.checkpoint_file = None;
        builder.check(move || {
            executions.fetch_add(1, Ordering::Relaxed);
            scenario();
        });
    }
}

/// Whether the scenario that is being explored must end in few steps.
static MUST_END: AtomicBool = AtomicBool::new(false);
/// What loom says when an execution has had [`BRANCHES`] branches.
const NO_END: &str = "Model exceeded maximum number of branches";

/// What a panic says about a model.
pub(crate) enum Verdict {
    /// The algorithm is wrong: a claim, a data race, or threads that sleep for ever.
    Failed(String),
    /// Loom or the model itself gave up, which says nothing about the algorithm.
    Unclear(String),
}

/// Reads a panic's message.
pub(crate) fn verdict(panic: &PanicHookInfo<'_>) -> Verdict {
    let payload = panic.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    let line = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let genuine = [CLAIM, "Causality violation", "deadlock; threads"];
    let no_end = MUST_END.load(Ordering::Relaxed) && line.starts_with(NO_END);
    if no_end || genuine.iter().any(|start| line.starts_with(start)) {
        Verdict::Failed(line.to_owned())
    } else {
        Verdict::Unclear(line.to_owned())
    }
}
