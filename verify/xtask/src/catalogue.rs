//! Forty ways to get such a protocol wrong, and the seeded fault that stands for each here.

use chronicle_sync::mutation::Mutant;

/// A bug that somebody made, or could have made, in a queue like this one.
pub(crate) struct Bug {
    /// Its number in the catalogue.
    pub(crate) number: u32,
    /// What it is, in a few words.
    pub(crate) bug: &'static str,
    /// What stands for it here.
    pub(crate) mutant: Mutant,
}

const fn bug(number: u32, bug: &'static str, mutant: Mutant) -> Bug {
    Bug { number, bug, mutant }
}

/// The catalogue, in its order.
pub(crate) const CATALOGUE: &[Bug] = &[
    bug(1, "the commit is Relaxed", Mutant::CommitStoreRelaxed),
    bug(2, "commit before payload", Mutant::CommitBeforePayload),
    bug(3, "commit before checksum", Mutant::CommitBeforeChecksum),
    bug(4, "the checksum omits the length", Mutant::ChecksumWithoutLength),
    bug(5, "the checksum omits the sequence number", Mutant::ChecksumWithoutSeq),
    bug(6, "the checksum omits the epoch", Mutant::ChecksumWithoutEpoch),
    bug(7, "the checksum has no salt", Mutant::ChecksumUnsalted),
    bug(8, "the next commit word is not zeroed", Mutant::NextNotCleared),
    bug(9, "the next commit word is zeroed after the commit", Mutant::NextClearedAfterCommit),
    bug(10, "recovery does not clear a stale tail", Mutant::RecoveryKeepsTail),
    bug(11, "recovery starts at the tail hint", Mutant::RecoveryFromHint),
    bug(12, "recovery skips checksums", Mutant::RecoveryUnchecked),
    bug(13, "recovery truncates what is durable", Mutant::RecoveryCutsDurable),
    bug(14, "recovery publishes the watermark without a sync", Mutant::RecoveryMovesWatermark),
    bug(15, "recovery is not idempotent", Mutant::RecoveryTrustedEarly),
    bug(16, "the watermark before the data's sync", Mutant::WatermarkBeforeData),
    bug(17, "the watermark has a single slot", Mutant::CheckpointSingleSlot),
    bug(18, "the watermark moves after a failed sync", Mutant::WatermarkAfterFailedSync),
    bug(19, "a failed sync is retried", Mutant::FailedSyncRetried),
    bug(20, "a fresh descriptor for the sync", Mutant::FlushOpensAnew),
    bug(21, "no sync of the directory", Mutant::FlushNamesNotSynced),
    bug(22, "a sealed predecessor is not synced", Mutant::FlushSealedNotSynced),
    bug(23, "sealed before the last commit", Mutant::BatchSealedEarly),
    bug(24, "the next segment is visible before its header", Mutant::NextNamedUnstarted),
    bug(25, "a reader advances on existence, not on the seal", Mutant::NextEnteredUnsealed),
    bug(26, "a wait ignores the roll", Mutant::WaitIgnoresRoll),
    bug(27, "no fence in the writer", Mutant::NotifyNoWriterBarrier),
    bug(28, "no fence in the reader", Mutant::NotifyNoSleeperBarrier),
    bug(29, "the notify sequence is sampled late", Mutant::NotifySampledLate),
    bug(30, "an unbounded spin", Mutant::SeqlockReadUnbounded),
    bug(31, "the cursor is moved before validation", Mutant::CursorMovedUnchecked),
    bug(32, "a reader repairs", Mutant::ReaderSealsForDeadWriter),
    bug(33, "a time to live by the wall clock", Mutant::AgeByWallClock),
    bug(34, "retention does not look again", Mutant::RetentionNoRescan),
    bug(35, "removal up to and with, instead of up to", Mutant::RetentionRemovesOneMore),
    bug(36, "retention ignores a corrupt reader file", Mutant::UnreadableReaderIgnored),
    bug(37, "a takeover reuses the segment", Mutant::LeaseEpochReused),
    bug(38, "the epoch is checked before the commit only", Mutant::LeaseNotRechecked),
    bug(39, "the lock file is unlinked on close", Mutant::LockFileRemoved),
    bug(40, "preparing a segment truncates what is there", Mutant::PublishReplaces),
];
