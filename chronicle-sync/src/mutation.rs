//! Seeded faults: one per fence, ordering and order of steps that the algorithms rest on.
//!
//! In every ordinary build the question "is this fault seeded?" is the constant `false` and nothing
//! of it is left. Under `cfg(chronicle_loom)` or `cfg(chronicle_mutants)` one fault at a time can be
//! switched on, and what is named for it must then fail, a model of `verify/loom` or the simulator of
//! `verify/sim`: that is how they are shown to see what they claim to check.

/// What [`Mutant::model`] says of the faults that the simulator must find.
pub const SIMULATOR: &str = "sim";

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident => $model:literal,)*) => {
        /// A fault that can be seeded.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Mutant {
            $($(#[$doc])* $name,)*
        }

        impl Mutant {
            /// All faults.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The fault's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The model that must fail when the fault is seeded, or [`SIMULATOR`].
            #[must_use]
            pub const fn model(self) -> &'static str {
                match self {
                    $(Self::$name => $model,)*
                }
            }
        }
    };
}

mutants! {
    /// The commit word is stored Relaxed.
    CommitStoreRelaxed => "L1",
    /// The commit word is loaded without an Acquire fence behind it.
    CommitLoadRelaxed => "L1",
    /// The commit word is stored before the payload.
    CommitBeforePayload => "L1",
    /// The writer looks for sleepers without a barrier behind its publication.
    NotifyNoWriterBarrier => "L2",
    /// The sleeper looks for records without a barrier behind its flag.
    NotifyNoSleeperBarrier => "L2",
    /// The sleeper does not look again once it has raised its flag.
    NotifyNoRecheck => "L2",
    /// The sleeper samples the notify sequence after it has looked again.
    NotifySampledLate => "L2",
    /// The writer wakes without moving the notify sequence.
    NotifySeqNotMoved => "L2",
    /// The writer takes the flag down after it has woken instead of before.
    NotifyFlagClearedLate => "L2",
    /// The sleeper samples the notify sequence Relaxed.
    NotifySampleRelaxed => "L2",
    /// The writer moves the notify sequence Relaxed.
    NotifyStepRelaxed => "L2",
    /// Whoever sleeps on many words does not look again once it has raised its flags.
    NotifyAnyNoRecheck => "L2",
    /// Whoever waits for many sleeps on the first word only.
    NotifyAnyFirstOnly => "L2",
    /// The relay does not ring for a word that it sees for the first time.
    NotifyRelayFirstSilent => "L2",
    /// The relay sleeps on what the word holds by then, not on what it rang for.
    NotifyRelaySampledLate => "L2",
    /// The relay moves the doorbell's sequence only if somebody sleeps.
    NotifyRingUnannounced => "L2",
    /// No Release fence behind the odd generation.
    SeqlockNoReleaseFence => "L3",
    /// No Acquire fence before the second look at the generation.
    SeqlockNoAcquireFence => "L3",
    /// The first look at the generation is Relaxed.
    SeqlockRelaxedBegin => "L3",
    /// The even generation is stored Relaxed.
    SeqlockRelaxedEnd => "L3",
    /// A reader takes the words while the generation is odd.
    SeqlockOddAccepted => "L3",
    /// The segment is sealed before its last record is committed.
    SealBeforeLastCommit => "L4",
    /// The reader moves on at a seal without a second look at its slot.
    SealNoSecondLook => "L4",
    /// The seal is loaded Relaxed.
    SealLoadRelaxed => "L4",
    /// The seal is stored Relaxed.
    SealStoreRelaxed => "L4",
    /// The wait does not count a seal as something to wake for.
    WaitIgnoresRoll => "L5",
    /// The remover looks at positions without a barrier behind its announcement.
    RetentionNoRemoverBarrier => "L6",
    /// The remover does not look at positions again once it has announced how far it goes.
    RetentionNoRescan => "L6",
    /// The announcement goes back below what was removed.
    RetentionFloorLowered => "L6",
    /// The joining reader looks at the announcement without a barrier behind its position.
    RetentionNoJoinerBarrier => "L6",
    /// The epoch is begun by a load and a store.
    LeasePlainBegin => "L7",
    /// The epoch that is begun is the one that was in force.
    LeaseEpochReused => "L7",
    /// The writer does not look at the epoch before it stores a record.
    LeaseUnchecked => "L7",
    /// The writer does not look at the epoch behind a record.
    LeaseNotRechecked => "L7",
    /// The writer looks at the epoch without a barrier behind its record.
    LeaseNoHolderBarrier => "L7",
    /// Who takes over looks for records without a barrier behind its epoch.
    LeaseNoTakerBarrier => "L7",
    /// Who takes over does not look for records again once it has begun its epoch.
    LeaseNoRescan => "L7",
    /// Who takes over clears what lies behind the end before it begins its epoch.
    LeaseClearedEarly => "L7",
    /// Records of any epoch are taken for ones of the epoch in force.
    LeaseEpochUnheeded => "L7",
    /// The writer that finds its epoch ended looks for the reason without an Acquire fence.
    LeaseReasonUnordered => "L7",
    /// What was made for another tag is taken.
    HandoffStaleTaken => "L8",
    /// A thing is handed over although it is not wanted any more.
    HandoffPutUnchecked => "L8",
    /// The taker looks at the state Relaxed.
    HandoffTakeRelaxed => "L8",
    /// The same slot is written every time.
    SlotsAlwaysFirst => "L9",
    /// A slot is taken without its checksum.
    SlotsUnchecked => "L9",
    /// The word behind the record is cleared after the commit.
    NextClearedAfterCommit => "L10",
    /// The word behind the record is not cleared.
    NextNotCleared => "L10",
    /// A reader of torn words tries again until they are whole.
    SeqlockSpinsOn => "L11",
    /// A reader of torn words makes their generation even.
    SeqlockReaderMends => "L11",
    /// A reader at the end of an open segment seals it.
    SealByReader => "L11",
    /// The watermark moves before the sync that makes it true.
    WatermarkBeforeSync => "L12",
    /// The watermark moves although the sync failed.
    WatermarkAfterFailedSync => "L12",
    /// The watermark is stored Relaxed.
    WatermarkStoreRelaxed => "L12",
    /// The watermark is taken without a look at its complement.
    WatermarkUnchecked => "L12",
    /// A watermark that was left between two values counts as none.
    WatermarkLeftUnknown => "L12",
    /// Of the two values of a watermark that was left, the higher one counts.
    WatermarkLeftHigher => "L12",
    /// The checksums of records do not begin with the segment's salt.
    ChecksumUnsalted => "sim",
    /// A queue's first segment gets its name before it is on the medium.
    FirstSegmentNotSynced => "sim",
    /// The new epoch is not synced before records carry it.
    EpochNotSynced => "sim",
    /// Names are not synced when a writer opens.
    OpenNamesNotSynced => "sim",
    /// Recovery begins at the hint.
    RecoveryFromHint => "sim",
    /// Recovery takes records without their checksums.
    RecoveryUnchecked => "sim",
    /// Recovery cuts below the durable watermark.
    RecoveryCutsDurable => "sim",
    /// Recovery takes what it found for durable.
    RecoveryMovesWatermark => "sim",
    /// Recovery leaves the seal of the segment in which the log ends.
    RecoveryKeepsSeal => "sim",
    /// Recovery appends behind a seal whose removal is not on the medium.
    UnsealNotSynced => "sim",
    /// The watermark is stored and synced before the data is.
    WatermarkBeforeData => "sim",
    /// A flush goes on behind a failed sync.
    FailedSyncIgnored => "sim",
    /// A failed sync is tried again.
    FailedSyncRetried => "sim",
    /// A flush does not sync names.
    FlushNamesNotSynced => "sim",
    /// A flush does not sync the segments before the one that is being written to.
    FlushSealedNotSynced => "sim",
    /// A segment is removed before the one behind it is on the medium.
    RetentionNotSynced => "sim",
    /// The segment that a reader is in is removed too.
    RetentionRemovesOneMore => "sim",
    /// The name of a reader is not synced when it registers.
    ReaderNameNotSynced => "sim",
    /// A reader goes on in the epoch of its position, whatever records of the queue are there now.
    ReaderEpochKept => "sim",
}

