//! Seeded faults: one per fence, ordering and order of steps that the algorithms rest on, and one per
//! decision of the engine that a promise rests on.
//!
//! In every ordinary build the question "is this fault seeded?" is the constant `false` and nothing
//! of it is left. Under `cfg(chronicle_loom)` or `cfg(chronicle_mutants)` one fault at a time can be
//! switched on, and what is named for it must then fail, a model of `verify/loom`, the simulator of
//! `verify/sim` or a test: that is how they are shown to see what they claim to check. The list that
//! people read is in `docs/verification.md`.

use Killer::{Model, Nobody, Simulator, Test};

/// Who must see a seeded fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Killer {
    /// The model of `verify/loom` with this number.
    Model(&'static str),
    /// The explorer of `verify/sim`.
    Simulator,
    /// A test of `chronicle-core`. It runs with the fault's name in [`VARIABLE`].
    Test {
        /// The file in `chronicle-core/tests`, without its extension.
        file: &'static str,
        /// The function.
        name: &'static str,
    },
    /// There is no fault to be seen.
    Nobody,
}

/// The variable of the environment that names a fault for a whole process and its children, in
/// builds that have faults at all. It is read once.
pub const VARIABLE: &str = "CHRONICLE_MUTANT";

macro_rules! mutants {
    ($(#[doc = $about:literal] $name:ident => $killer:expr,)*) => {
        /// A fault that can be seeded.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Mutant {
            $(#[doc = $about] $name,)*
        }

        impl Mutant {
            /// All faults, and [`Nothing`](Self::Nothing).
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The fault's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// What is wrong when it is seeded: a sentence.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$name => $about.trim_ascii(),)*
                }
            }

            /// What must fail when the fault is seeded.
            #[must_use]
            pub const fn killer(self) -> Killer {
                match self {
                    $(Self::$name => $killer,)*
                }
            }
        }
    };
}

const fn test(file: &'static str, name: &'static str) -> Killer {
    Test { file, name }
}

