//! iceoryx2, publish-subscribe between processes: slices that messages are copied into, and samples of a
//! fixed size that are loaned and written in place. Nothing overflows; where there is no room the publisher tries
//! again at once, which is faster than iceoryx2's own waiting.

use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use crate::system::{Place, Processes, Receiver, Sender};

/// Messages that a subscriber has room for.
const CAPACITY: usize = 1024;
/// Some ten seconds of them.
const TRIES: u64 = 1 << 26;
const PATIENCE: Duration = Duration::from_secs(10);

/// Messages are slices.
pub struct Slices;
/// Messages are values of `N` bytes.
pub struct Loans<const N: usize>;

pub struct SliceSender {
    publisher: Publisher<ipc::Service, [u8], ()>,
    _node: Node<ipc::Service>,
}

pub struct SliceReceiver {
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    _node: Node<ipc::Service>,
}

pub struct LoanSender<const N: usize> {
    publisher: Publisher<ipc::Service, [u8; N], ()>,
    _node: Node<ipc::Service>,
}

pub struct LoanReceiver<const N: usize> {
    subscriber: Subscriber<ipc::Service, [u8; N], ()>,
    _node: Node<ipc::Service>,
}

/// Repeats what may fail while the other side does the same.
fn patiently<T, E: std::fmt::Debug>(mut work: impl FnMut() -> Result<T, E>) -> Result<T> {
    let since = Instant::now();
    loop {
        match work() {
            Ok(done) => return Ok(done),
            Err(error) if since.elapsed() > PATIENCE => bail!("{error:?}"),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn node() -> Result<Node<ipc::Service>> {
    set_log_level(LogLevel::Fatal);
    NodeBuilder::new().create::<ipc::Service>().map_err(|error| anyhow!("{error:?}"))
}

macro_rules! service {
    ($node:expr, $payload:ty, $place:expr) => {{
        let name: ServiceName = name($place).as_str().try_into()?;
        patiently(|| {
            $node
                .service_builder(&name)
                .publish_subscribe::<$payload>()
                .enable_safe_overflow(false)
                .subscriber_max_buffer_size(CAPACITY)
                .open_or_create()
        })?
    }};
}

/// The service's name: as unique as the directory.
fn name(place: &Place) -> String {
    place.directory.display().to_string()
}

/// Waits until the other side has subscribed.
fn await_subscriber(subscribers: impl Fn() -> usize) -> Result<()> {
    patiently(|| match subscribers() {
        0 => Err("nobody subscribed"),
        _ => Ok(()),
    })
}

impl Processes for Slices {
    type Sender = SliceSender;
    type Receiver = SliceReceiver;

    fn sender(place: &Place) -> Result<SliceSender> {
        let node = node()?;
        let service = service!(node, [u8], place);
        let publisher = service
            .publisher_builder()
            .initial_max_slice_len(place.size)
            .backpressure_strategy(BackpressureStrategy::DiscardData)
            .create()
            .map_err(|error| anyhow!("{error:?}"))?;
        await_subscriber(|| service.dynamic_config().number_of_subscribers())?;
        Ok(SliceSender { publisher, _node: node })
    }

    fn receiver(place: &Place) -> Result<SliceReceiver> {
        let node = node()?;
        let service = service!(node, [u8], place);
        let subscriber =
            service.subscriber_builder().create().map_err(|error| anyhow!("{error:?}"))?;
        Ok(SliceReceiver { subscriber, _node: node })
    }

    fn capacity(_: usize) -> Option<u64> {
        Some(CAPACITY as u64)
    }
}

impl<const N: usize> Processes for Loans<N> {
    type Sender = LoanSender<N>;
    type Receiver = LoanReceiver<N>;

    fn sender(place: &Place) -> Result<LoanSender<N>> {
        let node = node()?;
        let service = service!(node, [u8; N], place);
        let publisher = service
            .publisher_builder()
            .backpressure_strategy(BackpressureStrategy::DiscardData)
            .create()
            .map_err(|error| anyhow!("{error:?}"))?;
        await_subscriber(|| service.dynamic_config().number_of_subscribers())?;
        Ok(LoanSender { publisher, _node: node })
    }

    fn receiver(place: &Place) -> Result<LoanReceiver<N>> {
        let node = node()?;
        let service = service!(node, [u8; N], place);
        let subscriber =
            service.subscriber_builder().create().map_err(|error| anyhow!("{error:?}"))?;
        Ok(LoanReceiver { subscriber, _node: node })
    }

    fn capacity(_: usize) -> Option<u64> {
        Some(CAPACITY as u64)
    }
}

/// Sends until the one subscriber has had room for it.
#[inline(always)]
fn until_delivered(mut send: impl FnMut() -> Result<usize>) -> Result<()> {
    for _ in 0..TRIES {
        if send()? == 1 {
            return Ok(());
        }
        spin_loop();
    }
    bail!("the subscriber makes no room")
}

impl Sender for SliceSender {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        until_delivered(|| {
            let sample = self.publisher.loan_slice_uninit(message.len());
            let sample = sample.map_err(|error| anyhow!("{error:?}"))?.write_from_slice(message);
            sample.send().map_err(|error| anyhow!("{error:?}"))
        })
    }
}

impl<const N: usize> Sender for LoanSender<N> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        let message: &[u8; N] = message.try_into()?;
        until_delivered(|| {
            let sample = self.publisher.loan_uninit().map_err(|error| anyhow!("{error:?}"))?;
            let sample = sample.write_payload(*message);
            sample.send().map_err(|error| anyhow!("{error:?}"))
        })
    }
}

macro_rules! receive {
    ($self:ident, $most:ident, $each:ident) => {{
        let mut count = 0;
        while count < $most {
            let sample = $self.subscriber.receive().map_err(|error| anyhow!("{error:?}"))?;
            let Some(sample) = sample else { break };
            $each(sample.payload());
            count += 1;
        }
        Ok(count)
    }};
}

impl Receiver for SliceReceiver {
    #[inline(always)]
    fn poll(&mut self, most: u64, mut each: impl FnMut(&[u8])) -> Result<u64> {
        receive!(self, most, each)
    }
}

impl<const N: usize> Receiver for LoanReceiver<N> {
    #[inline(always)]
    fn poll(&mut self, most: u64, mut each: impl FnMut(&[u8])) -> Result<u64> {
        receive!(self, most, each)
    }
}
