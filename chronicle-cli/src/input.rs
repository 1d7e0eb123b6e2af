//! Takes messages out of a stream of bytes, with memory for one message.

use std::io::{self, BufRead, Read};

use crate::args::Framing;
use crate::failure::Failure;

/// Bytes asked for at once.
const CHUNK: usize = 256 << 10;
/// Bytes of the length in front of a message.
const LENGTH: usize = 4;

/// What comes next out of an input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A message.
    Message(&'a [u8]),
    /// Everything that was read has been given out, and the next call may wait for more.
    Drained,
    /// There is no more.
    End,
}

/// A stream that is taken apart into messages.
pub(crate) struct Input<R> {
    source: R,
    name: String,
    framing: Framing,
    /// The largest message in bytes.
    largest: u64,
    /// Holds the bytes that were read and not given out at `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How many of them are known to hold no newline.
    searched: usize,
    drained: bool,
    exhausted: bool,
    /// Bytes and messages given out, to say where something is wrong.
    offset: u64,
    messages: u64,
}

/// A whole message in the buffer.
struct Frame {
    /// Bytes in front of it.
    header: usize,
    length: usize,
    /// Bytes behind it.
    trailer: usize,
}

impl<R: Read> Input<R> {
    pub(crate) fn new(source: R, name: String, framing: Framing, largest: u64) -> Self {
        Self {
            source,
            name,
            framing,
            largest,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            searched: 0,
            drained: false,
            exhausted: false,
            offset: 0,
            messages: 0,
        }
    }

    /// Bytes given out so far, framing included.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next message. Gives [`Step::Drained`] once before every read, so that the caller can
    /// bring to an end what it put off.
    pub(crate) fn next(&mut self) -> Result<Step<'_>, Failure> {
        loop {
            let frame = match self.framing {
                Framing::Lines => self.line()?,
                Framing::Len32 => self.length_and_bytes()?,
            };
            if let Some(Frame { header, length, trailer }) = frame {
                let begin = self.start + header;
                let whole = header + length + trailer;
                self.start += whole;
                self.offset += whole as u64;
                self.messages += 1;
                self.searched = 0;
                return Ok(Step::Message(
                    self.buffer.get(begin..begin + length).unwrap_or_default(),
                ));
            }
            if self.exhausted {
                return Ok(Step::End);
            }
            if !self.drained {
                self.drained = true;
                return Ok(Step::Drained);
            }
            self.read_more()?;
        }
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn line(&mut self) -> Result<Option<Frame>, Failure> {
        let unread = self.unread();
        let mut rest = unread.get(self.searched..).unwrap_or_default();
        let passed = rest.skip_until(b'\n').unwrap_or(0);
        let searched = self.searched + passed;
        let ends_here = passed > 0 && unread.get(searched - 1) == Some(&b'\n');
        let frame = if ends_here {
            Some(Frame { header: 0, length: searched - 1, trailer: 1 })
        } else if self.exhausted && searched > 0 {
            Some(Frame { header: 0, length: searched, trailer: 0 })
        } else {
            None
        };
        self.searched = searched;
        let length = frame.as_ref().map_or(searched, |frame| frame.length);
        if length as u64 > self.largest {
            return Err(self.refuse(format_args!(
                "line {} is longer than {} bytes, the largest message of this queue",
                self.messages + 1,
                self.largest
            )));
        }
        Ok(frame)
    }

    fn length_and_bytes(&mut self) -> Result<Option<Frame>, Failure> {
        let unread = self.unread();
        let Some(length) = unread.first_chunk::<LENGTH>().copied().map(u32::from_le_bytes) else {
            return if self.exhausted && !unread.is_empty() {
                Err(self.truncated(format_args!("{} of 4 bytes of a length", unread.len())))
            } else {
                Ok(None)
            };
        };
        if u64::from(length) > self.largest {
            return Err(self.refuse(format_args!(
                "the frame at byte {} has {length} bytes, the largest message of this queue has {}",
                self.offset, self.largest
            )));
        }
        let present = unread.len() - LENGTH;
        let length = length as usize;
        if present >= length {
            Ok(Some(Frame { header: LENGTH, length, trailer: 0 }))
        } else if self.exhausted {
            Err(self.truncated(format_args!("{present} of {length} bytes")))
        } else {
            Ok(None)
        }
    }

    fn refuse(&self, reason: std::fmt::Arguments<'_>) -> Failure {
        Failure::input(
            &self.name,
            format_args!("{reason}; the {} messages before it were appended", self.messages),
        )
    }

    fn truncated(&self, found: std::fmt::Arguments<'_>) -> Failure {
        let at = self.offset;
        self.refuse(format_args!("the frame at byte {at} is truncated: {found} are there"))
    }

    fn grow(&mut self, length: usize) -> Result<(), Failure> {
        if self.buffer.try_reserve_exact(length - self.buffer.len()).is_err() {
            return Err(self.refuse(format_args!("there is no memory for {length} bytes of it")));
        }
        self.buffer.resize(length, 0);
        Ok(())
    }

