//! The Linux backend of Chronicle's seam: a queue is a directory, an object is a file in it.
//!
//! [`LinuxPlatform`] is made from a file descriptor of the queue's directory and implements
//! [`Platform`](chronicle_sync::Platform): files mapped into memory
//! ([`LinuxStorage`]), futexes and memory barriers across processes ([`LinuxPark`]), and the clock
//! that all processes of a boot share ([`LinuxClock`]). [`LinuxWatch`] is optional.
//!
//! Nothing allocates, and nothing takes a path: a program that wants paths opens the directory
//! itself, as `chronicle-std` does.
//!
//! # Forks
//!
//! A process that forks while it has a queue open must not use the queue in the child. Mappings
//! that can be stored to do not exist there (`MADV_DONTFORK`), and a lock that the parent holds
//! belongs to the open file description, which the child shares until it calls `exec`
//! (`fcntl_locking(2)`, "Open file description locks"): it is released when the parent lets it go, or
//! else when both are gone.
#![no_std]
#![cfg(target_os = "linux")]

mod clock;
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

pub use clock::LinuxClock;
pub use error::{Call, LinuxError};
pub use lock::LinuxGuard;
pub use park::LinuxPark;
pub use platform::LinuxPlatform;
pub use region::{LinuxMap, LinuxView};
pub use rustix::fd::{AsFd, OwnedFd};
pub use storage::{LinuxStaged, LinuxStorage};
pub use watch::LinuxWatch;
