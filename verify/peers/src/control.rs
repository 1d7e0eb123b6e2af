//! A page that both sides of a measurement share: to begin together, and to keep a distance.
//!
//! Unsafe lives here because words of a mapped file are made references to atomics.
#![allow(clippy::disallowed_types, reason = "words of the harness, which is no part of the engine")]

use std::fs::File;
use std::hint;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use memmap2::{MmapOptions, MmapRaw};

/// Each word has two cache lines to itself, because processors fetch them in pairs.
const STRIDE: usize = 128;
const WORDS: usize = 8;
/// How long one side waits for the other before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The shared page, as one side has it mapped.
pub struct Control {
    map: MmapRaw,
}

impl Control {
    /// Makes the page, before either side starts.
    pub fn create(path: &Path) -> Result<()> {
        File::create_new(path)?.set_len((STRIDE * WORDS) as u64)?;
        // ORDER: Relaxed: nobody else has the page yet.
        Self::open(path)?.total().store(u64::MAX, Ordering::Relaxed);
        Ok(())
    }

    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Self { map: MmapOptions::new().len(STRIDE * WORDS).map_raw(&file)? })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        let at = self.map.as_mut_ptr().wrapping_add(index * STRIDE);
        // SAFETY: the mapping has `WORDS` words, `index` is one of the constants below, the address is
        // aligned to 128 bytes, and every process accesses it as an atomic only.
        unsafe { AtomicU64::from_ptr(at.cast()) }
    }

    /// Waits until the other side has come to the same point as well.
    pub fn meet(&self) -> Result<()> {
        const ARRIVED: usize = 0;
        let arrived = self.word(ARRIVED);
        // ORDER: AcqRel, with the Acquire load below: what a side did before it came is done.
        let mine = arrived.fetch_add(1, Ordering::AcqRel);
        let both = mine / 2 * 2 + 2;
        let since = Instant::now();
        while arrived.load(Ordering::Acquire) < both {
            if since.elapsed() > PATIENCE {
                bail!("the other side did not come");
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// How many messages were sent, as far as was said.
    #[inline(always)]
    pub fn sent(&self) -> &AtomicU64 {
        self.word(1)
    }

    /// How many messages were received, as far as was said.
    #[inline(always)]
    pub fn received(&self) -> &AtomicU64 {
        self.word(2)
    }

    /// How many messages there will be: `u64::MAX` until the sender knows.
    #[inline(always)]
    pub fn total(&self) -> &AtomicU64 {
        self.word(3)
    }

    /// Waits until a word has reached a value.
    pub fn wait_for(&self, word: &AtomicU64, value: u64) -> Result<()> {
        let since = Instant::now();
        let mut rounds = 0u32;
        // ORDER: Acquire, with the Release stores of whoever counts.
        while word.load(Ordering::Acquire) < value {
            rounds = rounds.wrapping_add(1);
            if rounds.is_multiple_of(1 << 16) && since.elapsed() > PATIENCE {
                bail!("the other side stands still");
            }
            hint::spin_loop();
        }
        Ok(())
    }
}
