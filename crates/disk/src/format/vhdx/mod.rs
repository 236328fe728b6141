//! VHDX, fixed and dynamic, after [MS-VHDX] 1.0.
//!
//! Blocks that the guest trimmed or never wrote read as zeros, as in QEMU, also where their entry still names a place.

mod metadata;
mod regions;

use std::io;

use metadata::Metadata;
use regions::Regions;

use super::blocks::{Block, Blocks, Entry, Lookup, Slot};
use super::{Context, Defect, Details, Format, Input, Kind, Parsed, Reading, Stop};
use crate::ByteRange;
use crate::cache::Tables;

pub(super) const KIND: Kind = Kind {
    name: "vhdx",
    title: "VHDX",
    qemu_name: None,
    extensions: &["vhdx", "avhdx"],
    recognise: |probe| probe.has(0, b"vhdxfile"),
    reading: Reading::Parse(parse),
};

fn parse(context: &mut Context<'_>) -> Result<Parsed, Stop> {
    let input = context.input().clone();
    let regions = Regions::read(&input)?;
    let metadata = Metadata::read(&input, context.caches().tables(), regions.metadata)?;
    let blocks = metadata.size.div_ceil(metadata.block_size);
    // The entry of a sector bitmap follows each chunk but the last.
    let entries = blocks + blocks.saturating_sub(1) / metadata.chunk_ratio;
    let table = ByteRange::at(regions.bat.start(), entries * Table::ENTRY as u64);
    if table.len() > regions.bat.len() {
        let damage = input.damage(Table::TABLE, table.start(), Defect::Value);
        return Err(damage.into());
    }
    input.check_inside(Table::TABLE, table)?;
    let map = Blocks {
        number: 0,
        size: metadata.size,
        block_size: metadata.block_size,
        reserved: regions.all,
        lookup: Table {
            offset: table.start(),
            chunk_ratio: metadata.chunk_ratio,
        },
        input: input.clone(),
    };
    Ok(Parsed::of_one_file(
        map,
        input,
        Details {
            block_size: Some(metadata.block_size),
            ..Details::new(Format::VHDX)
        },
    ))
}

/// The block allocation table: entries of blocks, and after each chunk of them that of its sector bitmap.
#[derive(Debug)]
struct Table {
    offset: u64,
    /// Number of blocks of a chunk.
    chunk_ratio: u64,
}

/// 2.5.1.1, "Payload BAT Entry States".
mod state {
    pub(super) const MASK: u64 = 7;
    pub(super) const NOT_PRESENT: u64 = 0;
    pub(super) const UNDEFINED: u64 = 1;
    pub(super) const ZERO: u64 = 2;
    pub(super) const UNMAPPED: u64 = 3;
    /// The same in version 0.95 of the format, which QEMU reads as well.
    pub(super) const UNMAPPED_095: u64 = 5;
    pub(super) const FULLY_PRESENT: u64 = 6;
}

/// Bits 20 to 63 of an entry: the block's offset in units of 1 MiB.
const OFFSET_MASK: u64 = !0xf_ffff;

impl Lookup for Table {
    const TABLE: &'static str = "the block allocation table";
    const ENTRY: usize = 8;

    fn slot(&self, _: &Tables, _: &Input, number: u64) -> io::Result<Slot> {
        let entry = Self::ENTRY as u64;
        let chunk = number / self.chunk_ratio * (self.chunk_ratio + 1) * entry;
        Ok(Slot::Entry {
            table: ByteRange::at(self.offset.saturating_add(chunk), self.chunk_ratio * entry),
            index: number % self.chunk_ratio,
        })
    }

    fn block(&self, _: &Tables, entry: &Entry<'_>) -> io::Result<Block> {
        let value = entry.bytes.try_into().map(u64::from_le_bytes);
        let value = value.map_err(|_| entry.damage(Self::TABLE))?;
        match value & state::MASK {
            state::NOT_PRESENT
            | state::UNDEFINED
            | state::ZERO
            | state::UNMAPPED
            | state::UNMAPPED_095 => Ok(Block::Zeros),
            state::FULLY_PRESENT => Ok(Block::Plain(value & OFFSET_MASK)),
            // Partially present: only in differencing disks.
            _ => Err(entry.damage(Self::TABLE)),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod writer;
