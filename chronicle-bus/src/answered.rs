//! Which requests have been answered.

/// How many requests may be open at once in one conversation: a responder takes none that is so far
/// ahead of the oldest one that it has not answered.
pub const REQUESTS_IN_FLIGHT: u64 = 1024;

/// From so many of the newest replies it can be told which requests have been answered.
///
/// Of the newest request with a reply, `m`, all from `m - REQUESTS_IN_FLIGHT` down have one. A reply to
/// a later one than that was written when all requests that are `REQUESTS_IN_FLIGHT` older than it had
/// theirs, so the replies behind it are to fewer than twice as many requests.
pub(crate) const TELLING_REPLIES: u64 = 2 * REQUESTS_IN_FLIGHT;

const WORDS: usize = REQUESTS_IN_FLIGHT as usize / 64;

/// All requests below one, and any of the next [`REQUESTS_IN_FLIGHT`], as a ring of bits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answered {
    lowest_open: u64,
    bits: [u64; WORDS],
}

impl Answered {
    /// The lowest request without an answer.
    pub(crate) fn lowest_open(&self) -> u64 {
        self.lowest_open
    }

    pub(crate) fn contains(&self, request: u64) -> bool {
        request < self.lowest_open
            || self.reaches(request)
                && self.bits.get(word(request)).is_some_and(|word| word & bit(request) != 0)
    }

    /// Whether a request is near enough to the lowest open one to be taken.
    pub(crate) fn reaches(&self, request: u64) -> bool {
        request.saturating_sub(self.lowest_open) < REQUESTS_IN_FLIGHT
    }

    /// Notes that a request was answered; `false` if that was known. One that is out of reach says that
    /// all that are too old to be open beside it have been answered.
    pub(crate) fn insert(&mut self, request: u64) -> bool {
        self.raise((request + 1).saturating_sub(REQUESTS_IN_FLIGHT));
        if self.contains(request) {
            return false;
        }
        if let Some(word) = self.bits.get_mut(word(request)) {
            *word |= bit(request);
        }
        self.close_up();
        true
    }

    /// Notes that all requests below one have been answered, or never will be.
    pub(crate) fn raise(&mut self, lowest_open: u64) {
        if !self.reaches(lowest_open) {
            *self = Self { lowest_open, bits: [0; WORDS] };
        }
        while self.lowest_open < lowest_open {
            self.clear_lowest();
        }
        self.close_up();
    }

    fn close_up(&mut self) {
        while self.contains(self.lowest_open) {
            self.clear_lowest();
        }
    }

    fn clear_lowest(&mut self) {
        if let Some(word) = self.bits.get_mut(word(self.lowest_open)) {
            *word &= !bit(self.lowest_open);
        }
        self.lowest_open += 1;
    }
}

fn word(request: u64) -> usize {
    (request / 64) as usize % WORDS
}

fn bit(request: u64) -> u64 {
    1 << (request % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use super::*;

    #[test]
    fn answers_in_any_order_are_each_known_once() {
        let mut answered = Answered::default();
        for request in [2, 0, 3] {
            assert!(answered.insert(request));
            assert!(!answered.insert(request));
        }
        assert_eq!(answered.lowest_open(), 1);
        assert!(answered.insert(1));
        assert_eq!(answered.lowest_open(), 4);
        assert!(answered.reaches(4 + REQUESTS_IN_FLIGHT - 1));
        assert!(!answered.reaches(4 + REQUESTS_IN_FLIGHT));
    }

    #[test]
    fn all_below_a_place_count_as_answered_and_bits_above_it_stay() {
        let mut answered = Answered::default();
        assert!(answered.insert(70) && answered.insert(72));
        answered.raise(70);
        assert_eq!(answered.lowest_open(), 71);
        assert!(!answered.contains(71) && answered.contains(72));
        answered.raise(1 << 40);
        assert_eq!(answered.lowest_open(), 1 << 40);
        assert!(!answered.contains((1 << 40) + 72));
        answered.raise(3);
        assert_eq!(answered.lowest_open(), 1 << 40);
    }

    #[test]
    fn the_newest_replies_tell_what_all_of_them_tell() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut full = Answered::default();
            let (mut next, mut open, mut replies) = (0, BTreeSet::new(), VecDeque::new());
            for _ in 0..20_000 {
                if full.reaches(next) && random.u8(..) < 150 {
                    open.insert(next);
                    next += 1;
                } else if let Some(&request) = match random.u8(..) {
                    0..2 => open.first(),
                    _ => open.last(),
                } {
                    open.remove(&request);
                    assert!(full.insert(request));
                    replies.push_back(request);
                }
            }
            let telling = replies.len().saturating_sub(TELLING_REPLIES as usize);
            let mut told = Answered::default();
            for request in replies.range(telling..) {
                told.insert(*request);
            }
            for request in 0..next {
                assert_eq!(told.contains(request), full.contains(request), "{seed}: {request}");
            }
        }
    }
}
