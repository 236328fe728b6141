//! Sparse extents: grains that a grain directory and its grain tables lead to.

use std::io;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::cache::Tables;
use crate::codec::Codec;
use crate::format::blocks::{Block, Blocks, Entry, Lookup, Slot};
use crate::format::{Defect, Format, FormatError, Input};
use crate::{ByteRange, Disk};

/// Number of bytes of a sector, the unit of all sizes and offsets.
pub(super) const SECTOR: u64 = 512;
/// First bytes of a sparse extent.
pub(super) const MAGIC: &[u8; 4] = b"KDMV";
/// Number of sectors of the largest grain that QEMU takes.
const MAX_GRAIN: u64 = 0x20_0000;
/// The same where grains are compressed: each has to fit in memory.
const MAX_COMPRESSED_GRAIN: u64 = (16 << 20) / SECTOR;
const MAX_TABLE_ENTRIES: u32 = 512;
/// Largest number of bytes of a disk.
const MAX_SIZE: u64 = i64::MAX as u64;
/// In place of the grain directory's offset: it is in the footer, a second header near the end of the file.
const AT_END: u64 = u64::MAX;
const FOOTER_MARKER: u32 = 3;
const END_MARKER: u32 = 0;
/// What lies before and behind an end of line, to detect a transfer as text.
const LINE_ENDS: [u8; 4] = *b"\n \r\n";

const HEADER: &str = "the header";
const DIRECTORY: &str = "the grain directory";

mod flag {
    pub(super) const LINE_ENDS: u32 = 1 << 0;
    pub(super) const SECOND_DIRECTORY: u32 = 1 << 1;
    /// Entry 1 of a grain table is a grain of zeros.
    pub(super) const ZERO_GRAINS: u32 = 1 << 2;
    pub(super) const MARKERS: u32 = 1 << 17;
}

/// "Hosted Sparse Extent Header".
#[derive(Clone, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    magic: [u8; 4],
    version: U32,
    flags: U32,
    /// Number of sectors of the disk.
    capacity: U64,
    /// Number of sectors of a grain.
    grain_size: U64,
    descriptor_offset: U64,
    descriptor_size: U64,
    table_entries: U32,
    second_directory: U64,
    directory: U64,
    overhead: U64,
    unclean_shutdown: u8,
    line_ends: [u8; 4],
    compression: U16,
    padding: [u8; 433],
}

/// What stands before everything in a stream but grains.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Marker {
    value: U64,
    size: U32,
    kind: U32,
    padding: [u8; 496],
}

/// The end of a stream.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Footer {
    marker: Marker,
    header: Header,
    end: Marker,
}

const _: () = assert!(size_of::<Header>() == 512 && size_of::<Marker>() == 512);

impl Header {
    /// Reads the header and what it leads to at once, and the footer where that counts.
    ///
    /// # Errors
    ///
    /// Damage; a version or compression that is not known; the file's own error.
    pub(super) fn read(input: &Input) -> Result<Self, FormatError> {
        let bytes = input.read_array::<{ size_of::<Self>() }>(HEADER, 0)?;
        let header: Self = zerocopy::transmute!(bytes);
        header.check(input, 0)?;
        if header.directory.get() != AT_END {
            return Ok(header);
        }
        let (mut footer, at) = Self::footer(input)?;
        footer.check(input, at)?;
        // The descriptor is only in front.
        footer.descriptor_offset = header.descriptor_offset;
        footer.descriptor_size = header.descriptor_size;
        Ok(footer)
    }

    /// The header at the end of a stream, and where it is.
    fn footer(input: &Input) -> Result<(Self, u64), FormatError> {
        let end = input.size() / SECTOR * SECTOR;
        let cut_off = || input.damage("the footer", end, Defect::PastEnd);
        let start = end
            .checked_sub(size_of::<Footer>() as u64)
            .ok_or_else(cut_off)?;
        let bytes = input.read_array::<{ size_of::<Footer>() }>("the footer", start)?;
        let footer: Footer = zerocopy::transmute!(bytes);
        let whole = footer.marker.kind.get() == FOOTER_MARKER
            && footer.marker.size.get() == 0
            && footer.end.kind.get() == END_MARKER
            && footer.end.size.get() == 0
            && footer.end.value.get() == 0;
        if !whole {
            return Err(cut_off().into());
        }
        Ok((footer.header, start + size_of::<Marker>() as u64))
    }

