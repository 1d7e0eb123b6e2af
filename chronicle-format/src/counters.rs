//! Files of counters, one for each writer and reader that is counted.

use crate::FormatError;
use crate::bytes::{before, put, u32_at, u64_at};
use crate::crc32c::crc32c;
use crate::layout::{counters, keeper_counters, reader_counters, writer_counters};

/// Version of the layout of a file of counters.
pub const COUNTERS_VERSION: u32 = 1;
/// Size of a file of counters in bytes.
pub const COUNTERS_FILE_SIZE: u64 = 4096;
/// Where a writer's or a reader's values begin in the file.
pub const COUNTERS_VALUES: u64 = 256;
/// Where the values of the threads beside a writer begin in its file: on lines of their own.
pub const KEEPER_COUNTERS_VALUES: u64 = 1024;

const MAGIC: u64 = u64::from_le_bytes(*b"CHRONCNT");

/// Whose counters they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CountersKind {
    /// The writer of a queue.
    Writer,
    /// A reader of a queue.
    Reader,
}

/// The part of a file of counters that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountersHeader {
    /// Whose counters they are.
    pub kind: CountersKind,
}

impl CountersHeader {
    /// Bytes that [`encode`](Self::encode) gives and [`decode`](Self::decode) takes.
    pub const SIZE: usize = counters::LAYOUT.size;

    /// The first bytes of the file.
    #[must_use]
    pub fn encode(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let kind: u32 = match self.kind {
            CountersKind::Writer => 1,
            CountersKind::Reader => 2,
        };
        put(&mut bytes, counters::MAGIC, MAGIC.to_le_bytes());
        put(&mut bytes, counters::VERSION, COUNTERS_VERSION.to_le_bytes());
        put(&mut bytes, counters::KIND, kind.to_le_bytes());
        let crc = crc32c(before(&bytes, counters::CRC));
        put(&mut bytes, counters::CRC, crc.to_le_bytes());
        bytes
    }

    /// Reads the first bytes of the file.
    ///
    /// # Errors
    /// Wrong magic, version, checksum or kind.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Result<Self, FormatError> {
        let magic = u64_at(bytes, counters::MAGIC);
        if magic != MAGIC {
            return Err(FormatError::BadMagic { found: magic });
        }
        let version = u32_at(bytes, counters::VERSION);
        if version != COUNTERS_VERSION {
            let supported = COUNTERS_VERSION;
            return Err(FormatError::UnsupportedVersion { found: version, supported });
        }
        if u32_at(bytes, counters::CRC) != crc32c(before(bytes, counters::CRC)) {
            return Err(FormatError::BadChecksum { at: counters::CRC });
        }
        let kind = match u32_at(bytes, counters::KIND) {
            1 => CountersKind::Writer,
            2 => CountersKind::Reader,
            other => {
                return Err(FormatError::OutOfRange { at: counters::KIND, value: other.into() });
            }
        };
        Ok(Self { kind })
    }
}

// Values lie inside the file, and apart.
const _: () = {
    assert!(writer_counters::LAYOUT.size >= reader_counters::LAYOUT.size);
    assert!(COUNTERS_VALUES as usize >= counters::LAYOUT.size);
    assert!(
        COUNTERS_VALUES as usize + writer_counters::LAYOUT.size <= KEEPER_COUNTERS_VALUES as usize
    );
    let end = KEEPER_COUNTERS_VALUES as usize + keeper_counters::LAYOUT.size;
    assert!(end <= COUNTERS_FILE_SIZE as usize);
};

/// Declares values that are stored as words, in the order of their fields in the layout.
macro_rules! values {
    ($(#[$doc:meta])* $name:ident in $layout:ident { $($(#[$field_doc:meta])* $field:ident = $at:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[allow(clippy::exhaustive_structs, reason = "all words of a version")]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $name {
            /// Words that [`words`](Self::words) gives and [`from_words`](Self::from_words) takes.
            pub const WORDS: usize = [$($layout::$at,)*].len();
            /// Where the words begin, from the generation on.
            pub const FIRST: u64 = 8;

            /// The values as they are stored.
            #[must_use]
            pub fn words(&self) -> [u64; Self::WORDS] {
                [$(self.$field,)*]
            }

            /// The values from how they were stored.
            #[must_use]
            pub fn from_words([$($field,)*]: [u64; Self::WORDS]) -> Self {
                Self { $($field,)* }
            }
        }

        // The words are the layout's fields behind the generation, one after the other.
        const _: () = {
            let at = [$($layout::$at,)*];
            assert!($layout::LAYOUT.fields.len() == at.len() + 1, "a word is missing");
            let mut i = 0;
            while i < at.len() {
                #[allow(clippy::indexing_slicing, reason = "evaluated when it is compiled")]
                let offset = at[i];
                assert!(offset == 8 + 8 * i, "words are out of order");
                i += 1;
            }
        };
    };
}

