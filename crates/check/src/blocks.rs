//! The blocks of a disk that were read last.
//!
//! Parsers of file systems read a few hundred bytes at a time, and many of them again and again.

use std::io;
use std::num::NonZeroUsize;
use std::rc::Rc;

use lru::LruCache;

/// Size of a block, in bytes.
pub(crate) const BLOCK: usize = 16 << 10;
/// Most blocks that are kept: 32 MiB.
const MAX_BLOCKS: NonZeroUsize = NonZeroUsize::new(2048).unwrap();
/// Reads of this size and more, in bytes, go past the cache.
const LARGE: usize = 4 * BLOCK;

/// The blocks by their numbers.
pub(crate) struct Blocks(LruCache<u64, Rc<[u8]>>);

impl Default for Blocks {
    fn default() -> Self {
        Self(LruCache::new(MAX_BLOCKS))
    }
}

impl Blocks {
    /// Whether a read of this size is answered from blocks.
    pub(crate) fn take(size: usize) -> bool {
        size < LARGE
    }

    /// Copies bytes of a disk of `size` bytes; `read` reads the blocks that are not here. The
    /// range lies on the disk.
    pub(crate) fn copy(
        &mut self,
        buffer: &mut [u8],
        offset: u64,
        size: u64,
        read: &dyn Fn(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let number = at / BLOCK as u64;
            let inside = (at % BLOCK as u64) as usize;
            let block = self.block(number, size, read)?;
            let count = (block.len() - inside).min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&block[inside..inside + count]);
            done += count;
        }
        Ok(())
    }

    fn block(
        &mut self,
        number: u64,
        size: u64,
        read: &dyn Fn(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<Rc<[u8]>> {
        if let Some(block) = self.0.get(&number) {
            return Ok(Rc::clone(block));
        }
        let start = number * BLOCK as u64;
        let length = (size - start).min(BLOCK as u64) as usize;
        let mut bytes = vec![0; length];
        read(&mut bytes, start)?;
        let block: Rc<[u8]> = bytes.into();
        self.0.put(number, Rc::clone(&block));
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    proptest! {
        #[test]
        fn what_is_copied_is_what_is_there(
            size in 1..200_000_usize,
            ranges in prop::collection::vec((0..200_000_usize, 0..70_000_usize), 1..30),
        ) {
            let disk: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let reads = Cell::new(0);
            let read = |buffer: &mut [u8], offset: u64| {
                let at = offset as usize;
                buffer.copy_from_slice(&disk[at..at + buffer.len()]);
                reads.set(reads.get() + 1);
                Ok(())
            };
            let mut blocks = Blocks::default();
            for (at, length) in ranges {
                let at = at % size;
                let length = length.min(size - at);
                let mut buffer = vec![0; length];
                blocks.copy(&mut buffer, at as u64, size as u64, &read).unwrap();
                prop_assert_eq!(&buffer[..], &disk[at..at + length]);
            }
            // Each block was read once, as all of them fit.
            prop_assert!(reads.get() <= size.div_ceil(BLOCK));
        }
    }
}
