//! Good queues.

use std::sync::OnceLock;

use arbitrary::Arbitrary;
use chronicle_conformance::memory::Memory;
use chronicle_core::{
    Appender, CreateOptions, ReaderName, ReaderPolicy, SegmentSize, TailOptions, Tailer,
    WriteOptions, create,
};
use chronicle_sync::Object;

use crate::TYPE;

/// Bytes of a segment in most of the queues.
pub const SEGMENT: u64 = 4096;
/// Bytes of a segment that has an index with two entries.
pub const WIDE_SEGMENT: u64 = 192 << 10;

/// A good queue to begin with.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing was ever appended.
    Empty,
    /// Three segments; flushed in the middle.
    Segments,
    /// The same without checksums.
    Unchecked,
    /// Two segments that are long enough for an index each. Slow, so that a target has to ask for it.
    #[arbitrary(skip)]
    Indexed,
}

type Objects = Vec<(Object, Vec<u8>)>;

impl Base {
    /// The queue's objects.
    #[must_use]
    pub fn objects(self) -> Objects {
        static MADE: [OnceLock<Objects>; 4] = [const { OnceLock::new() }; 4];
        MADE[self as usize].get_or_init(|| self.make()).clone()
    }

    fn make(self) -> Objects {
        let memory = Memory::new();
        let size = if self == Self::Indexed { WIDE_SEGMENT } else { SEGMENT };
        let mut options = CreateOptions::default();
        options.segment_size = SegmentSize::new(size).expect("a size");
        options.checksums = self != Self::Unchecked;
        options.retention.max_segments = Some(3);
        create(&memory, &options).expect("a new queue");
        let (count, length) = match self {
            Self::Empty => (0, 0),
            Self::Segments | Self::Unchecked => (60, 90),
            Self::Indexed => (70, 4000),
        };
        for lives in 0..2 {
            let mut appender =
                Appender::open(&memory, WriteOptions::default()).expect("a good queue");
            for number in 0..count / 2 {
                let payload = vec![number as u8; length + number % 7];
                appender.append(TYPE, &payload).expect("there is space");
                if number == count / 4 {
                    appender.flush().expect("memory does not fail");
                }
            }
            if lives == 1 {
                appender.flush().expect("memory does not fail");
                for number in 0..count / 20 {
                    appender.append(TYPE, &vec![number as u8; 64]).expect("there is space");
                }
            }
        }
        for (name, policy) in
            [("a", ReaderPolicy::Durable), ("b", ReaderPolicy::MaxLag { bytes: 1 << 20 })]
        {
            let mut options = TailOptions::default();
            options.name = Some(ReaderName::new(name).expect("a plain name"));
            options.policy = policy;
            let mut tailer = Tailer::open(&memory, &options).expect("a good queue");
            for _ in 0..count / 3 {
                tailer.next().expect("a good queue").expect("a record");
            }
            tailer.commit().expect("a named reader");
        }
        let bytes = |object: Object| memory.get(&object).map(|bytes| (object, bytes));
        memory.objects().into_iter().filter_map(bytes).collect()
    }
}
