//! Aeron IPC through its C client: an exclusive publication, and a media driver of this comparison's own, in
//! the process that sends and on one thread that sleeps between its rounds, so that it leaves the two
//! processors to the two sides.
//!
//! The C sources are built by these crates, for the processor of this machine (`-march=native`), which
//! nothing else in the comparison is.

use std::ffi::CString;
use std::fs;
use std::hint::spin_loop;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rusteron_client::{
    Aeron as Client, AeronContext, AeronErrorHandlerLogger, AeronExclusivePublication, AeronHeader,
    AeronOfferError, AeronSubscription, Handlers,
};
use rusteron_media_driver::bindings::aeron_threading_mode_enum;
use rusteron_media_driver::testing::EmbeddedDriver;

use crate::system::{Place, Processes, Receiver, Sender};

const STREAM: i32 = 1001;
/// Terms are written one behind the other, three of them, and then again: after that all pages are warm.
const TERM_BYTES: u64 = 16 << 20;
/// What has to be sent until all pages have been written to once.
pub const WARM_UP_BYTES: u64 = 3 * TERM_BYTES + (1 << 20);
/// One frame holds the largest message, so that nothing is taken apart.
const CHANNEL: &str = "aeron:ipc?term-length=16m|mtu=32k";
const PATIENCE: Duration = Duration::from_secs(10);

/// Messages are copied in by `offer`, or written in a buffer that `tryClaim` gives.
pub struct Aeron<const CLAIM: bool>;

pub struct Publication<const CLAIM: bool> {
    publication: AeronExclusivePublication,
    _client: Client,
    _driver: Option<EmbeddedDriver>,
}

pub struct Subscription {
    subscription: AeronSubscription,
    _client: Client,
}

impl<const CLAIM: bool> Processes for Aeron<CLAIM> {
    type Sender = Publication<CLAIM>;
    type Receiver = Subscription;

    fn sender(place: &Place) -> Result<Publication<CLAIM>> {
        // The process that sends there has the driver; what leads back uses the same.
        let driver = if place.directory.ends_with("there") { Some(launch(place)?) } else { None };
        let client = connect(place)?;
        let channel = CString::new(CHANNEL)?;
        let publication = client
            .async_add_exclusive_publication(&channel, stream(place))?
            .poll_blocking(PATIENCE)?;
        let since = Instant::now();
        while !publication.is_connected() {
            if since.elapsed() > PATIENCE {
                bail!("nobody subscribed");
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Publication { publication, _client: client, _driver: driver })
    }

    fn receiver(place: &Place) -> Result<Subscription> {
        let client = connect(place)?;
        let channel = CString::new(CHANNEL)?;
        let subscription = client
            .async_add_subscription(&channel, stream(place), Handlers::NONE, Handlers::NONE)?
            .poll_blocking(PATIENCE)?;
        Ok(Subscription { subscription, _client: client })
    }

    fn capacity(size: usize) -> Option<u64> {
        // The window is half a term.
        Some(TERM_BYTES / 2 / (size as u64 + 64))
    }
}

/// Each direction is a stream of the same driver.
fn stream(place: &Place) -> i32 {
    if place.directory.ends_with("there") { STREAM } else { STREAM + 1 }
}

/// Where the driver says in which directory it is.
fn notice(place: &Place) -> PathBuf {
    place.directory.with_file_name("driver")
}

fn launch(place: &Place) -> Result<EmbeddedDriver> {
    let directory = CString::new(place.directory.join("aeron").as_os_str().as_bytes())?;
    let driver = EmbeddedDriver::launch_with(|context| {
        context.set_dir(&directory)?;
        context.set_threading_mode(aeron_threading_mode_enum::AERON_THREADING_MODE_SHARED)?;
        context.set_shared_idle_strategy(c"sleeping")?;
        context.set_shared_idle_strategy_init_args(c"100us")?;
        context.set_term_buffer_sparse_file(false)?;
        Ok(())
    })?;
    let new = place.directory.join("driver-new");
    fs::write(&new, driver.dir())?;
    fs::rename(new, notice(place))?;
    Ok(driver)
}

fn connect(place: &Place) -> Result<Client> {
    let since = Instant::now();
    let directory = loop {
        match fs::read_to_string(notice(place)) {
            Ok(directory) => break directory,
            Err(error) if since.elapsed() > PATIENCE => return Err(error).context("no driver"),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    };
    let context = AeronContext::new()?;
    context.set_error_handler(Some(AeronErrorHandlerLogger))?;
    context.set_dir(&CString::new(directory)?)?;
    context.set_pre_touch_mapped_memory(true)?;
    let client = Client::new(&context)?;
    client.start()?;
    Ok(client)
}

impl<const CLAIM: bool> Sender for Publication<CLAIM> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        loop {
            let sent: Result<(), AeronOfferError> = if CLAIM {
                match self.publication.try_claim_owned(message.len()) {
                    Ok(mut claim) => {
                        claim.data().copy_from_slice(message);
                        claim.commit()?;
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            } else {
                self.publication.offer(message).map(drop)
            };
            match sent {
                Ok(()) => return Ok(()),
                Err(error) if error.is_retryable() => spin_loop(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Receiver for Subscription {
    #[inline(always)]
    fn poll(&mut self, most: u64, mut each: impl FnMut(&[u8])) -> Result<u64> {
        let handler = |message: &[u8], _: AeronHeader| each(message);
        Ok(self.subscription.poll_fn(handler, most as usize)? as u64)
    }
}
