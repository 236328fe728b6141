//! Disks in blocks of one size that a table leads to: what VHD, VHDX, VMDK and VDI have in common.

use std::{fmt, io};

use super::{Defect, Extent, Input, Map, Packed, Place};
use crate::cache::Tables;
use crate::codec::Codec;
use crate::{ByteRange, Disk};

/// How a format leads from the number of a block to its place.
pub(crate) trait Lookup: fmt::Debug + Send + Sync {
    /// What the table with the entries is called in messages.
    const TABLE: &'static str;
    /// Number of bytes of an entry.
    const ENTRY: usize;
    /// Where the entry of block `number` stands.
    ///
    /// # Errors
    ///
    /// [`Damage`](super::Damage) if what leads there is damaged; the file's own error.
    fn slot(&self, tables: &Tables, input: &Input, number: u64) -> io::Result<Slot>;

    /// Where an entry says that block `number` lies.
    ///
    /// # Errors
    ///
    /// [`Damage`](super::Damage) if it says nothing that the format allows; the file's own error.
    fn block(&self, tables: &Tables, entry: &Entry<'_>) -> io::Result<Block>;

    /// Whether blocks may be compressed.
    fn has_packed(&self) -> bool {
        false
    }
}

/// Where the entry of a block stands.
pub(crate) enum Slot {
    /// In a table whose entries follow one another.
    Entry {
        /// The whole table.
        table: ByteRange,
        /// Which of its entries.
        index: u64,
    },
    /// There is no table for this many blocks from this one on: they are zeros.
    Zeros(u64),
}

/// An entry of a table, and what stands around it.
pub(crate) struct Entry<'a> {
    /// The file.
    pub(crate) input: &'a Input,
    /// Number of the block.
    pub(crate) number: u64,
    /// Offset of the entry in the file.
    pub(crate) offset: u64,
    /// The table that it stands in.
    pub(crate) table: ByteRange,
    /// The entry's bytes.
    pub(crate) bytes: &'a [u8],
}

impl Entry<'_> {
    /// The entry holds a value that its format does not allow.
    pub(crate) fn damage(&self, table: &'static str) -> io::Error {
        self.input.damage(table, self.offset, Defect::Value).into()
    }
}

/// Where a block lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Block {
    /// Nowhere: it is zeros.
    Zeros,
    /// Its first byte lies at this offset of the file.
    Plain(u64),
    /// Compressed in these bytes of the file.
    Packed(ByteRange, Codec),
}

/// The map of a disk in blocks.
#[derive(Debug)]
pub(crate) struct Blocks<L> {
    /// The file with the table and the blocks.
    pub(crate) input: Input,
    /// Its number among the map's inputs.
    pub(crate) number: usize,
    /// Number of bytes of the disk.
    pub(crate) size: u64,
    /// Number of bytes of a block, at least 1.
    pub(crate) block_size: u64,
    /// Where the tables lie that lead to blocks. No block may lie there.
    pub(crate) reserved: Vec<ByteRange>,
    /// How the format leads to blocks.
    pub(crate) lookup: L,
}

impl<L: Lookup> Blocks<L> {
    /// The bytes of the disk that block `number` holds.
    fn range(&self, number: u64) -> ByteRange {
        let start = number.saturating_mul(self.block_size);
        ByteRange::at(start, self.block_size).intersect(ByteRange::new(0, self.size))
    }

    /// Checks that a block, or the beginning of it, may lie in `data`. Where it ends is checked when it is read: the last
    /// block may be as short as the disk.
    fn check(&self, entry: &Entry<'_>, data: ByteRange) -> io::Result<()> {
        let overlaps = |table: &ByteRange| !table.intersect(data).is_empty();
        let defect = if data.start() >= self.input.size() {
            Defect::PastEnd
        } else if self.reserved.iter().any(overlaps) || overlaps(&entry.table) {
            Defect::Overlap
        } else {
            return Ok(());
        };
        let damage = self.input.damage("the block", data.start(), defect);
        Err(damage.into())
    }

    fn block(&self, tables: &Tables, entry: &Entry<'_>) -> io::Result<Block> {
        let block = self.lookup.block(tables, entry)?;
        match block {
            Block::Zeros => {}
            Block::Plain(offset) => {
                let length = self.range(entry.number).len();
                self.check(entry, ByteRange::at(offset, length))?;
            }
            // How long it is in the file need not be known.
            Block::Packed(data, _) => self.check(entry, ByteRange::at(data.start(), 1))?,
        }
        Ok(block)
    }

    /// The extent from `start` on in a run that begins with `first` and ends at `end`.
    fn extent(&self, first: Block, block: ByteRange, run: ByteRange) -> Extent {
        let place = match first {
            Block::Zeros => Place::Zeros,
            Block::Plain(offset) => Place::Plain {
                input: self.number,
                offset: offset + (run.start() - block.start()),
            },
            Block::Packed(data, codec) => Place::Packed(Packed {
                input: self.number,
                data,
                block,
                codec,
            }),
        };
        Extent {
            length: run.len(),
            place,
        }
    }
}

impl<L: Lookup> Map for Blocks<L> {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, tables: &Tables, range: ByteRange) -> io::Result<Extent> {
        let number = range.start() / self.block_size;
        let wanted = (range.end() - 1) / self.block_size - number + 1;
        let cut = |blocks: u64| {
            let end = self.range(number + (blocks - 1)).end();
            range.intersect(ByteRange::new(range.start(), end))
        };
        let (table, index) = match self.lookup.slot(tables, &self.input, number)? {
            Slot::Entry { table, index } => (table, index),
            Slot::Zeros(count) => {
                let run = cut(count.clamp(1, wanted));
                return Ok(self.extent(Block::Zeros, run, run));
            }
        };
        let offset = table
            .start()
            .saturating_add(index.saturating_mul(L::ENTRY as u64));
        let count = ByteRange::new(offset, table.end()).len() / L::ENTRY as u64;
        let count = count.clamp(1, wanted);
        let entries = tables.entries(&self.input, L::TABLE, offset, L::ENTRY, count)?;
        let mut entries = (0..)
            .zip(entries.chunks_exact(L::ENTRY))
            .map(|(n, bytes)| Entry {
                input: &self.input,
                number: number + n,
                offset: offset + n * L::ENTRY as u64,
                table,
                bytes,
            });
        let Some(entry) = entries.next() else {
            return Err(self.input.damage(L::TABLE, offset, Defect::PastEnd).into());
        };
        let first = self.block(tables, &entry)?;
        let bytes = entry.bytes;
        let continues = |n: u64, next: Block| match (first, next) {
            (Block::Zeros, Block::Zeros) => true,
            (Block::Plain(first), Block::Plain(next)) => {
                next.checked_sub(first) == n.checked_mul(self.block_size)
            }
            _ => false,
        };
        let mut blocks = 1;
        for entry in entries.take_while(|_| !matches!(first, Block::Packed(..))) {
            // Large tables are mostly the same entry over and over.
            if first == Block::Zeros && entry.bytes == bytes {
                blocks += 1;
                continue;
            }
            match self.block(tables, &entry) {
                Ok(next) if continues(blocks, next) => blocks += 1,
                // A reader of that block gets the error.
                _ => break,
            }
        }
        Ok(self.extent(first, self.range(number), cut(blocks)))
    }

    fn has_packed(&self) -> bool {
        self.lookup.has_packed()
    }
}
