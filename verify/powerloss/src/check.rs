//! What is left of a queue when the power is lost, or when bits have changed.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use chronicle_std::format::Object;
use chronicle_std::format::layout::control::WRITER_BOOT;
use chronicle_std::{Fault, Queue, QueueError, ReaderConfig};

use crate::disk::Event;
use crate::mode::Mode;
use crate::record::Recorded;
use crate::replay::{Choices, medium, whole};
use crate::rig::Image;
use crate::writer::payload;

/// What was seen of an image, beside that nothing is wrong with it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// The next writer found the head of a record whose bytes are not all there.
    pub(crate) torn: bool,
    /// Less is there than was promised.
    pub(crate) lost: bool,
    /// Something was refused with an error, by the file system or the queue.
    pub(crate) refused: bool,
}

/// Cuts the power, at the end of the record or anywhere in it, and looks at what is left.
pub(crate) fn check(
    mode: Mode,
    recorded: &Recorded,
    at_end: bool,
    choices: &mut Choices,
) -> Result<Seen, String> {
    let end = match recorded.promises.last() {
        // Trouble goes on behind the last promise.
        Some(last) if !mode.has_trouble() => last.events,
        _ => recorded.end,
    };
    let cut = if at_end { end } else { recorded.begin + choices.below(end - recorded.begin + 1) };
    let promised =
        recorded.promises.iter().rev().find(|promise| promise.events <= cut).map_or(0, |p| p.seq);
    let place = format!("cut behind event {cut} of {}, promised {promised}", recorded.log.len());
    let bytes = medium(recorded.size, &recorded.log, cut, choices);
    let image = match Image::mount(&bytes) {
        Ok(image) => image,
        // The file system was lied to as well, or has torn its own head.
        Err(_) if mode.may_lose() || has_loose_superblock(recorded, cut) => {
            return Ok(Seen { refused: true, ..Seen::default() });
        }
        Err(problem) => return Err(problem),
    };
    let queue = image.directory().join("queue");
    let seen = look(&queue, promised, mode.may_lose(), recorded.limited);
    seen.map_err(|fault| format!("{place}: {fault}"))
}

/// Whether the file system has written its superblock and not flushed it. ext4 writes it in place when its
/// journal has failed, to note the error; torn by a power loss, it fails its checksum, and nothing can be
/// mounted before `e2fsck` has taken another copy.
fn has_loose_superblock(recorded: &Recorded, cut: usize) -> bool {
    let events = recorded.log.get(..cut).unwrap_or(&recorded.log);
    let loose = events.iter().rev().take_while(|event| !matches!(event, Event::Flush));
    let touches = |event: &Event| match event {
        Event::Write { at, bytes } => *at < 2048 && at + bytes.len() > 1024,
        Event::Flush => false,
    };
    loose.into_iter().any(touches)
}

/// Opens the queue as the next writer would. `promised` messages must be there, unless `may_lose`, or
/// were there and were removed because the queue is `limited`.
fn look(queue: &Path, promised: u64, may_lose: bool, limited: bool) -> Result<Seen, String> {
    let mut seen = Seen::default();
    match forget_boot(queue) {
        // The file system finds its own blocks wrong.
        Err(_) if may_lose => return Ok(Seen { refused: true, ..seen }),
        forgotten => forgotten.map_err(|error| error.to_string())?,
    }
    match Queue::open_publisher(queue) {
        Ok(writer) => {
            let cut = writer.recovery().cut;
            seen.torn = cut.is_some_and(|cut| cut.at.fault == Fault::Checksum);
        }
        Err(error) if error.is_not_found() && (promised == 0 || may_lose) => {
            return Ok(Seen { lost: promised > 0, ..seen });
        }
        // Less is there than was promised, which is found out.
        Err(_) if may_lose => seen.refused = true,
        Err(error) => return Err(error.to_string()),
    }
    let (first, next) = match read(queue) {
        Ok(there) => there,
        Err((_, Some(_))) if may_lose => {
            seen.refused = true;
            return Ok(seen);
        }
        Err((fault, _)) => return Err(fault),
    };
    if first > 0 && !limited {
        return Err(format!("the first message is {first}"));
    }
    seen.lost = next < promised;
    if seen.lost && !may_lose {
        return Err(format!("only {next} messages are there"));
    }
    // The reader's own place is one that it had, or it is told that it is not there any more.
    match Queue::open_subscriber(queue, "reader").map(|reader| reader.position().seq) {
        Ok(seq) if seq > next => Err(format!("the reader goes on at {seq} of {next}")),
        // Nothing goes that a reader has not passed, whatever the medium has kept of either.
        Err(error) if !may_lose && fell_behind(&error) => Err(error.to_string()),
        _ => Ok(seen),
    }
}

