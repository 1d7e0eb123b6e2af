//! What holds even where the medium said that it had what it had not.
//!
//! Records that were said to be durable may be gone, and whoever reads may be told so or not. What is
//! given out was appended, in order and without a hole; the queue opens, or the error names something
//! that was said to be on the medium and is not.

use chronicle_core::Error;

use crate::check::{Check, Tally, read_all};
use crate::facts::Entry;
use crate::workload::{named_reader, open};
use crate::world::SimError;

impl Check<'_> {
    /// Opens and reads what a power loss has left of the lies.
    pub(crate) fn behind_a_lie(mut self) -> Result<Tally, String> {
        self.tally.behind_lies = 1;
        let appender = match open(self.platform) {
            Ok(appender) => Some(appender),
            Err(error) => {
                self.is_missed(&error)?;
                self.tally.lies_told = 1;
                None
            }
        };
        let (found, error) = read_all(self.platform);
        let mut records: Vec<Entry> = Vec::new();
        for (entry, payload) in found {
            if payload != entry.payload() || !self.was_ever_appended(&entry) {
                return Err(format!("A1: {entry:?} was never appended"));
            }
            if records
                .last()
                .is_some_and(|last| last.seq + 1 != entry.seq || last.epoch > entry.epoch)
            {
                return Err(format!("A3: {entry:?} does not follow {:?}", records.last()));
            }
            records.push(entry);
        }
        if records.first().is_some_and(|first| first.seq > self.mark.removable_before) {
            return Err(format!("A3: the oldest record is {:?}", records.first()));
        }
        if let Some(error) = error {
            self.is_missed(&error)?;
            return Ok(self.tally);
        }
        self.tally.lost +=
            (self.mark.acked as u64).saturating_sub(records.last().map_or(0, |last| last.seq + 1));
        // Not from a reader with a position either, which may be refused for any reason.
        if let Ok(mut reader) = named_reader(self.platform) {
            while let Ok(Some(message)) = reader.next() {
                let known = records.iter().find(|entry| entry.seq == message.seq);
                if known.is_none_or(|entry| entry.payload() != message.payload) {
                    return Err(format!("A1: the reader got {}, never appended", message.seq));
                }
            }
        }
        // An epoch may come again, so that nothing is said about what its numbers name.
        self.another = true;
        match appender {
            Some(mut appender) => self.go_on(&mut appender, &mut records).map(|()| self.tally),
            None => Ok(self.tally),
        }
    }

    fn was_ever_appended(&self, entry: &Entry) -> bool {
        let acked = self.facts.log.iter().take(self.mark.acked);
        acked.chain(&self.facts.earlier).chain(&self.mark.in_flight).any(|known| known == entry)
    }

    /// Whether the error is about something that the medium said that it had.
    fn is_missed(&self, error: &Error<SimError>) -> Result<(), String> {
        match error {
            // Equal, where a record of the queue's own is missing, which takes no number.
            Error::Damaged(damage) if damage.seq <= self.mark.claimed_seq => Ok(()),
            Error::Format { .. } | Error::FellBehind { .. } => Ok(()),
            error => Err(format!("A3: nobody said that this was on the medium: {error}")),
        }
    }
}
