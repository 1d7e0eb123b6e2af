use chronicle_std::{ReaderConfig, WriterConfig};

use crate::{BusError, Lease, Message, Publisher, QueueEndpoint, StrategyEndpoints, Subscriber};

/// The name under which a strategy reads what routers send it.
const STRATEGY_READER: &str = "strategy";

/// One end of a conversation over two queues: this side writes one and reads the other.
pub struct Duplex<Out, In> {
    /// To the other side.
    pub outgoing: Publisher<Out>,
    /// From the other side.
    pub incoming: Subscriber<In>,
}

impl<Out: Message, In: Message> Duplex<Out, In> {
    /// Opens this side. The queue that this side writes is made if it is not there; the other side's has
    /// to be.
    ///
    /// # Errors
    /// Those of [`Publisher::open`] and [`Subscriber::open`].
    pub fn open(
        outgoing: &QueueEndpoint,
        incoming: &QueueEndpoint,
        writer: WriterConfig,
        reader: ReaderConfig,
    ) -> Result<Self, BusError> {
        let outgoing = Publisher::open(outgoing, writer)?;
        let incoming = Subscriber::open(incoming, reader)?;
        Ok(Self { outgoing, incoming })
    }

    /// Opens this side, as the one that comes first: makes both queues if they are not there. Only one of
    /// the two sides does this, before the other one comes for the first time.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_first(
        outgoing: &QueueEndpoint,
        incoming: &QueueEndpoint,
        writer: WriterConfig,
        reader: ReaderConfig,
    ) -> Result<Self, BusError> {
        if !Publisher::<In>::is_there(incoming)? {
            drop(Publisher::<In>::open(incoming, writer.clone())?);
        }
        Self::open(outgoing, incoming, writer, reader)
    }
}

/// A strategy's end: it sends orders, and is told what became of them.
///
/// Others find the strategy only once both queues are there and it has [said so](Self::mark_ready).
pub struct StrategyChannel<Order, Reply> {
    /// Orders out, replies in.
    pub queues: Duplex<Order, Reply>,
    lease: Lease,
}

impl<Order: Message, Reply: Message> StrategyChannel<Order, Reply> {
    /// Takes the strategy's lease and opens its queues, which are made if they are not there. A strategy
    /// that was run before goes on where it has committed.
    ///
    /// # Errors
    /// [`BusError::StrategyAlreadyActive`]; those of [`Duplex::open`].
    pub fn open(strategy: &StrategyEndpoints, config: WriterConfig) -> Result<Self, BusError> {
        let lease = strategy.write_lease()?;
        let mut reader = ReaderConfig::default();
        reader.name = Some(STRATEGY_READER.to_owned());
        let (out, back) = (strategy.orders_out(), strategy.orders_in());
        // Routers come after the strategy has said that it is ready, so none has the queue of replies open.
        let queues = Duplex::open_first(&out, &back, config, reader)?;
        Ok(Self { queues, lease })
    }

    /// Lets routers find the strategy.
    ///
    /// # Errors
    /// Those of [`Lease::mark_ready`].
    pub fn mark_ready(&mut self) -> Result<(), BusError> {
        self.lease.mark_ready()
    }

    /// The queues and the lease, as for a [`Requester`](crate::Requester).
    #[must_use]
    pub fn into_parts(self) -> (Duplex<Order, Reply>, Lease) {
        (self.queues, self.lease)
    }

    /// The strategy's lease.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }
}

/// A router's end: it reads a strategy's orders, and replies. One router at a time has it, as a queue has
/// one writer.
pub struct RouterChannel<Order, Reply> {
    /// Replies out, orders in.
    pub queues: Duplex<Reply, Order>,
}

impl<Order: Message, Reply: Message> RouterChannel<Order, Reply> {
    /// Opens the queues of a strategy that was found, to read its orders under this name.
    ///
    /// # Errors
    /// [`WriterAlreadyActive`](chronicle_std::QueueError::WriterAlreadyActive) if another router replies
    /// to the strategy; those of [`Duplex::open`].
    pub fn open(
        strategy: &StrategyEndpoints,
        name: &str,
        config: WriterConfig,
    ) -> Result<Self, BusError> {
        let mut reader = ReaderConfig::default();
        reader.name = Some(name.to_owned());
        let (out, back) = (strategy.orders_out(), strategy.orders_in());
        Ok(Self { queues: Duplex::open(&back, &out, config, reader)? })
    }
}