/// Whether a reader's place was removed. What it is told has no other form than words here.
fn fell_behind(error: &QueueError) -> bool {
    matches!(error, QueueError::Queue { reason, .. } if reason.to_string().contains("were removed"))
}

/// Reads everything. Returns the first message and the one behind the last; else what is wrong, and at
/// which message a reader was told of it.
fn read(queue: &Path) -> Result<(u64, u64), (String, Option<u64>)> {
    let mut next = 0;
    let mut first = None;
    let refused = |next, error: QueueError| (error.to_string(), Some(next));
    let mut reader =
        Queue::open_reader(queue, ReaderConfig::default()).map_err(|it| refused(0, it))?;
    while let Some(message) = reader.next().map_err(|it| refused(next, it))? {
        if first.is_none() {
            (first, next) = (Some(message.seq), message.seq);
        }
        if message.seq != next || message.payload != payload(next) {
            let seq = message.seq;
            return Err((format!("seq {seq} at the place of {next}, or other bytes"), None));
        }
        next += 1;
    }
    Ok((first.unwrap_or(0), next))
}

/// Changes bits of what is at rest: of a message, which must be found, or anywhere.
pub(crate) fn rot(
    recorded: &Recorded,
    of_message: bool,
    choices: &mut Choices,
) -> Result<Seen, String> {
    let mut bytes = whole(recorded.size, &recorded.log);
    let promised = recorded.promises.last().map_or(0, |promise| promise.seq);
    if !of_message {
        // Somewhere in what the run has written.
        for _ in 0..1 + choices.below(3) {
            let at = recorded.written(choices);
            flip(&mut bytes, at, choices);
        }
        return match Image::mount(&bytes) {
            Err(_) => Ok(Seen { refused: true, ..Seen::default() }),
            Ok(image) => {
                let queue = image.directory().join("queue");
                match read(&queue) {
                    Ok(there) if there == (0, promised) => look(&queue, promised, true, false),
                    Ok(there) => Err(format!("{there:?} of {promised} messages, and no error")),
                    Err((_, Some(_))) => {
                        // Whatever the next writer makes of it, it says so.
                        look(&queue, promised, true, false)
                            .map(|seen| Seen { refused: true, ..seen })
                    }
                    Err((fault, None)) => Err(fault),
                }
            }
        };
    }
    let seq = loop {
        let seq = choices.below(promised as usize) as u64;
        if payload(seq).len() > 64 {
            break seq;
        }
    };
    let wanted = payload(seq);
    let (part, bit) = (8 + choices.below(wanted.len() - 8), choices.below(8));
    let mut found = 0;
    // The journal may hold a copy.
    for at in 0..bytes.len() - wanted.len() {
        if bytes.get(at..at + wanted.len()) == Some(&wanted) {
            found += 1;
            if let Some(byte) = bytes.get_mut(at + part) {
                *byte ^= 1 << bit;
            }
        }
    }
    if found == 0 {
        return Err(format!("message {seq} is not on the medium"));
    }
    let image = Image::mount(&bytes)?;
    let queue = image.directory().join("queue");
    match read(&queue) {
        Err((_, Some(at))) if at == seq => {}
        other => return Err(format!("message {seq} has other bytes, and a reader: {other:?}")),
    }
    let (_, faults) = Queue::verify(&queue).map_err(|error| error.to_string())?;
    let is_it = |fault: &QueueError| matches!(fault, QueueError::Corrupt { damage, .. } if damage.seq == seq);
    if !faults.iter().any(is_it) {
        return Err(format!("message {seq} has other bytes, and verify says {faults:?}"));
    }
    // After a reboot a writer looks at it, if no checkpoint stands behind it; it never cuts it.
    forget_boot(&queue).map_err(|error| error.to_string())?;
    if let Ok(writer) = Queue::open_publisher(&queue)
        && let Some(cut) = writer.recovery().cut
    {
        return Err(format!("message {seq} has other bytes, and a writer cut {cut:?}"));
    }
    match read(&queue) {
        Err((_, Some(at))) if at == seq => Ok(Seen { refused: true, ..Seen::default() }),
        other => Err(format!("message {seq} has other bytes, and behind a writer: {other:?}")),
    }
}

fn flip(bytes: &mut [u8], at: usize, choices: &mut Choices) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << choices.below(8);
    }
}

/// Has the queue believe that the machine was started anew, as it is after a power loss: this one
/// was not.
fn forget_boot(queue: &Path) -> std::io::Result<()> {
    match OpenOptions::new().write(true).open(queue.join(Object::Control.to_string())) {
        Ok(control) => control.write_all_at(&[0xee; 8], WRITER_BOOT as u64),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