values! {
    /// What the thread of a writer publishes: see [`layout::writer_counters`](crate::layout::writer_counters).
    WriterCounters in writer_counters {
        /// The process, for people.
        pid = PID,
        /// When the process started, in clock ticks since the boot; for people.
        process_start = PROCESS_START,
        /// How often the file was taken, this time included.
        starts = STARTS,
        /// When it was, nanoseconds since 1970.
        started_ns = STARTED_NS,
        /// When these values were stored, nanoseconds since 1970.
        published_ns = PUBLISHED_NS,
        /// 1 once the writer was closed in order.
        closed = CLOSED,
        /// Segment of the head.
        segment = SEGMENT,
        /// Offset of the head.
        offset = OFFSET,
        /// Sequence number of the next message.
        seq = SEQ,
        /// Highest time stamp of any message.
        time_ns = TIME_NS,
        /// Calls that failed, a full queue included.
        errors = ERRORS,
        /// When the last one did, nanoseconds since 1970; 0 if none did.
        last_error_ns = LAST_ERROR_NS,
        /// Messages that this process has appended.
        messages = MESSAGES,
        /// Bytes of their records, headers and padding included.
        bytes = BYTES,
        /// Segments that were rolled out of.
        rolls = ROLLS,
        /// Rolls for which no segment was prepared.
        unprepared_rolls = UNPREPARED_ROLLS,
        /// Times that space was allocated ahead of the writer.
        extensions = EXTENSIONS,
        /// System calls that woke sleepers.
        wakes = WAKES,
        /// Appends that found the queue full.
        full = FULL,
        /// Time that was waited for room.
        full_wait_ns = FULL_WAIT_NS,
        /// 1 while the writer waits for room.
        waiting_for_room = WAITING_FOR_ROOM,
        /// Messages below this survive a power loss.
        durable_seq = DURABLE_SEQ,
        /// Size of a segment in bytes.
        segment_size = SEGMENT_SIZE,
        /// No roll while segments would take more bytes than this; 0: no limit.
        capacity_bytes = CAPACITY_BYTES,
    }
}

values! {
    /// What threads beside a writer publish: see [`layout::keeper_counters`](crate::layout::keeper_counters).
    KeeperCounters in keeper_counters {
        /// When these values were stored, nanoseconds since 1970; 0 if they never were.
        published_ns = PUBLISHED_NS,
        /// Syncs of messages.
        syncs = SYNCS,
        /// Time that they took.
        sync_ns = SYNC_NS,
        /// Syncs that failed.
        sync_errors = SYNC_ERRORS,
        /// Looks for segments that need not be kept.
        retention_looks = RETENTION_LOOKS,
        /// Looks that failed.
        retention_errors = RETENTION_ERRORS,
        /// Segments that were removed.
        removed_segments = REMOVED_SEGMENTS,
        /// The oldest segment, after the last look.
        oldest_segment = OLDEST_SEGMENT,
        /// Segments that the limits asked to go and a reader held, at the last look.
        held_segments = HELD_SEGMENTS,
        /// Segment of the head, as it was found in the queue when the writer had nothing to do.
        segment = SEGMENT,
        /// Its offset.
        offset = OFFSET,
        /// Its sequence number.
        seq = SEQ,
        /// The highest time stamp found on the way there.
        time_ns = TIME_NS,
    }
}

values! {
    /// What the thread of a reader publishes: see [`layout::reader_counters`](crate::layout::reader_counters).
    ReaderCounters in reader_counters {
        /// The process, for people.
        pid = PID,
        /// When the process started, in clock ticks since the boot; for people.
        process_start = PROCESS_START,
        /// How often the file was taken, this time included.
        starts = STARTS,
        /// When it was, nanoseconds since 1970.
        started_ns = STARTED_NS,
        /// When these values were stored, nanoseconds since 1970.
        published_ns = PUBLISHED_NS,
        /// 1 once the reader was closed in order.
        closed = CLOSED,
        /// Segment of the next message.
        segment = SEGMENT,
        /// Offset of the next message.
        offset = OFFSET,
        /// Sequence number of the next message.
        seq = SEQ,
        /// Time stamp of the last message that was read; 0 if none was.
        time_ns = TIME_NS,
        /// Calls that failed.
        errors = ERRORS,
        /// When the last one did, nanoseconds since 1970; 0 if none did.
        last_error_ns = LAST_ERROR_NS,
        /// 1 if the queue keeps messages for this reader's name.
        registered = REGISTERED,
        /// Sequence number of the place that was committed last.
        committed_seq = COMMITTED_SEQ,
        /// Waits.
        waits = WAITS,
        /// Waits in which no message came.
        waits_timed_out = WAITS_TIMED_OUT,
        /// Times that messages were missing.
        gaps = GAPS,
        /// Times that the reader was cut off because its messages were removed.
        fell_behind = FELL_BEHIND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_what_is_used_of_a_header_is_refused() {
        let header = CountersHeader { kind: CountersKind::Reader };
        let good = header.encode();
        assert_eq!(CountersHeader::decode(&good), Ok(header));
        for bit in 0..(counters::CRC + 4) * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            CountersHeader::decode(&bad).unwrap_err();
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_out_of_range() {
        let mut bytes = CountersHeader { kind: CountersKind::Writer }.encode();
        bytes[counters::KIND] = 3;
        let crc = crc32c(before(&bytes, counters::CRC));
        put(&mut bytes, counters::CRC, crc.to_le_bytes());
        let expected = FormatError::OutOfRange { at: counters::KIND, value: 3 };
        assert_eq!(CountersHeader::decode(&bytes), Err(expected));
    }
}
