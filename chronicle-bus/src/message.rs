use std::fs::File;
use std::io::{Read as _, Write as _};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::BusError;
use crate::directory::Directory;

/// What the payloads of a queue are: made by [`message!`](crate::message).
///
/// A value is its bytes: nothing is encoded, and a reader looks at it where it lies in the queue.
pub trait Message: FromBytes + IntoBytes + KnownLayout + Immutable {
    /// The type's name, for people.
    const NAME: &'static str;
    /// The type id of its records, 0x0100 to 0xFFFE.
    const TYPE_ID: u16;
    /// A hash of name, type id, and names and types of the fields: another one is another type.
    const FINGERPRINT: u64;
}

/// Declares a message: a structure whose bytes are the payload.
///
/// Fields have fixed layouts without gaps between them, as `zerocopy` sees to, and an alignment of 8 at
/// most. Types of fields are told apart by the names that are written here.
///
/// ```
/// chronicle_bus::message! {
///     /// An order of a strategy.
///     pub struct Order = 0x2001 {
///         /// The strategy's number for it.
///         pub id: u64,
///         /// Whole lots, negative to sell.
///         pub lots: i64,
///     }
/// }
/// assert_eq!(<Order as chronicle_bus::Message>::NAME, "Order");
/// ```
#[macro_export]
macro_rules! message {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident = $type_id:literal {
            $($(#[$of_field:meta])* $of:vis $field:ident: $kind:ty),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            $crate::zerocopy::FromBytes, $crate::zerocopy::IntoBytes,
            $crate::zerocopy::KnownLayout, $crate::zerocopy::Immutable,
        )]
        #[zerocopy(crate = "chronicle_bus::zerocopy")]
        #[repr(C)]
        $visibility struct $name {
            $($(#[$of_field])* $of $field: $kind,)+
        }

        impl $crate::Message for $name {
            const NAME: &'static str = stringify!($name);
            const TYPE_ID: u16 = $type_id;
            const FINGERPRINT: u64 = $crate::fingerprint(&[
                stringify!($name), stringify!($type_id),
                $(stringify!($field), stringify!($kind),)+
            ]);
        }

        const _: () = assert!(align_of::<$name>() <= 8, "payloads are aligned to 8 bytes");
    };
}

/// A hash of texts, the ends of which count (FNV-1a with 64 bits).
#[doc(hidden)]
#[must_use]
pub const fn fingerprint(texts: &[&str]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut texts = texts;
    while let [text, rest @ ..] = texts {
        let mut bytes = text.as_bytes();
        while let [byte, rest @ ..] = bytes {
            hash = (hash ^ *byte as u64).wrapping_mul(0x0000_0100_0000_01b3);
            bytes = rest;
        }
        // No text has this byte.
        hash = (hash ^ 0xff).wrapping_mul(0x0000_0100_0000_01b3);
        texts = rest;
    }
    hash
}

/// The file of a queue that says what its messages are.
const FILE: &str = "message.type";
/// A name that a queue in the making lets pass.
const STAGED: &str = "message.type.tmp";
/// More than the longest line.
const LIMIT: u64 = 1024;

/// What a queue says that its messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Nothing,
    This,
}

/// The line of a type.
fn line<M: Message>() -> String {
    format!("{} type_id={:#06x} fingerprint={:016x}\n", M::NAME, M::TYPE_ID, M::FINGERPRINT)
}

/// What a queue says of its messages, if it does.
pub(crate) fn stored(queue: &Directory) -> Result<Option<String>, BusError> {
    let file = match queue.file(FILE) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(LIMIT)
        .read_to_end(&mut text)
        .map_err(|error| BusError::io(queue.path().join(FILE), "read", error))?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// Compares what a queue says with what is expected.
pub(crate) fn check<M: Message>(queue: &Directory) -> Result<Stored, BusError> {
    let (stored, expected) = (stored(queue)?, line::<M>());
    match stored {
        None => Ok(Stored::Nothing),
        Some(stored) if stored == expected => Ok(Stored::This),
        Some(stored) => Err(BusError::WrongType {
            queue: queue.path().to_owned(),
            stored: stored.trim_end().to_owned(),
            expected: expected.trim_end().to_owned(),
        }),
    }
}

/// Writes down what a queue's messages are. Only its writer does, so there is one at a time.
pub(crate) fn store<M: Message>(queue: &Directory) -> Result<(), BusError> {
    let stored = stage::<M>(queue).and_then(|()| queue.rename(STAGED, queue, FILE));
    if stored.is_err() {
        // As where the disk is full: nothing is left of it. If that fails too, the next one replaces it.
        let _ = queue.remove(STAGED);
    }
    stored?;
    queue.sync()
}

fn stage<M: Message>(queue: &Directory) -> Result<(), BusError> {
    let failed = |error| BusError::io(queue.path().join(STAGED), "write", error);
    let mut file: File = queue.new_file(STAGED)?;
    file.write_all(line::<M>().as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_where_one_text_ends() {
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        assert_ne!(fingerprint(&["a"]), fingerprint(&["a", ""]));
        // The value of the empty input is the algorithm's own.
        assert_eq!(fingerprint(&[]), 0xcbf2_9ce4_8422_2325);
    }
}
