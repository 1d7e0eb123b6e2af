use super::{Error, Instant, Wake};

/// Hints that the objects of a directory changed: always followed by a scan, never a source of
/// truth. Optional.
pub trait Watch {
    /// What can go wrong.
    type Error: Error;

    /// Sleeps until something was created, renamed or removed since the last call, at most until
    /// `until`. Hints that overflowed count as a change.
    ///
    /// # Errors
    /// The backend's.
    fn wait(&mut self, until: Instant) -> Result<Wake, Self::Error>;
}
