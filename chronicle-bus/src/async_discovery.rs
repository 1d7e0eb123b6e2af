use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::{BusError, RouterDiscovery, StrategyEvent};

/// How long the thread of one that is gone may live on.
const SLICE: Duration = Duration::from_secs(1);

/// Strategies that come and go, awaited: a [`RouterDiscovery`] for tasks. Works with every executor.
///
/// A thread of its own sleeps where `RouterDiscovery::wait` sleeps, and wakes the task. It looks only while
/// somebody awaits [`changes`](Self::changes): what happens meanwhile is told by the next one as what came
/// of it, however much that was.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use chronicle_bus::{BusLayout, Change, RouterDiscovery, StrategyId};
///
/// # let directory = tempfile::tempdir()?;
/// # let root = directory.path().join("bus");
/// let bus = BusLayout::new(&root)?;
/// let mut discovery = RouterDiscovery::new(&bus).into_async()?;
///
/// // In another process:
/// let mut lease = bus.strategy(StrategyId::new("momentum")?).write_lease()?;
/// lease.mark_ready()?;
///
/// let events = discovery.changes().await?;
/// assert!(matches!(events[0].change, Change::Added(_)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct AsyncRouterDiscovery {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Somebody awaits, or nobody ever will.
    called: Condvar,
}

#[derive(Debug, Default)]
struct State {
    found: Option<Result<Vec<StrategyEvent>, BusError>>,
    /// Who awaits. There while the thread is to look.
    waker: Option<Waker>,
    is_over: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until somebody awaits; `false` if nobody will any more.
    fn is_awaited(&self) -> bool {
        let rests =
            |state: &mut State| !state.is_over && (state.waker.is_none() || state.found.is_some());
        let state = self.called.wait_while(self.state(), rests);
        !state.unwrap_or_else(PoisonError::into_inner).is_over
    }

    fn tell(&self, found: Result<Vec<StrategyEvent>, BusError>) {
        let waker = {
            let mut state = self.state();
            state.found = Some(found);
            state.waker.take()
        };
        // Not under the lock: what an executor does here is its own affair.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl RouterDiscovery {
    /// Lets tasks await what this one finds from now on.
    ///
    /// # Errors
    /// The system's, if there is no thread left.
    pub fn into_async(self) -> io::Result<AsyncRouterDiscovery> {
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("chronicle-discovery".to_owned());
        thread.spawn(move || follow(self, &of_thread))?;
        Ok(AsyncRouterDiscovery { shared })
    }
}

fn follow(mut discovery: RouterDiscovery, shared: &Shared) {
    while shared.is_awaited() {
        match discovery.wait(Some(SLICE)) {
            Ok(events) if events.is_empty() => {}
            found => shared.tell(found),
        }
    }
}

impl AsyncRouterDiscovery {
    /// Waits until something has changed, and says what, in the order of the names.
    ///
    /// Cancellation safe: what was found for a wait that was given up is told by the next one.
    ///
    /// # Errors
    /// As [`RouterDiscovery::poll`]; nothing is forgotten then either.
    pub async fn changes(&mut self) -> Result<Vec<StrategyEvent>, BusError> {
        poll_fn(|context| self.poll_changes(context)).await
    }

    /// The same for code that polls by hand.
    ///
    /// # Errors
    /// As [`changes`](Self::changes).
    pub fn poll_changes(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Vec<StrategyEvent>, BusError>> {
        let mut state = self.shared.state();
        if let Some(found) = state.found.take() {
            state.waker = None;
            return Poll::Ready(found);
        }
        match &mut state.waker {
            Some(known) => known.clone_from(context.waker()),
            slot @ None => *slot = Some(context.waker().clone()),
        }
        self.shared.called.notify_one();
        Poll::Pending
    }
}

impl Drop for AsyncRouterDiscovery {
    fn drop(&mut self) {
        // The thread ends by itself, without anybody waiting for it.
        self.shared.state().is_over = true;
        self.shared.called.notify_one();
    }
}