    fn check(&self, input: &Input, at: u64) -> Result<(), FormatError> {
        let value = || input.damage(HEADER, at, Defect::Value).into();
        if self.magic != *MAGIC {
            return Err(value());
        }
        let version = self.version.get();
        if !matches!(version, 1..=3) {
            return Err(FormatError::UnknownVersion {
                format: Format::VMDK,
                version: version.into(),
            });
        }
        if self.has(flag::LINE_ENDS) && self.line_ends != LINE_ENDS {
            return Err(value());
        }
        if self.compression.get() > 1 {
            return Err(FormatError::UnknownFeature(format!(
                "the VMDK compression of type {}",
                self.compression.get()
            )));
        }
        let grain = self.grain_size.get();
        let limit = if self.is_compressed() {
            MAX_COMPRESSED_GRAIN
        } else {
            MAX_GRAIN
        };
        limit_of("grain size", grain, limit)?;
        limit_of("number of sectors", self.capacity.get(), MAX_SIZE / SECTOR)?;
        let entries = self.table_entries.get();
        if !grain.is_power_of_two() || !(1..=MAX_TABLE_ENTRIES).contains(&entries) {
            return Err(value());
        }
        Ok(())
    }

    fn has(&self, flag: u32) -> bool {
        self.flags.get() & flag != 0
    }

    /// Whether grains are compressed.
    pub(super) fn is_compressed(&self) -> bool {
        self.compression.get() != 0
    }

    /// Number of bytes of the disk.
    pub(super) fn size(&self) -> u64 {
        self.capacity.get() * SECTOR
    }

    /// Number of bytes of a grain.
    pub(super) fn grain_size(&self) -> u64 {
        self.grain_size.get() * SECTOR
    }

    /// Where the descriptor inside of the extent is; empty if there is none.
    pub(super) fn descriptor(&self) -> ByteRange {
        let sectors = |value: U64| value.get().saturating_mul(SECTOR);
        match self.descriptor_offset.get() {
            0 => ByteRange::at(0, 0),
            _ => ByteRange::at(
                sectors(self.descriptor_offset),
                sectors(self.descriptor_size),
            ),
        }
    }

    /// The map of an extent that is input `number` of its disk.
    ///
    /// # Errors
    ///
    /// Damage.
    pub(super) fn map(&self, input: &Input, number: usize) -> Result<Blocks<Grains>, FormatError> {
        let at_least = self.overhead.get().saturating_mul(SECTOR);
        input.check_inside("the first grain", ByteRange::new(at_least, at_least))?;
        let covered = u64::from(self.table_entries.get()) * self.grain_size.get();
        let tables = self.capacity.get().div_ceil(covered);
        let directory = |offset: U64| {
            let start = offset.get().saturating_mul(SECTOR);
            ByteRange::at(start, tables.saturating_mul(4))
        };
        let first = directory(self.directory);
        input.check_inside(DIRECTORY, first)?;
        let mut reserved = vec![ByteRange::new(0, SECTOR), self.descriptor()];
        if reserved
            .iter()
            .any(|other| !other.intersect(first).is_empty())
        {
            return Err(input
                .damage(DIRECTORY, first.start(), Defect::Overlap)
                .into());
        }
        reserved.push(first);
        if self.has(flag::SECOND_DIRECTORY) {
            reserved.push(directory(self.second_directory));
        }
        Ok(Blocks {
            input: input.clone(),
            number,
            size: self.size(),
            block_size: self.grain_size(),
            lookup: Grains {
                directory: first,
                table_entries: self.table_entries.get().into(),
                grain_size: self.grain_size(),
                zero_grains: self.has(flag::ZERO_GRAINS),
                compressed: self.is_compressed(),
                markers: self.has(flag::MARKERS),
                reserved: reserved.clone(),
            },
            reserved,
        })
    }
}

