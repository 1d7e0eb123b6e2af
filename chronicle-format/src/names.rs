use core::fmt;

use heapless::String;

use crate::FormatError;

/// Directory of the readers' position files inside a queue.
pub const READERS_DIRECTORY: &str = "readers";
/// Directory to which a repair moves what it takes out of a queue.
pub const QUARANTINE_DIRECTORY: &str = "quarantine";

/// Number of a segment: 0 to 999,999,999, in ascending order without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(u32);

impl SegmentId {
    /// The first segment of every queue.
    pub const FIRST: Self = Self(0);
    /// The last segment that a queue can have.
    pub const LAST: Self = Self(999_999_999);

    /// Checks an id.
    ///
    /// # Errors
    /// [`FormatError::SegmentId`] above 999,999,999.
    pub const fn new(id: u64) -> Result<Self, FormatError> {
        if id <= Self::LAST.0 as u64 {
            Ok(Self(id as u32))
        } else {
            Err(FormatError::SegmentId { id })
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The id of the segment behind this one.
    ///
    /// # Errors
    /// [`FormatError::SegmentId`] if this is the last one that a queue can have.
    pub const fn next(self) -> Result<Self, FormatError> {
        Self::new(self.0 as u64 + 1)
    }

    /// The id of the segment before this one.
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Name of a reader: 1 to 64 characters out of `A-Z a-z 0-9 _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderName(String<64>);

impl ReaderName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`FormatError::Name`] for every other string, `../x` among them.
    pub fn new(name: &str) -> Result<Self, FormatError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(FormatError::Name);
        }
        String::try_from(name).map(Self).map_err(|_| FormatError::Name)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a queue consists of, by number or typed name. A backend turns it into a path or whatever
/// else it keeps its bytes under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Object {
    /// `control.meta`
    Control,
    /// `notify.meta`
    Notify,
    /// `checkpoint.meta`
    Checkpoint,
    /// `replicated.meta`
    Replicated,
    /// `writer.lock`
    WriterLock,
    /// `000000000.q`
    Segment(SegmentId),
    /// `000000000.idx`
    Index(SegmentId),
    /// `readers/NAME.meta`
    Reader(ReaderName),
}

/// A file name without its directory.
pub type FileName = String<80>;

/// Where an [`Object`] lies inside a queue's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// Directory inside the queue's, or `None` for the queue's own.
    pub directory: Option<&'static str>,
    /// Name of the file.
    pub file: FileName,
}

impl Object {
    /// The object's name on disk.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        let mut file = FileName::new();
        let mut directory = None;
        // The longest name has 69 characters, so writing into 80 cannot fail.
        let _ = match self {
            Self::Control => fmt::Write::write_str(&mut file, "control.meta"),
            Self::Notify => fmt::Write::write_str(&mut file, "notify.meta"),
            Self::Checkpoint => fmt::Write::write_str(&mut file, "checkpoint.meta"),
            Self::Replicated => fmt::Write::write_str(&mut file, "replicated.meta"),
            Self::WriterLock => fmt::Write::write_str(&mut file, "writer.lock"),
            Self::Segment(id) => fmt::write(&mut file, format_args!("{:09}.q", id.0)),
            Self::Index(id) => fmt::write(&mut file, format_args!("{:09}.idx", id.0)),
            Self::Reader(name) => {
                directory = Some(READERS_DIRECTORY);
                fmt::write(&mut file, format_args!("{name}.meta"))
            }
        };
        ObjectName { directory, file }
    }

    /// The segment whose file has this name; `None` for every name that no segment has.
    #[must_use]
    pub fn segment_named(file: &str) -> Option<SegmentId> {
        let digits = file.strip_suffix(".q")?;
        if digits.len() != 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        SegmentId::new(digits.parse().ok()?).ok()
    }

    /// The reader whose file has this name; `None` for every name that no reader has.
    #[must_use]
    pub fn reader_named(file: &str) -> Option<ReaderName> {
        ReaderName::new(file.strip_suffix(".meta")?).ok()
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectName { directory, file } = self.name();
        if let Some(directory) = directory {
            write!(f, "{directory}/")?;
        }
        f.write_str(&file)
    }
}

#[cfg(test)]
mod tests {
    use core::fmt::Write;

    use super::*;

    #[test]
    fn names_on_disk_are_those_of_the_format() {
        let mut text = String::<200>::new();
        let id = SegmentId::new(7).unwrap();
        let reader = ReaderName::new("a").unwrap();
        for object in [
            Object::Control,
            Object::Notify,
            Object::Checkpoint,
            Object::Replicated,
            Object::WriterLock,
            Object::Segment(id),
            Object::Index(id),
            Object::Reader(reader),
        ] {
            write!(text, "{object} ").unwrap();
        }
        assert_eq!(
            text,
            "control.meta notify.meta checkpoint.meta replicated.meta writer.lock 000000007.q 000000007.idx readers/a.meta "
        );
    }

    #[test]
    fn only_nine_digits_name_a_segment() {
        assert_eq!(Object::segment_named("000000012.q"), SegmentId::new(12).ok());
        assert_eq!(Object::segment_named("999999999.q"), SegmentId::new(999_999_999).ok());
        for bad in
            ["12.q", "0000000012.q", "+00000012.q", "00000001x.q", "000000012.q.tmp", ".q", ""]
        {
            assert_eq!(Object::segment_named(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        for bad in ["", ".", "..", "../x", "/abs", "a/b", "a\0", "a\n", "ä", "a.b", "a b"] {
            assert_eq!(ReaderName::new(bad), Err(FormatError::Name), "{bad:?}");
        }
        let longest = core::str::from_utf8(&[b'x'; 64]).unwrap();
        assert_eq!(Object::Reader(ReaderName::new(longest).unwrap()).name().file.len(), 69);
        assert_eq!(
            ReaderName::new(core::str::from_utf8(&[b'x'; 65]).unwrap()),
            Err(FormatError::Name)
        );
    }
}