    fn read_more(&mut self) -> Result<(), Failure> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < CHUNK / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buffer.len() - self.end < CHUNK / 2 {
                // A message is refused once it is seen to be too long, which bounds this.
                self.grow(self.buffer.len() * 2)?;
            }
        }
        if self.buffer.is_empty() {
            self.grow(CHUNK)?;
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let count = loop {
            match self.source.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let count = count.map_err(|error| {
            self.refuse(format_args!("cannot read on at byte {}: {error}", self.offset))
        })?;
        self.end += count;
        self.exhausted = count == 0;
        self.drained = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out its bytes in pieces of a size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(self.1).min(buffer.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    fn messages(
        bytes: &[u8],
        piece: usize,
        framing: Framing,
        largest: u64,
    ) -> (Vec<Vec<u8>>, Option<String>) {
        let mut input = Input::new(Pieces(bytes, piece), "here".to_owned(), framing, largest);
        let mut found = Vec::new();
        loop {
            match input.next() {
                Ok(Step::Message(message)) => found.push(message.to_vec()),
                Ok(Step::Drained) => {}
                Ok(Step::End) => return (found, None),
                Err(Failure::Refused(message)) => return (found, Some(message)),
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        let bytes = b"one\n\n\0two\xff\nlast";
        let expected: Vec<&[u8]> = vec![b"one", b"", b"\0two\xff", b"last"];
        for piece in 1..=bytes.len() {
            let (found, error) = messages(bytes, piece, Framing::Lines, 100);
            assert_eq!((found, error), (expected.iter().map(|m| m.to_vec()).collect(), None));
        }
        assert_eq!(messages(b"", 1, Framing::Lines, 100), (vec![], None));
        assert_eq!(messages(b"\n", 1, Framing::Lines, 100), (vec![vec![]], None));
        assert_eq!(messages(b"a\n", 2, Framing::Lines, 100), (vec![b"a".to_vec()], None));
    }

    #[test]
    fn a_line_longer_than_a_chunk_stays_whole() {
        let long: Vec<u8> = (0..3 * CHUNK + 17).map(|i| b'a' + (i % 26) as u8).collect();
        let bytes = [b"short\n", long.as_slice(), b"\nshort"].concat();
        for piece in [1000, CHUNK - 1, CHUNK, usize::MAX] {
            let (found, error) = messages(&bytes, piece, Framing::Lines, 1 << 30);
            assert_eq!(error, None);
            assert!(found == [b"short".to_vec(), long.clone(), b"short".to_vec()]);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_named_and_what_came_before_is_given_out() {
        for bytes in [&b"abcd\nabcde\n"[..], b"abcd\nabcde", b"abcd\nabcdefghijk"] {
            for piece in 1..=bytes.len() {
                let (found, error) = messages(bytes, piece, Framing::Lines, 4);
                assert_eq!(found, [b"abcd".to_vec()]);
                let error = error.unwrap();
                assert!(error.starts_with("here: line 2 is longer than 4 bytes"), "{error}");
            }
        }
    }

    #[test]
    fn frames_are_the_same_however_the_bytes_arrive() {
        let bytes = b"\x03\0\0\0a\nb\0\0\0\0\x01\0\0\0\xff";
        for piece in 1..=bytes.len() {
            let (found, error) = messages(bytes, piece, Framing::Len32, 100);
            assert_eq!((found, error), (vec![b"a\nb".to_vec(), vec![], vec![0xff]], None));
        }
    }

    #[test]
    fn a_truncated_frame_is_named_by_the_byte_where_it_begins() {
        for (bytes, found) in [
            (&b"\x01\0\0\0a\x05\0\0\0bc"[..], "2 of 5 bytes"),
            (b"\x01\0\0\0a\x05\0", "2 of 4 bytes"),
        ] {
            let (messages, error) = messages(bytes, 3, Framing::Len32, 100);
            assert_eq!(messages, [b"a".to_vec()]);
            let error = error.unwrap();
            assert!(error.contains("here: the frame at byte 5 is truncated"), "{error}");
            assert!(error.contains(found), "{error}");
        }
        let (_, error) = messages(b"\xff\xff\xff\xff", 4, Framing::Len32, 100);
        assert!(error.unwrap().contains("the frame at byte 0 has 4294967295 bytes"));
    }

    #[test]
    fn every_read_is_preceded_by_a_word_that_it_may_wait() {
        let mut input = Input::new(Pieces(b"a\nb\nc", 4), String::new(), Framing::Lines, 9);
        assert_eq!(input.next().unwrap(), Step::Drained);
        assert_eq!(input.next().unwrap(), Step::Message(b"a"));
        assert_eq!(input.next().unwrap(), Step::Message(b"b"));
        assert_eq!(input.next().unwrap(), Step::Drained);
        assert_eq!(input.next().unwrap(), Step::Drained);
        assert_eq!(input.next().unwrap(), Step::Message(b"c"));
        assert_eq!(input.next().unwrap(), Step::End);
        assert_eq!(input.next().unwrap(), Step::End);
    }
}
