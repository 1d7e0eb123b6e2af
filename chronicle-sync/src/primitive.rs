//! The one place that names an atomic: `core`'s, or loom's under `cfg(chronicle_loom)`.
#![allow(clippy::disallowed_types, reason = "this is the module that the ban points to")]

#[cfg(not(chronicle_loom))]
pub use core::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(not(chronicle_loom))]
pub(crate) use core::{
    hint::spin_loop,
    sync::atomic::{Ordering, compiler_fence, fence},
};

#[cfg(chronicle_loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(chronicle_loom)]
pub(crate) use loom::{
    hint::spin_loop,
    sync::atomic::{Ordering, fence},
};

/// loom's cell, or one with the same way in.
#[cfg(chronicle_loom)]
pub(crate) use loom::cell::UnsafeCell;

#[cfg(not(chronicle_loom))]
pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(chronicle_loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

/// How shared words are loaded that an Acquire fence may follow. The thread sanitizer knows nothing of
/// fences and would take every payload for a race, so for it alone the loads are Acquire ones.
const LOAD: Ordering = if cfg!(chronicle_tsan) { Ordering::Acquire } else { Ordering::Relaxed };

/// A shared 32-bit word that may lie on a page mapped read-only: it can be loaded and nothing else.
#[derive(Clone, Copy)]
pub struct ReadU32<'r>(&'r AtomicU32);

/// A shared 64-bit word that may lie on a page mapped read-only: it can be loaded and nothing else.
#[derive(Clone, Copy)]
pub struct ReadU64<'r>(&'r AtomicU64);

macro_rules! read_word {
    ($name:ident, $atomic:ident, $int:ident) => {
        impl<'r> From<&'r $atomic> for $name<'r> {
            fn from(word: &'r $atomic) -> Self {
                Self(word)
            }
        }

        impl<'r> $name<'r> {
            /// Loads the word, and orders every later access behind the store that it saw.
            ///
            /// This is an Acquire load written as a Relaxed one and a fence: on pages that are
            /// mapped read-only the standard library promises no more than Relaxed loads of up to
            /// eight bytes (`core::sync::atomic`, "Atomic accesses to read-only memory").
            #[inline(always)]
            #[must_use]
            pub fn load_acquire(self) -> $int {
                let value = self.0.load(LOAD);
                fence(Ordering::Acquire);
                value
            }

            /// Loads the word and orders nothing.
            #[inline(always)]
            #[must_use]
            pub fn load_relaxed(self) -> $int {
                self.0.load(LOAD)
            }

            /// The word, for a wait on it that does not store to it.
            #[must_use]
            pub fn as_atomic(self) -> &'r $atomic {
                self.0
            }
        }

        impl core::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{}({:#x})", stringify!($name), self.load_relaxed())
            }
        }
    };
}

read_word!(ReadU32, AtomicU32, u32);
read_word!(ReadU64, AtomicU64, u64);
