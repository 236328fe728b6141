//! The memory that reading images takes: one bounded cache of tables, one of decompressed blocks.

mod blocks;
mod pool;
mod source;
mod tables;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use blocks::{Blocks, Job};
use pool::Pool;
pub(crate) use source::Source;
pub(crate) use tables::{Entries, Tables};

/// Default limit of each cache, in bytes.
pub const DEFAULT_CACHE_SIZE: u64 = 64 << 20;

/// What all images of a program share: pieces of tables, decompressed blocks, and the threads
/// that decompress ahead of readers.
///
/// Its memory is bounded by its limit for each of the two caches, whatever images claim and
/// however many readers there are.
#[derive(Debug)]
pub struct Caches {
    tables: Tables,
    blocks: Arc<Blocks>,
    pool: Pool,
    next_id: AtomicU64,
}

/// What caches take now, in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Pieces of tables.
    pub tables: u64,
    /// Decompressed blocks.
    pub blocks: u64,
    /// Limit of each of both.
    pub limit: u64,
}

impl Caches {
    /// Caches of at most `limit` bytes each, and `threads` threads that decompress ahead of
    /// sequential readers; with 0 threads readers decompress what they read themselves.
    ///
    /// A limit below 1 MiB counts as 1 MiB.
    pub fn new(limit: u64, threads: usize) -> Arc<Self> {
        let limit = limit.max(1 << 20);
        let blocks = Arc::new(Blocks::new(limit));
        Arc::new(Self {
            tables: Tables::new(limit),
            pool: Pool::new(Arc::clone(&blocks), threads),
            blocks,
            next_id: AtomicU64::new(0),
        })
    }

    /// How much they hold.
    pub fn usage(&self) -> Usage {
        Usage {
            tables: self.tables.used(),
            blocks: self.blocks.used(),
            limit: self.blocks.limit(),
        }
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    pub(crate) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// The threads that decompress ahead.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A number that no other input has.
    pub(crate) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}
