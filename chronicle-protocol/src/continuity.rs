/// How the events of a channel follow each other. Venues differ, and one product of a venue from the next:
/// the rule is a property of the feed, and each event says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SeqRule {
    /// An event covers the numbers from behind `native_prev` to `native_seq`, and continues the last one
    /// if it begins at or before its end. Binance spot, KuCoin, Coinbase's full channel, `MoldUDP64`.
    Range = 1,
    /// An event names the one before it, exactly. Behind a snapshot, the first event is the one that
    /// covers it. Binance's futures, Deribit, OKX.
    Chain = 2,
    /// Numbers never go back, and may leave any of them out. Databento by channel.
    Monotonic = 3,
    /// Numbers say nothing; a checksum of the book in `aux` does. Kraken.
    Checksum = 4,
    /// The order of a file. LOBSTER, ITCH, Tardis.
    Ordinal = 5,
}

/// What an event is to the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Continuity {
    /// The next one: apply it.
    Next,
    /// Contained in what is known: ignore it.
    Stale,
    /// Events are missing before it: the book cannot be believed until the next snapshot.
    Gap,
}

impl SeqRule {
    /// The rule with this number; `None` if there is none.
    #[must_use]
    pub const fn from_stored(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Range,
            2 => Self::Chain,
            3 => Self::Monotonic,
            4 => Self::Checksum,
            5 => Self::Ordinal,
            _ => return None,
        })
    }

    /// What an event with `native_prev` and `native_seq` is, behind one that ended with `last`.
    ///
    /// ```
    /// use chronicle_protocol::{Continuity, SeqRule};
    ///
    /// assert_eq!(SeqRule::Range.follows(100, 98, 103), Continuity::Next);
    /// assert_eq!(SeqRule::Range.follows(100, 97, 100), Continuity::Stale);
    /// assert_eq!(SeqRule::Range.follows(100, 101, 103), Continuity::Gap);
    /// ```
    #[must_use]
    pub const fn follows(self, last: u64, native_prev: u64, native_seq: u64) -> Continuity {
        match self {
            Self::Range if native_seq <= last => Continuity::Stale,
            Self::Range if native_prev > last => Continuity::Gap,
            Self::Chain if native_prev == last => Continuity::Next,
            Self::Chain if native_seq <= last => Continuity::Stale,
            Self::Chain => Continuity::Gap,
            Self::Monotonic if native_seq < last => Continuity::Gap,
            _ => Continuity::Next,
        }
    }

    /// The same for the first event behind a snapshot that contains everything up to `snapshot`.
    #[must_use]
    pub const fn follows_snapshot(
        self,
        snapshot: u64,
        native_prev: u64,
        native_seq: u64,
    ) -> Continuity {
        match self {
            Self::Chain if native_seq < snapshot => Continuity::Stale,
            Self::Chain if native_prev <= snapshot => Continuity::Next,
            Self::Chain => Continuity::Gap,
            other => other.follows(snapshot, native_prev, native_seq),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_goes_on_at_the_event_that_covers_the_snapshot_and_exactly_from_there() {
        // Numbers of a futures stream: the first one contained is not the last one before plus one.
        let rule = SeqRule::Chain;
        assert_eq!(rule.follows_snapshot(500, 440, 499), Continuity::Stale);
        assert_eq!(rule.follows_snapshot(500, 460, 530), Continuity::Next);
        assert_eq!(rule.follows_snapshot(500, 501, 530), Continuity::Gap);
        assert_eq!(rule.follows(530, 530, 571), Continuity::Next);
        assert_eq!(rule.follows(530, 531, 571), Continuity::Gap);
        assert_eq!(rule.follows(530, 460, 530), Continuity::Stale);
    }

    #[test]
    fn numbers_that_go_back_are_a_gap_of_a_monotonic_channel_and_nothing_to_an_ordinal_one() {
        assert_eq!(SeqRule::Monotonic.follows(10, 0, 9), Continuity::Gap);
        assert_eq!(SeqRule::Monotonic.follows(10, 0, 10), Continuity::Next);
        assert_eq!(SeqRule::Monotonic.follows(10, 0, 900), Continuity::Next);
        assert_eq!(SeqRule::Ordinal.follows(10, 0, 9), Continuity::Next);
        assert_eq!(SeqRule::Checksum.follows(10, 0, 9), Continuity::Next);
    }

    #[test]
    fn every_rule_is_found_by_its_number_and_no_other_number_is_one() {
        for rule in 0..=u8::MAX {
            let found = SeqRule::from_stored(rule);
            assert_eq!(found.map(|found| found as u8), (1..=5).contains(&rule).then_some(rule));
        }
    }
}
