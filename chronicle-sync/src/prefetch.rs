//! Lines of memory that are asked for before they are needed: those of a record come from another processor's cache,
//! one after the other, unless they are asked for at once.
//!
//! Unsafe lives here for the instructions. They are hints: whatever lies at an address, and if nothing does, all that
//! follows is that it may be near. They are assembly, because `_mm_prefetch` needs SSE, without which code for targets
//! with soft floats is compiled, and Arm's function for it is not stable.

/// Bytes of a line on the processors that matter, or a part of one.
const LINE: usize = 64;

/// The instructions of this processor, in which `at` is an address and `line` the bytes of a line.
macro_rules! hint {
    ($at:ident, x86_64: [$($x86:literal),+], aarch64: [$($arm:literal),+]) => {{
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        hint!(@ $at, $($x86),+);
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        hint!(@ $at, $($arm),+);
        #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
        let _ = ($at, LINE);
    }};
    (@ $at:ident, $($instruction:literal),+) => {
        // SAFETY: hints, which fault nowhere and store nothing (Intel SDM volume 2B, PREFETCHh and PREFETCHW; AMD64 manual
        // volume 3, PREFETCHW; Arm ARM, PRFM). AMD's processors with long mode have PREFETCHW; Intel's that do not,
        // those before Broadwell, take it for a NOP.
        unsafe {
            core::arch::asm!(
                $($instruction,)+
                at = in(reg) $at,
                line = const LINE,
                options(nostack, preserves_flags, readonly)
            );
        }
    };
}

/// Asks for the line behind the one at an address, to read it.
#[inline(always)]
pub(crate) fn behind_to_read(at: *const u8) {
    hint!(
        at,
        x86_64: ["prefetcht0 [{at} + {line}]"],
        aarch64: ["prfm pldl1keep, [{at}, #{line}]"]
    );
}

/// Asks for the line at an address and for the one behind it, to store to them.
#[inline(always)]
pub(crate) fn two_to_write(at: *const u8) {
    hint!(
        at,
        x86_64: ["prefetchw [{at}]", "prefetchw [{at} + {line}]"],
        aarch64: ["prfm pstl1keep, [{at}]", "prfm pstl1keep, [{at}, #{line}]"]
    );
}
