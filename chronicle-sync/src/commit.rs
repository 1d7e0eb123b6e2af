//! The commit protocol: a record is there, whole, once its commit word is.
//!
//! Model L1 checks the publication, L10 the clearing of the word behind.

use chronicle_format::CommitWord;

use crate::mutation::{Mutant, seeded};
use crate::primitive::{AtomicU64, Ordering, ReadU64, fence};

/// A record that is to be published. Two closures are one; a type of its own can say that it is a part of its
/// caller's code.
pub trait Unpublished {
    /// Stores payload and header, but for what [`fill_head`](Self::fill_head) stores.
    fn fill(&self);

    /// The record's commit word. Asked for behind [`fill`](Self::fill): what is stored to has to come from another
    /// processor's cache, which has looked for the record there, and meanwhile there is time for a checksum. What
    /// [`fill_head`](Self::fill_head) stores is not asked for yet.
    fn word(&self) -> CommitWord;

    /// Stores the header and what may lie in its line, if [`fill`](Self::fill) left it: behind [`word`](Self::word),
    /// where that takes so long that a reader which looks for the record would take the line back meanwhile.
    fn fill_head(&self) {}
}

impl<F: Fn(), W: Fn() -> CommitWord> Unpublished for (F, W) {
    #[inline(always)]
    fn fill(&self) {
        self.0();
    }

    #[inline(always)]
    fn word(&self) -> CommitWord {
        self.1()
    }
}

/// Publishes a record: payload and header are stored, then the commit word makes them visible.
///
/// `next` is the commit word behind this record. It must be given where bytes of an aborted claim or
/// of an earlier life may lie there: it is cleared first, so that whoever sees this record sees an
/// end behind it. On space that was never written it is zero already and nothing needs to be stored.
#[inline(always)]
pub fn publish(commit: &AtomicU64, next: Option<&AtomicU64>, record: &impl Unpublished) {
    if seeded(Mutant::CommitBeforePayload) {
        commit.store(record.word().bits(), Ordering::Release);
    }
    record.fill();
    let word = record.word();
    if seeded(Mutant::CommitBeforeHead) {
        commit.store(word.bits(), Ordering::Release);
    }
    record.fill_head();
    if let Some(next) = next
        && !seeded(Mutant::NextNotCleared)
        && !seeded(Mutant::NextClearedAfterCommit)
    {
        // ORDER: Relaxed is enough, the Release store of `commit` below carries it.
        next.store(CommitWord::EMPTY.bits(), Ordering::Relaxed);
    }
    if seeded(Mutant::CommitBeforeChecksum) {
        // The lower half is the length.
        commit.store(word.bits() & u64::from(u32::MAX), Ordering::Release);
    }
    let order =
        if seeded(Mutant::CommitStoreRelaxed) { Ordering::Relaxed } else { Ordering::Release };
    // ORDER: Release, with the Acquire fence in `observe`: payload, header and the cleared word
    // behind are visible to whoever sees this word.
    commit.store(word.bits(), order);
    if let Some(next) = next
        && seeded(Mutant::NextClearedAfterCommit)
    {
        next.store(CommitWord::EMPTY.bits(), Ordering::Relaxed);
    }
}

/// Looks at a slot: `None` while nothing is committed there, else what `read` makes of it.
///
/// `read` runs after the commit word was seen and may read payload and header. It gets the payload's
/// length, in bytes, as the word has it, which has not been checked against anything yet.
#[inline(always)]
pub fn observe<R>(commit: ReadU64<'_>, read: impl FnOnce(CommitWord, u32) -> R) -> Option<R> {
    let word = CommitWord::from_bits(commit.load_relaxed());
    let length = word.payload_length()?;
    if !seeded(Mutant::CommitLoadRelaxed) {
        // ORDER: Acquire, with the Release store in `publish`. A fence and not an Acquire load,
        // because the word may lie on a page mapped read-only.
        fence(Ordering::Acquire);
    }
    Some(read(word, length))
}
