//! The macOS backend of Chronicle's seam: a queue is a directory, an object is a file in it.
//!
//! `MacosPlatform` is made from a file descriptor of the queue's directory and implements
//! [`Platform`](chronicle_sync::Platform): files mapped into memory
//! (`MacosStorage`), sleeps on shared words (`MacosPark`), and the clock that all processes of a
//! boot share (`MacosClock`). `MacosWatch` is optional. Its files are those of
//! `chronicle-platform-linux`; `darwin.rs`, which holds all that no library declares; and `space.rs`,
//! since there is no call for what `fallocate(2)` does.
//!
//! Nothing allocates but the C library, which does while it lists a directory (`opendir(3)`); and
//! nothing takes a path: a program that wants paths opens the directory itself, as `chronicle-std`
//! does.
//!
//! # Forks
//!
//! A process that forks while it has a queue open must not use the queue in the child. Mappings
//! that can be stored to do not exist there (`minherit(2)`), and a lock that the parent holds
//! belongs to the open file, which the child shares until it calls `exec` (`flock(2)`, NOTES): it is
//! released when the parent lets it go, or else when both are gone.
//!
//! # On Linux
//!
//! With `cfg(chronicle_darwin_shim)` the same source is built for Linux and linked with
//! `verify/darwin-shim`, which makes Darwin's calls out of Linux ones. `cargo xtask platforms` tests it
//! like that. It shows what the source does with the calls as they are documented, and nothing of
//! what Darwin does.
#![no_std]
#![cfg(any(target_os = "macos", chronicle_darwin_shim))]

#[cfg(chronicle_darwin_shim)]
extern crate chronicle_darwin_shim as _;

mod clock;
mod darwin;
mod error;
mod file_system;
mod lock;
mod park;
mod platform;
mod region;
mod rescue;
mod space;
mod storage;
mod watch;

pub use clock::MacosClock;
pub use error::{Call, MacosError};
pub use lock::MacosGuard;
pub use park::MacosPark;
pub use platform::MacosPlatform;
pub use region::{MacosMap, MacosView};
pub use rustix::fd::{AsFd, OwnedFd};
pub use storage::{MacosStaged, MacosStorage};
pub use watch::MacosWatch;