mutants! {
    /// The commit word is stored Relaxed.
    CommitStoreRelaxed => Model("L1"),
    /// The commit word is loaded without an Acquire fence behind it.
    CommitLoadRelaxed => Model("L1"),
    /// The commit word is stored before the payload.
    CommitBeforePayload => Model("L1"),
    /// The commit word is stored before header and first bytes, where these are stored last.
    CommitBeforeHead => Model("L1"),
    /// The commit word is stored in two pieces: the length, then the checksum.
    CommitBeforeChecksum => Model("L1"),
    /// The writer looks for sleepers without a barrier behind its publication.
    NotifyNoWriterBarrier => Model("L2"),
    /// The writer looks for sleepers behind the barrier of its look at the epoch, and that one is left out.
    NotifyNoSharedBarrier => Model("L2"),
    /// The sleeper looks for records without a barrier behind its flag.
    NotifyNoSleeperBarrier => Model("L2"),
    /// The sleeper does not look again once it has raised its flag.
    NotifyNoRecheck => Model("L2"),
    /// The sleeper samples the notify sequence after it has looked again.
    NotifySampledLate => Model("L2"),
    /// The writer wakes without moving the notify sequence.
    NotifySeqNotMoved => Model("L2"),
    /// The writer takes the flag down after it has woken instead of before.
    NotifyFlagClearedLate => Model("L2"),
    /// The sleeper samples the notify sequence Relaxed.
    NotifySampleRelaxed => Model("L2"),
    /// The writer moves the notify sequence Relaxed.
    NotifyStepRelaxed => Model("L2"),
    /// Whoever sleeps on many words does not look again once it has raised its flags.
    NotifyAnyNoRecheck => Model("L2"),
    /// Whoever waits for many sleeps on the first word only.
    NotifyAnyFirstOnly => Model("L2"),
    /// The relay does not ring for a word that it sees for the first time.
    NotifyRelayFirstSilent => Model("L2"),
    /// The relay sleeps on what the word holds by then, not on what it rang for.
    NotifyRelaySampledLate => Model("L2"),
    /// The relay moves the doorbell's sequence only if somebody sleeps.
    NotifyRingUnannounced => Model("L2"),
    /// No Release fence behind the odd generation.
    SeqlockNoReleaseFence => Model("L3"),
    /// No Acquire fence before the second look at the generation.
    SeqlockNoAcquireFence => Model("L3"),
    /// The first look at the generation is Relaxed.
    SeqlockRelaxedBegin => Model("L3"),
    /// The even generation is stored Relaxed.
    SeqlockRelaxedEnd => Model("L3"),
    /// A reader takes the words while the generation is odd.
    SeqlockOddAccepted => Model("L3"),
    /// The segment is sealed before its last record is committed.
    SealBeforeLastCommit => Model("L4"),
    /// The reader moves on at a seal without a second look at its slot.
    SealNoSecondLook => Model("L4"),
    /// The seal is loaded Relaxed.
    SealLoadRelaxed => Model("L4"),
    /// The seal is stored Relaxed.
    SealStoreRelaxed => Model("L4"),
    /// The wait does not count a seal as something to wake for.
    WaitIgnoresRoll => Model("L5"),
    /// The remover looks at positions without a barrier behind its announcement.
    RetentionNoRemoverBarrier => Model("L6"),
    /// The remover does not look at positions again once it has announced how far it goes.
    RetentionNoRescan => Model("L6"),
    /// The announcement goes back below what was removed.
    RetentionFloorLowered => Model("L6"),
    /// The joining reader looks at the announcement without a barrier behind its position.
    RetentionNoJoinerBarrier => Model("L6"),
    /// The epoch is begun by a load and a store.
    LeasePlainBegin => Model("L7"),
    /// The epoch that is begun is the one that was in force.
    LeaseEpochReused => Model("L7"),
    /// The writer does not look at the epoch before it stores a record.
    LeaseUnchecked => Model("L7"),
    /// The writer does not look at the epoch behind a record.
    LeaseNotRechecked => Model("L7"),
    /// The writer looks at the epoch without a barrier behind its record.
    LeaseNoHolderBarrier => Model("L7"),
    /// Who takes over looks for records without a barrier behind its epoch.
    LeaseNoTakerBarrier => Model("L7"),
    /// Who takes over does not look for records again once it has begun its epoch.
    LeaseNoRescan => Model("L7"),
    /// Who takes over clears what lies behind the end before it begins its epoch.
    LeaseClearedEarly => Model("L7"),
    /// Records of any epoch are taken for ones of the epoch in force.
    LeaseEpochUnheeded => Model("L7"),
    /// The writer that finds its epoch ended looks for the reason without an Acquire fence.
    LeaseReasonUnordered => Model("L7"),
    /// What was made for another tag is taken.
    HandoffStaleTaken => Model("L8"),
    /// A thing is handed over although it is not wanted any more.
    HandoffPutUnchecked => Model("L8"),
    /// Whoever goes to the cell where things change hands does not see what was done there before.
    HandoffTakeRelaxed => Model("L8"),
    /// A second thread goes to the cell where things change hands.
    HandoffCrowded => Model("L8"),
    /// The same slot is written every time.
    SlotsAlwaysFirst => Model("L9"),
    /// A slot is taken without its checksum.
    SlotsUnchecked => Model("L9"),
    /// The word behind the record is cleared after the commit.
    NextClearedAfterCommit => Model("L10"),
    /// The word behind the record is not cleared.
    NextNotCleared => Model("L10"),
    /// A reader of torn words tries again until they are whole.
    SeqlockSpinsOn => Model("L11"),
    /// A reader of torn words makes their generation even.
    SeqlockReaderMends => Model("L11"),
    /// A reader at the end of an open segment seals it.
    SealByReader => Model("L11"),
    /// The watermark moves before the sync that makes it true.
    WatermarkBeforeSync => Model("L12"),
    /// The watermark moves although the sync failed.
    WatermarkAfterFailedSync => Model("L12"),
    /// The watermark is stored Relaxed.
    WatermarkStoreRelaxed => Model("L12"),
    /// The watermark is taken without a look at its complement.
    WatermarkUnchecked => Model("L12"),
    /// A watermark that was left between two values counts as none.
    WatermarkLeftUnknown => Model("L12"),
    /// Of the two values of a watermark that was left, the higher one counts.
    WatermarkLeftHigher => Model("L12"),
    /// The checksums of records do not begin with the segment's salt.
    ChecksumUnsalted => Simulator,
    /// A queue's first segment gets its name before it is on the medium.
    FirstSegmentNotSynced => Simulator,
    /// The new epoch is not synced before records carry it.
    EpochNotSynced => Simulator,
    /// Names are not synced when a writer opens.
    OpenNamesNotSynced => Simulator,
    /// Recovery begins at the hint.
    RecoveryFromHint => Simulator,
    /// Recovery takes records without their checksums.
    RecoveryUnchecked => Simulator,
    /// Recovery cuts below the durable watermark.
    RecoveryCutsDurable => Simulator,
    /// Recovery takes what it found for durable.
    RecoveryMovesWatermark => Simulator,
    /// Recovery leaves the seal of the segment in which the log ends.
    RecoveryKeepsSeal => Simulator,
    /// Recovery appends behind a seal whose removal is not on the medium.
    UnsealNotSynced => Simulator,
    /// The watermark is stored and synced before the data is.
    WatermarkBeforeData => Simulator,
    /// A flush goes on behind a failed sync.
    FailedSyncIgnored => Simulator,
    /// A failed sync is tried again.
    FailedSyncRetried => Simulator,
    /// A flush does not sync names.
    FlushNamesNotSynced => Simulator,
    /// A flush does not sync the segments before the one that is being written to.
    FlushSealedNotSynced => Simulator,
    /// Segments are removed before the checkpoint that says so is on the medium.
    RetentionNotSynced => Simulator,
    /// Segments are removed, and only then the checkpoint says so.
    RetentionSaidLate => Simulator,
    /// The head of the segment that the log is to begin with is not synced.
    RetentionHeadNotSynced => Simulator,
    /// The name of the segment that the log is to begin with is not synced.
    RetentionNamesNotSynced => Simulator,
    /// What is left of removed segments is taken for a part of the log.
    LeftoversRead => Simulator,
    /// A flush that stores the checkpoint forgets where the log begins.
    CheckpointForgetsFirst => Simulator,
    /// The segment that a reader is in is removed too.
    RetentionRemovesOneMore => Simulator,
    /// The name of a reader is not synced when it registers.
    ReaderNameNotSynced => Simulator,
    /// A reader goes on in the epoch of its position, whatever records of the queue are there now.
    ReaderEpochKept => Simulator,
    /// The checksums of records leave their length out.
    ChecksumWithoutLength => test(
        "checksums",
        "a_record_whose_length_rotted_is_not_given_out_shorter",
    ),
    /// The checksums of records leave their sequence number out.
    ChecksumWithoutSeq => test("checksums", "a_gap_whose_number_rotted_is_damage"),
    /// The checksums of records leave their epoch out.
    ChecksumWithoutEpoch => test("checksums", "a_gap_whose_epoch_rotted_is_damage"),
    /// Recovery leaves what lies behind the end of the log.
    RecoveryKeepsTail => test(
        "recovery",
        "records_behind_a_hole_never_come_back",
    ),
    /// Recovery says that the words of another boot are this one's before it has made them so.
    RecoveryTrustedEarly => test(
        "recovery",
        "a_recovery_that_was_cut_off_comes_to_the_same_end_the_next_time",
    ),
    /// The checkpoint is stored over the only one that there is.
    CheckpointSingleSlot => test(
        "durability",
        "a_checkpoint_that_was_torn_while_it_was_stored_leaves_the_one_before",
    ),
    /// A flush opens segments anew that were open since they were written to.
    FlushOpensAnew => test(
        "durability",
        "a_flush_over_rolls_syncs_what_was_open_all_the_time",
    ),
    /// A segment is sealed behind the records of a batch before they are published.
    BatchSealedEarly => test(
        "append",
        "at_a_seal_every_record_before_it_is_there",
    ),
    /// A new segment gets its name before its start is in it.
    NextNamedUnstarted => test("append", "a_segment_that_has_its_name_is_started"),
    /// A reader goes on in the next segment because it exists.
    NextEnteredUnsealed => test(
        "preallocation",
        "a_reader_waits_at_the_end_of_an_open_segment_whatever_lies_behind_it",
    ),
    /// A reader tries for ever to read words that are torn.
    SeqlockReadUnbounded => test("damage", "a_hint_that_stays_torn_holds_nobody_up"),
    /// A reader moves before it has looked whether the record is whole.
    CursorMovedUnchecked => test(
        "recovery",
        "damage_below_the_durable_watermark_is_refused_and_nothing_changes",
    ),
    /// A reader seals the segment of a writer that died.
    ReaderSealsForDeadWriter => test(
        "readers",
        "a_reader_whose_writer_died_leaves_the_log_to_the_next_one",
    ),
    /// Segments age by the wall clock.
    AgeByWallClock => test(
        "retention_age",
        "steps_of_the_wall_clock_within_a_boot_change_nothing",
    ),
    /// A reader whose file is damaged holds nothing.
    UnreadableReaderIgnored => test(
        "retention",
        "a_reader_whose_file_is_damaged_holds_everything_and_is_named",
    ),
    /// The lock file is removed when a writer closes.
    LockFileRemoved => test(
        "fencing",
        "the_lock_file_is_the_same_one_for_good",
    ),
    /// A file that gets its name replaces the one that has it.
    PublishReplaces => test(
        "preallocation",
        "open_or_create_preserves_preallocated",
    ),
    /// No fault: who says that it saw this one is not to be believed about the others.
    Nothing => Nobody,
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

    extern crate std;

    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::io::Write;

    use super::{Mutant, VARIABLE};

    const NONE: usize = usize::MAX;
    /// Nobody has asked yet.
    const UNREAD: usize = usize::MAX - 1;

    static SELECTED: AtomicUsize = AtomicUsize::new(UNREAD);

    /// Switches one fault on for this process, or all off.
    pub fn select(mutant: Option<Mutant>) {
        SELECTED.store(mutant.map_or(NONE, |m| m as usize), Ordering::SeqCst);
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
        match SELECTED.load(Ordering::SeqCst) {
            UNREAD => {
                select(named_by_environment());
                seeded(mutant)
            }
            selected => selected == mutant as usize,
        }
    }

    /// The fault that [`VARIABLE`] names. A name that is none ends the process: a test that runs
    /// without the fault that it was to run with shows nothing.
    fn named_by_environment() -> Option<Mutant> {
        let name = std::env::var_os(VARIABLE)?;
        let mutant = Mutant::ALL.iter().copied().find(|mutant| name == mutant.name());
        if mutant.is_none() {
            // Not by a macro: the test harness would catch that, and it ends with the process.
            let _ = writeln!(std::io::stderr(), "{VARIABLE}: no fault is named {}", name.display());
            std::process::exit(2);
        }
        mutant
    }
}
