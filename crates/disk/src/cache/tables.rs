//! Pieces of the tables of images.

use std::io;
use std::num::NonZeroUsize;
use std::ops::{Deref, Range};
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::format::{Defect, Input};
use crate::{ByteRange, Disk};

/// Bytes of one piece: small, so that random reads of a large image read little.
const PIECE_SIZE: u64 = 4096;
/// What a piece costs beside its bytes.
const OVERHEAD: u64 = 160;
/// Number of parts of the cache, each with a lock of its own.
const SHARDS: usize = 16;

/// Number of an input, and of a piece in it.
type Key = (u64, u64);

/// A bounded cache of pieces of files, through which all tables are read.
#[derive(Debug)]
pub(crate) struct Tables {
    shards: [Mutex<LruCache<Key, Arc<[u8]>>>; SHARDS],
}

/// Whole entries of a table that lie next to each other.
#[derive(Debug)]
pub(crate) struct Entries {
    bytes: Arc<[u8]>,
    range: Range<usize>,
}

impl Deref for Entries {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}

impl Tables {
    /// A cache of at most `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        let pieces = limit / (PIECE_SIZE + OVERHEAD) / SHARDS as u64;
        let pieces = usize::try_from(pieces).ok().and_then(NonZeroUsize::new);
        Self {
            // An LruCache made with a capacity takes memory for it at once.
            shards: std::array::from_fn(|_| {
                let mut shard = LruCache::unbounded();
                shard.resize(pieces.unwrap_or(NonZeroUsize::MIN));
                Mutex::new(shard)
            }),
        }
    }

    /// Bytes that it takes, each piece counted as a whole one.
    pub(super) fn used(&self) -> u64 {
        let pieces = self.shards.iter().map(|shard| shard.lock().len() as u64);
        pieces.sum::<u64>() * (PIECE_SIZE + OVERHEAD)
    }

    /// Entries of `size` bytes each of the table `table` ("the L2 table"), beginning with the one at `offset`: at
    /// least one, at most `count`, as many as lie in one piece.
    ///
    /// # Errors
    ///
    /// [`Damage`] if the first entry does not lie in the file; the file's own error.
    pub(crate) fn entries(
        &self,
        input: &Input,
        table: &'static str,
        offset: u64,
        size: usize,
        count: u64,
    ) -> io::Result<Entries> {
        let first = ByteRange::at(offset, size as u64);
        input.check_inside(table, first)?;
        let start = (offset % PIECE_SIZE) as usize;
        let bytes = self.piece(input, offset / PIECE_SIZE)?;
        let whole = bytes.len().saturating_sub(start) / size;
        let count = whole.min(usize::try_from(count).unwrap_or(usize::MAX));
        if count > 0 {
            let range = start..start + count * size;
            return Ok(Entries { bytes, range });
        }
        // The entry lies on both sides of the end of a piece.
        let mut entry = vec![0; size];
        self.read(input, table, &mut entry, offset)?;
        Ok(Entries {
            bytes: entry.into(),
            range: 0..size,
        })
    }

    /// Fills `buffer` with the bytes at `offset` of `table`, which may lie in several pieces.
    ///
    /// # Errors
    ///
    /// [`Damage`] if they do not lie in the file; the file's own error.
    pub(crate) fn read(
        &self,
        input: &Input,
        table: &'static str,
        buffer: &mut [u8],
        offset: u64,
    ) -> io::Result<()> {
        let range = ByteRange::at(offset, buffer.len() as u64);
        if range.len() != buffer.len() as u64 {
            return Err(input.damage(table, offset, Defect::PastEnd).into());
        }
        input.check_inside(table, range)?;
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let piece = self.piece(input, at / PIECE_SIZE)?;
            let found = piece
                .get((at % PIECE_SIZE) as usize..)
                .filter(|found| !found.is_empty())
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            let count = found.len().min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&found[..count]);
            rest = later;
            at += count as u64;
        }
        Ok(())
    }

    fn piece(&self, input: &Input, number: u64) -> io::Result<Arc<[u8]>> {
        let key = (input.id(), number);
        // Pieces of one table lie next to each other: they should not fall into one part.
        let shard = &self.shards[(input.id().wrapping_add(number) % SHARDS as u64) as usize];
        let oldest = {
            let mut shard = shard.lock();
            if let Some(piece) = shard.get(&key) {
                return Ok(Arc::clone(piece));
            }
            let is_full = shard.len() >= shard.cap().get();
            is_full.then(|| shard.pop_lru()).flatten()
        };
        let range = ByteRange::at(number * PIECE_SIZE, PIECE_SIZE);
        let range = range.intersect(ByteRange::new(0, input.size()));
        let mut piece = memory(oldest.map(|(_, piece)| piece), range.len() as usize);
        let bytes = Arc::get_mut(&mut piece).ok_or(io::ErrorKind::OutOfMemory)?;
        input.read_exact_at(bytes, range.start())?;
        shard.lock().put(key, Arc::clone(&piece));
        Ok(piece)
    }
}

/// Memory for a piece: that of the one that gives way if nobody reads it, so that memory which threads free for one
/// another does not pile up.
fn memory(oldest: Option<Arc<[u8]>>, length: usize) -> Arc<[u8]> {
    let free = oldest.filter(|piece| piece.len() == length && Arc::strong_count(piece) == 1);
    free.unwrap_or_else(|| Arc::from([0; PIECE_SIZE as usize].get(..length).unwrap_or_default()))
}
