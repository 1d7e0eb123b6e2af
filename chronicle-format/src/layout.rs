//! Every layout as a table of named offsets, checked when this crate is compiled.
//!
//! The tables are the single place where an offset is written down: encoders, decoders, the shared
//! words of the queue and the test that compares `docs/format.md` with the code all read them.

/// One field of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field's name, in lower case in `docs/format.md`.
    pub name: &'static str,
    /// Bytes from the start of the layout.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
}

/// A whole layout: what `docs/format.md` shows as one table.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The layout's name, the heading of its table in `docs/format.md`.
    pub name: &'static str,
    /// Size in bytes.
    pub size: usize,
    /// Its fields in ascending order of offset.
    pub fields: &'static [Field],
}

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated at compile time: a bad index is a compile error"
)]
const fn assert_sound(size: usize, fields: &[Field]) {
    let mut i = 0;
    let mut end = 0;
    while i < fields.len() {
        let field = fields[i];
        assert!(field.offset >= end, "fields overlap or are not in order");
        assert!(field.offset.is_multiple_of(field.size), "field is not aligned to its size");
        end = field.offset + field.size;
        i += 1;
    }
    assert!(end <= size, "a field lies outside its layout");
}

macro_rules! layouts {
    ($(#[$all_doc:meta])* $all:ident; $($(#[$doc:meta])* $module:ident[$size:expr] { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $offset:expr,)* })*) => {
        $(
            $(#[$doc])*
            pub mod $module {
                use super::{Field, Layout};
                $($(#[$field_doc])* pub const $field: usize = $offset;)*
                /// The whole layout.
                pub const LAYOUT: Layout = Layout {
                    name: stringify!($module),
                    size: $size,
                    fields: &[$(Field { name: stringify!($field), offset: $offset, size: size_of::<$ty>() },)*],
                };
                const _: () = super::assert_sound(LAYOUT.size, LAYOUT.fields);
            }
        )*
        $(#[$all_doc])*
        pub const $all: &[Layout] = &[$($module::LAYOUT,)*];
    };
}

layouts! {
    /// Every layout of this version, in the order of `docs/format.md`.
    ALL;

    /// The header in front of every record.
    record[32] {
        /// Payload length + 1; 0 while nothing is committed. Low half of the commit word.
        LENGTH_PLUS_ONE: u32 = 0,
        /// CRC-32C of salt, header and payload; 0 in queues without checksums. High half of the
        /// commit word.
        CRC: u32 = 4,
        /// What the payload is.
        TYPE_ID: u16 = 8,
        /// Record flags; unknown ones are ignored.
        FLAGS: u16 = 10,
        /// Epoch of the writer.
        EPOCH: u32 = 12,
        /// Sequence number.
        SEQ: u64 = 16,
        /// Time stamp as the clock gave it, nanoseconds since 1970.
        TIMESTAMP_NS: u64 = 24,
    }
    /// Payload of the internal EPOCH record (type 0x0001).
    epoch_record[32] {
        /// Epoch of the writer that appends from here on.
        EPOCH: u32 = 0,
        /// Epoch of everything before.
        PREVIOUS_EPOCH: u32 = 4,
        /// Sequence number of the next user record.
        NEXT_SEQ: u64 = 8,
        /// Records below this were durable when the writer opened.
        DURABLE_SEQ: u64 = 16,
        /// Wall clock of the takeover, nanoseconds since 1970.
        WALL_NS: u64 = 24,
    }
    /// Payload of the internal WATERMARK record (type 0x0002).
    watermark_record[8] {
        /// Records below this were durable when this record was appended.
        DURABLE_SEQ: u64 = 0,
    }
    /// The head of every segment file.
    segment[64] {
        /// "CHRONSEG".
        MAGIC: u64 = 0,
        /// Version of the segment layout.
        VERSION: u16 = 8,
        /// Segment flags; unknown ones are refused.
        FLAGS: u16 = 10,
        /// The segment's id, equal to its file name.
        SEGMENT_ID: u32 = 12,
        /// Size of the file in bytes, equal to the control file's.
        SEGMENT_SIZE: u64 = 16,
        /// Random and never 0; seeds every record's checksum.
        SALT: u32 = 24,
        /// CRC-32C of bytes 0..28.
        HEADER_CRC: u32 = 28,
        /// Sequence number of the segment's first user record.
        FIRST_SEQ: u64 = 32,
        /// Highest time stamp of any record before this segment; 0 if there is none.
        TIME_FLOOR_NS: u64 = 40,
        /// Epoch of the writer that started the segment.
        EPOCH: u32 = 48,
        /// CRC-32C of bytes 0..28 followed by 32..52.
        START_CRC: u32 = 52,
        /// 0 while the segment is open; else the offset behind its last record with bit 0 set.
        SEAL: u64 = 56,
    }
    /// `control.meta`.
    control[592] {
        /// "CHRONCTL".
        MAGIC: u64 = 0,
        /// Version of the control layout and of the queue as a whole.
        VERSION: u32 = 8,
        /// Queue flags; unknown ones are refused.
        FLAGS: u32 = 12,
        /// Size of every segment file in bytes: the single source of truth.
        SEGMENT_SIZE: u64 = 16,
        /// Random; binds reader and checkpoint files to this queue.
        QUEUE_ID: u64 = 24,
        /// Wall clock of creation, nanoseconds since 1970.
        CREATED_NS: u64 = 32,
        /// CRC-32C of bytes 0..40.
        CRC: u32 = 40,
        /// 1 once the queue is complete.
        INIT_STATE: u32 = 44,
        /// Seqlock generation over the four words of the hint: odd while they change.
        SEGMENT_GEN: u32 = 128,
        /// Segment of the hint.
        CURRENT_SEGMENT: u64 = 136,
        /// Offset of the hint: a record boundary at or before the head.
        WRITE_OFFSET: u64 = 144,
        /// Sequence number of the first user record at or behind the hint.
        WRITE_SEQ: u64 = 152,
        /// Epoch in force at the hint.
        HINT_EPOCH: u64 = 160,
        /// Epoch of the last writer to open the queue.
        EPOCH: u32 = 256,
        /// 1 while that writer leaves its half of the wake-up barrier to the sleepers.
        ASYMMETRIC_BARRIER: u32 = 260,
        /// Monotonic time at which the writer began a claim, or a roll for which no segment was at hand; 0 in neither.
        BUSY_SINCE_NS: u64 = 264,
        /// Allocated space of the open segment: segment id << 32 | pages of 4096 bytes.
        FRONTIER: u64 = 272,
        /// Identity of the boot in which the writer opened the queue.
        WRITER_BOOT: u64 = 280,
        /// Identity of the boot in which a sync failed; 0 if none did.
        POISONED_BOOT: u64 = 288,
        /// The complement of the frontier: where the two do not fit, the frontier is not known.
        FRONTIER_COMPLEMENT: u64 = 296,
        /// Records below this survive a power loss.
        DURABLE_SEQ: u64 = 384,
        /// The complement of the durable watermark: where the two do not fit, it is not known.
        DURABLE_COMPLEMENT: u64 = 392,
        /// Segments are removed while they take more bytes than this; 0: no limit.
        RETAIN_BYTES: u64 = 512,
        /// Segments are removed while there are more than this; 0: no limit.
        RETAIN_SEGMENTS: u64 = 520,
        /// No roll while segments would take more bytes than this; 0: no limit.
        CAPACITY_BYTES: u64 = 528,
        /// Segments are removed when all their records are older than this; 0: no limit.
        RETAIN_AGE_NS: u64 = 536,
        /// CRC-32C of bytes 512..544.
        POLICY_CRC: u32 = 544,
        /// Segments below this one are being removed or gone.
        SEGMENT_FLOOR: u64 = 552,
        /// The clock by which segments age, as it was read last.
        AGE_CLOCK_NS: u64 = 560,
        /// The monotonic clock at that moment.
        AGE_MONOTONIC_NS: u64 = 568,
        /// The boot of that reading.
        AGE_BOOT: u64 = 576,
        /// CRC-32C of bytes 560..584.
        AGE_CRC: u32 = 584,
    }
    /// A sample of the age clock in `control.meta`.
    age_sample[16] {
        /// The moment, by the age clock.
        AGE_NS: u64 = 0,
        /// The segment that was being written to, or one before it.
        SEGMENT: u32 = 8,
        /// CRC-32C of bytes 0..12.
        CRC: u32 = 12,
    }
    /// `notify.meta`.
    notify[512] {
        /// "CHRONNTF".
        MAGIC: u64 = 0,
        /// Version of the notify layout.
        VERSION: u32 = 8,
        /// CRC-32C of bytes 0..12.
        CRC: u32 = 12,
        /// 1 while someone may sleep for the next visible record.
        VISIBLE_WAITING: u32 = 128,
        /// Moves by one each time sleepers for visible records are woken.
        VISIBLE_NOTIFY_SEQ: u32 = 132,
        /// 1 while someone may sleep for durability.
        DURABLE_WAITING: u32 = 256,
        /// Moves by one each time sleepers for durability are woken.
        DURABLE_NOTIFY_SEQ: u32 = 260,
        /// 1 while someone may sleep for replication.
        REPLICATED_WAITING: u32 = 384,
        /// Moves by one each time sleepers for replication are woken.
        REPLICATED_NOTIFY_SEQ: u32 = 388,
    }
    /// `replicated.meta`.
    replicated[256] {
        /// "CHRONREP".
        MAGIC: u64 = 0,
        /// Version of the layout.
        VERSION: u32 = 8,
        /// CRC-32C of bytes 0..12 followed by 16..24.
        CRC: u32 = 12,
        /// The queue that this watermark belongs to.
        QUEUE_ID: u64 = 16,
        /// Records below this were acknowledged by a quorum.
        REPLICATED_SEQ: u64 = 128,
        /// The complement of the watermark: where the two do not fit, it is not known.
        REPLICATED_COMPLEMENT: u64 = 136,
    }
    /// One slot of `checkpoint.meta`.
    checkpoint[64] {
        /// "CHRONCKP".
        MAGIC: u64 = 0,
        /// Version of the checkpoint layout.
        VERSION: u32 = 8,
        /// Epoch in force at the position.
        EPOCH: u32 = 12,
        /// The slot with the higher generation is the newer one.
        GENERATION: u64 = 16,
        /// The queue that this checkpoint belongs to.
        QUEUE_ID: u64 = 24,
        /// Records below this are durable.
        DURABLE_SEQ: u64 = 32,
        /// Offset behind the last durable record.
        OFFSET: u64 = 40,
        /// Segment of the offset.
        SEGMENT: u32 = 48,
        /// CRC-32C of bytes 0..52.
        CRC: u32 = 52,
        /// The segment that the log begins with.
        FIRST_SEGMENT: u32 = 56,
        /// CRC-32C of bytes 0..52 and 56..60; 0 where the log begins with segment 0.
        FIRST_CRC: u32 = 60,
    }
    /// The head of `readers/NAME.meta`.
    reader[128] {
        /// "CHRONRDR".
        MAGIC: u64 = 0,
        /// Version of the reader layout.
        VERSION: u32 = 8,
        /// 0 durable, 1 lease, 2 maximum lag.
        POLICY: u32 = 12,
        /// The queue that this reader belongs to.
        QUEUE_ID: u64 = 16,
        /// Lease: time to live in nanoseconds. Maximum lag: bytes. Else 0.
        LIMIT: u64 = 24,
        /// CRC-32C of bytes 0..32.
        CRC: u32 = 32,
        /// Process that holds the reader; for people, the lock decides.
        HOLDER_PID: u32 = 36,
    }
    /// One position slot of `readers/NAME.meta`.
    reader_slot[64] {
        /// The slot with the higher generation is the newer one; 0 is an empty slot.
        GENERATION: u64 = 0,
        /// Sequence number of the next record to read.
        SEQ: u64 = 8,
        /// Offset of the next record to read.
        OFFSET: u64 = 16,
        /// Segment of the offset.
        SEGMENT: u32 = 24,
        /// Epoch in force at the offset.
        EPOCH: u32 = 28,
        /// Offset of the last record read, in the same segment; 0 if none was.
        LAST_OFFSET: u64 = 32,
        /// Time stamp of the last record read.
        LAST_TIMESTAMP_NS: u64 = 40,
        /// Checksum field of the last record read.
        LAST_CRC: u32 = 48,
        /// CRC-32C of bytes 0..52.
        CRC: u32 = 52,
    }
    /// The head of the sparse index of a segment.
    index[32] {
        /// "CHRONIDX".
        MAGIC: u64 = 0,
        /// Version of the index layout.
        VERSION: u32 = 8,
        /// The segment's id, equal to the number in the file's name.
        SEGMENT_ID: u32 = 12,
        /// Bytes of the segment between two entries.
        STRIDE: u64 = 16,
        /// The segment's salt.
        SALT: u32 = 24,
        /// CRC-32C of bytes 0..28.
        CRC: u32 = 28,
    }
    /// One entry of the sparse index of a segment.
    index_entry[32] {
        /// Sequence number of the record.
        SEQ: u64 = 0,
        /// Offset of the record in the segment; 0 in an empty entry.
        OFFSET: u64 = 8,
        /// Highest time stamp of any record before it; 0 if there is none.
        TIME_FLOOR_NS: u64 = 16,
        /// Epoch of the record.
        EPOCH: u32 = 24,
        /// CRC-32C of the segment's salt followed by bytes 0..28.
        CRC: u32 = 28,
    }
}

layouts! {
    /// The layouts of a file of counters, in the order of `docs/counters.md`.
    COUNTERS;

    /// The head of a file of counters.
    counters[64] {
        /// "CHRONCNT".
        MAGIC: u64 = 0,
        /// Version of the layout.
        VERSION: u32 = 8,
        /// 1 a writer's, 2 a reader's.
        KIND: u32 = 12,
        /// CRC-32C of bytes 0..16.
        CRC: u32 = 16,
    }
    /// What the thread of a writer publishes.
    writer_counters[256] {
        /// Seqlock generation over the words behind it: odd while they change.
        GENERATION: u32 = 0,
        /// The process, for people.
        PID: u64 = 8,
        /// When the process started, in clock ticks since the boot; for people.
        PROCESS_START: u64 = 16,
        /// How often the file was taken, this time included.
        STARTS: u64 = 24,
        /// When it was, nanoseconds since 1970.
        STARTED_NS: u64 = 32,
        /// When these words were stored, nanoseconds since 1970.
        PUBLISHED_NS: u64 = 40,
        /// 0 counted, 1 closed in order.
        CLOSED: u64 = 48,
        /// Segment of the head.
        SEGMENT: u64 = 56,
        /// Offset of the head.
        OFFSET: u64 = 64,
        /// Sequence number of the next message.
        SEQ: u64 = 72,
        /// Highest time stamp of any message.
        TIME_NS: u64 = 80,
        /// Calls that failed, a full queue included.
        ERRORS: u64 = 88,
        /// When the last one did, nanoseconds since 1970; 0 if none did.
        LAST_ERROR_NS: u64 = 96,
        /// Messages that this process has appended.
        MESSAGES: u64 = 104,
        /// Bytes of their records, headers and padding included.
        BYTES: u64 = 112,
        /// Segments that were rolled out of.
        ROLLS: u64 = 120,
        /// Rolls for which no segment was prepared.
        UNPREPARED_ROLLS: u64 = 128,
        /// Times that space was allocated ahead of the writer.
        EXTENSIONS: u64 = 136,
        /// System calls that woke sleepers.
        WAKES: u64 = 144,
        /// Appends that found the queue full.
        FULL: u64 = 152,
        /// Time that was waited for room.
        FULL_WAIT_NS: u64 = 160,
        /// 1 while the writer waits for room.
        WAITING_FOR_ROOM: u64 = 168,
        /// Messages below this survive a power loss.
        DURABLE_SEQ: u64 = 176,
        /// Size of a segment in bytes.
        SEGMENT_SIZE: u64 = 184,
        /// No roll while segments would take more bytes than this; 0: no limit.
        CAPACITY_BYTES: u64 = 192,
    }
    /// What threads beside a writer publish, one at a time.
    keeper_counters[128] {
        /// Seqlock generation over the words behind it: odd while they change.
        GENERATION: u32 = 0,
        /// When these words were stored, nanoseconds since 1970; 0 if they never were.
        PUBLISHED_NS: u64 = 8,
        /// Syncs of messages.
        SYNCS: u64 = 16,
        /// Time that they took.
        SYNC_NS: u64 = 24,
        /// Syncs that failed.
        SYNC_ERRORS: u64 = 32,
        /// Looks for segments that need not be kept.
        RETENTION_LOOKS: u64 = 40,
        /// Looks that failed.
        RETENTION_ERRORS: u64 = 48,
        /// Segments that were removed.
        REMOVED_SEGMENTS: u64 = 56,
        /// The oldest segment, after the last look.
        OLDEST_SEGMENT: u64 = 64,
        /// Segments that the limits asked to go and a reader held, at the last look.
        HELD_SEGMENTS: u64 = 72,
        /// Segment of the head, as it was found in the queue when the writer had nothing to do.
        SEGMENT: u64 = 80,
        /// Its offset.
        OFFSET: u64 = 88,
        /// Its sequence number.
        SEQ: u64 = 96,
        /// The highest time stamp found on the way there.
        TIME_NS: u64 = 104,
    }
    /// What the thread of a reader publishes.
    reader_counters[256] {
        /// Seqlock generation over the words behind it: odd while they change.
        GENERATION: u32 = 0,
        /// The process, for people.
        PID: u64 = 8,
        /// When the process started, in clock ticks since the boot; for people.
        PROCESS_START: u64 = 16,
        /// How often the file was taken, this time included.
        STARTS: u64 = 24,
        /// When it was, nanoseconds since 1970.
        STARTED_NS: u64 = 32,
        /// When these words were stored, nanoseconds since 1970.
        PUBLISHED_NS: u64 = 40,
        /// 0 counted, 1 closed in order.
        CLOSED: u64 = 48,
        /// Segment of the next message.
        SEGMENT: u64 = 56,
        /// Offset of the next message.
        OFFSET: u64 = 64,
        /// Sequence number of the next message.
        SEQ: u64 = 72,
        /// Time stamp of the last message that was read; 0 if none was.
        TIME_NS: u64 = 80,
        /// Calls that failed.
        ERRORS: u64 = 88,
        /// When the last one did, nanoseconds since 1970; 0 if none did.
        LAST_ERROR_NS: u64 = 96,
        /// 1 if the queue keeps messages for this reader's name.
        REGISTERED: u64 = 104,
        /// Sequence number of the place that was committed last.
        COMMITTED_SEQ: u64 = 112,
        /// Waits.
        WAITS: u64 = 120,
        /// Waits in which no message came.
        WAITS_TIMED_OUT: u64 = 128,
        /// Times that messages were missing.
        GAPS: u64 = 136,
        /// Times that the reader was cut off because its messages were removed.
        FELL_BEHIND: u64 = 144,
    }
}
