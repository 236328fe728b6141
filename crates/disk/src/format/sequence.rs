//! Whether reads follow one another.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::ByteRange;

/// Number of readers of one image that are distinguished.
const READERS: usize = 8;
/// How many reads may lie between where one ended and the next begins: the kernel sends several at
/// a time, in any order.
const NEAR: u64 = 8;
/// How much is decoded ahead for each thread at least, and for all of them at most, in bytes.
const AHEAD: (u64, u64) = (64 << 10, 4 << 20);

/// Where the last reads of an image ended.
#[derive(Debug)]
pub(super) struct Sequence {
    ends: [AtomicU64; READERS],
    next: AtomicUsize,
}

impl Default for Sequence {
    fn default() -> Self {
        Self {
            // The first read of an image begins a sequence only at its beginning.
            ends: std::array::from_fn(|number| {
                AtomicU64::new(if number == 0 { 0 } else { u64::MAX })
            }),
            next: AtomicUsize::new(1),
        }
    }
}

impl Sequence {
    /// Number of blocks that are decoded ahead at most.
    pub(super) const MAX_BLOCKS: usize = 64;

    /// What to decode for a read of `range` of a disk of `size` bytes beside what it needs first: the rest of it
    /// and what follows, more for more `threads`. `None` if the read continues no other.
    pub(super) fn next(&self, range: ByteRange, size: u64, threads: usize) -> Option<ByteRange> {
        let gap = range.len().saturating_mul(NEAR);
        let near = |end: u64| range.end() >= end && range.start() <= end.saturating_add(gap);
        for slot in &self.ends {
            let end = slot.load(Ordering::Relaxed);
            if near(end) {
                slot.store(range.end(), Ordering::Relaxed);
                let ahead = range.len().max(AHEAD.0).saturating_mul(threads as u64);
                let ahead = ahead.min(AHEAD.1);
                let end = range.end().saturating_add(ahead).min(size);
                return Some(ByteRange::new(range.start(), end));
            }
        }
        let oldest = self.next.fetch_add(1, Ordering::Relaxed) % READERS;
        self.ends[oldest].store(range.end(), Ordering::Relaxed);
        None
    }
}
