//! Lines of memory that are asked for before they are needed: those of a record come from another processor's cache,
//! one after the other, unless they are asked for at once.
//!
//! Unsafe lives here for the instructions. They are hints: whatever lies at an address, and if nothing does, all that
//! follows is that it may be near. They are assembly, because `_mm_prefetch` needs SSE, without which code for targets
//! with soft floats is compiled, and Arm's function for it is not stable.

/// Bytes of a line on the processors that matter, or a part of one.
const LINE: usize = 64;

/// Asks for the line behind the one at an address, to read it.
#[inline(always)]
pub(crate) fn behind_to_read(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint, which faults nowhere (Intel SDM volume 2B, PREFETCHh).
    unsafe {
        core::arch::asm!(
            "prefetcht0 [{at} + {line}]",
            at = in(reg) at,
            line = const LINE,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: a hint, which faults nowhere (Arm ARM, PRFM).
    unsafe {
        core::arch::asm!(
            "prfm pldl1keep, [{at}, #{line}]",
            at = in(reg) at,
            line = const LINE,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = (at, LINE);
}

/// Asks for the line at an address and for the one behind it, to store to them.
#[inline(always)]
pub(crate) fn two_to_write(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint, which faults nowhere and stores nothing (AMD64 manual volume 3 and Intel SDM volume
    // 2B, PREFETCHW). AMD's processors with long mode have it; Intel's that do not, those before Broadwell, take it for
    // a NOP.
    unsafe {
        core::arch::asm!(
            "prefetchw [{at}]",
            "prefetchw [{at} + {line}]",
            at = in(reg) at,
            line = const LINE,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: a hint, which faults nowhere and stores nothing (Arm ARM, PRFM).
    unsafe {
        core::arch::asm!(
            "prfm pstl1keep, [{at}]",
            "prfm pstl1keep, [{at}, #{line}]",
            at = in(reg) at,
            line = const LINE,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = (at, LINE);
}