/// A grain directory with its tables.
#[derive(Debug)]
pub(super) struct Grains {
    directory: ByteRange,
    table_entries: u64,
    /// In bytes.
    grain_size: u64,
    zero_grains: bool,
    compressed: bool,
    /// Each compressed grain says how long it is.
    markers: bool,
    /// Where no table may lie.
    reserved: Vec<ByteRange>,
}

impl Grains {
    /// Where the compressed bytes of the grain at `offset` are.
    fn packed(&self, tables: &Tables, entry: &Entry<'_>, offset: u64) -> io::Result<ByteRange> {
        const GRAIN: &str = "the compressed grain";
        let longest = 2 * self.grain_size;
        if !self.markers {
            return Ok(ByteRange::at(offset, longest));
        }
        let damage = |defect| entry.input.damage(GRAIN, offset, defect);
        let mut marker = [0; 12];
        tables.read(entry.input, GRAIN, &mut marker, offset)?;
        let [low, high, size]: [U32; 3] = zerocopy::transmute!(marker);
        let sector = u64::from(high.get()) << 32 | u64::from(low.get());
        let size = u64::from(size.get());
        let expected = entry.number.checked_mul(self.grain_size / SECTOR);
        if Some(sector) != expected || size == 0 || size > longest {
            return Err(damage(Defect::Value).into());
        }
        let data = ByteRange::at(offset + marker.len() as u64, size);
        if data.end() > entry.input.size() {
            return Err(damage(Defect::PastEnd).into());
        }
        Ok(data)
    }
}

impl Lookup for Grains {
    const TABLE: &'static str = "the grain table";
    const ENTRY: usize = 4;

    fn slot(&self, tables: &Tables, input: &Input, number: u64) -> io::Result<Slot> {
        let (row, index) = (number / self.table_entries, number % self.table_entries);
        let at = self.directory.start().saturating_add(row.saturating_mul(4));
        let rest = ByteRange::new(at, self.directory.end()).len() / 4;
        let entries = tables.entries(input, DIRECTORY, at, 4, rest)?;
        let sector = entries
            .first_chunk()
            .map_or(0, |first| u32::from_le_bytes(*first));
        if sector == 0 {
            let empty = entries.chunks_exact(4).take_while(|entry| *entry == [0; 4]);
            let blocks = (empty.count() as u64).saturating_mul(self.table_entries);
            return Ok(Slot::Zeros(blocks - index));
        }
        let table = ByteRange::at(u64::from(sector) * SECTOR, self.table_entries * 4);
        if self
            .reserved
            .iter()
            .any(|other| !other.intersect(table).is_empty())
        {
            let damage = input.damage(Self::TABLE, table.start(), Defect::Overlap);
            return Err(damage.into());
        }
        Ok(Slot::Entry { table, index })
    }

    fn block(&self, tables: &Tables, entry: &Entry<'_>) -> io::Result<Block> {
        let sector = entry.bytes.try_into().map(u32::from_le_bytes);
        let sector = sector.map_err(|_| entry.damage(Self::TABLE))?;
        let offset = u64::from(sector) * SECTOR;
        match sector {
            0 => Ok(Block::Zeros),
            1 if self.zero_grains => Ok(Block::Zeros),
            _ if self.compressed => {
                let data = self.packed(tables, entry, offset)?;
                Ok(Block::Packed(data, Codec::Zlib))
            }
            _ => Ok(Block::Plain(offset)),
        }
    }

    fn has_packed(&self) -> bool {
        self.compressed
    }
}

fn limit_of(what: &'static str, value: u64, limit: u64) -> Result<(), FormatError> {
    if value > limit {
        return Err(FormatError::Limit { what, value, limit });
    }
    Ok(())
}