/// Whether `mutant` is the fault that is switched on: never, in ordinary builds.
#[cfg(not(any(chronicle_loom, chronicle_mutants)))]
#[inline(always)]
#[must_use]
pub const fn seeded(_: Mutant) -> bool {
    false
}

#[cfg(any(chronicle_loom, chronicle_mutants))]
pub use selection::{is_selected, seeded, select};

#[cfg(any(chronicle_loom, chronicle_mutants))]
mod selection {
    #![allow(clippy::disallowed_types, reason = "chosen before a model runs; no part of the model")]

    use core::sync::atomic::{AtomicUsize, Ordering};

    use super::Mutant;

    static SELECTED: AtomicUsize = AtomicUsize::new(usize::MAX);

    /// Switches one fault on for this process, or all off.
    pub fn select(mutant: Option<Mutant>) {
        SELECTED.store(mutant.map_or(usize::MAX, |m| m as usize), Ordering::SeqCst);
    }

    /// Whether `mutant` is the fault that is switched on.
    ///
    /// For steps whose order lies with the caller of an algorithm: there a model, which stands in
    /// for the caller, commits the fault itself.
    #[must_use]
    pub fn is_selected(mutant: Mutant) -> bool {
        seeded(mutant)
    }

    /// Whether `mutant` is the fault that is switched on.
    #[must_use]
    pub fn seeded(mutant: Mutant) -> bool {
        SELECTED.load(Ordering::SeqCst) == mutant as usize
    }
}
