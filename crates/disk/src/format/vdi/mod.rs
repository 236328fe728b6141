//! VDI, fixed and dynamic, after VirtualBox's VDICore.h.

use std::io;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::blocks::{Block, Blocks, Entry, Lookup, Slot};
use super::{Context, Defect, Details, Format, FormatError, Input, Kind, Parsed, Reading, Stop};
use crate::cache::Tables;
use crate::{ByteRange, Disk};

pub(super) const KIND: Kind = Kind {
    name: "vdi",
    title: "VDI",
    qemu_name: None,
    extensions: &["vdi"],
    recognise: |probe| probe.has(64, &SIGNATURE),
    reading: Reading::Parse(parse),
};

const SIGNATURE: [u8; 4] = 0xbeda_107f_u32.to_le_bytes();
const VERSION_1_1: u32 = 0x0001_0001;
const SECTOR: u64 = 512;
const HEADER: &str = "the header";
/// Largest block that VirtualBox makes, in bytes.
const MAX_BLOCK: u32 = 1 << 30;

mod image_type {
    pub(super) const DYNAMIC: u32 = 1;
    pub(super) const FIXED: u32 = 2;
    pub(super) const UNDO: u32 = 3;
    pub(super) const DIFFERENCING: u32 = 4;
}

/// `VDIPREHEADER` and `VDIHEADER1PLUS`.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct Header {
    text: [u8; 64],
    signature: [u8; 4],
    version: U32,
    header_size: U32,
    image_type: U32,
    flags: U32,
    comment: [u8; 256],
    /// Offset of the block map.
    map_offset: U32,
    /// Offset of the first block.
    data_offset: U32,
    old_geometry: [U32; 4],
    unused: U32,
    disk_size: U64,
    block_size: U32,
    /// Number of bytes before each block that are not of the disk.
    block_extra: U32,
    blocks: U32,
    allocated_blocks: U32,
    id: [u8; 16],
    modification_id: [u8; 16],
    parent_id: [u8; 16],
    parent_modification_id: [u8; 16],
}

const _: () = assert!(size_of::<Header>() == 64 + 8 + 0x180);

fn parse(context: &mut Context<'_>) -> Result<Parsed, Stop> {
    let input = context.input().clone();
    let header = Header::read(&input)?;
    // VirtualBox can make disks of odd sizes, which QEMU rounds up.
    let size = header.disk_size.get().checked_next_multiple_of(SECTOR);
    let size = size
        .filter(|size| size.div_ceil(header.block_size.get().into()) <= header.blocks.get().into());
    let size = size.ok_or_else(|| value(&input))?;
    let blocks = u64::from(header.blocks.get());
    let table = ByteRange::at(header.map_offset.get().into(), blocks * Map::ENTRY as u64);
    input.check_inside(Map::TABLE, table)?;
    let own = ByteRange::new(0, size_of::<Header>() as u64);
    if !table.intersect(own).is_empty() {
        let damage = input.damage(Map::TABLE, table.start(), Defect::Overlap);
        return Err(damage.into());
    }
    let block_size = header.block_size.get().into();
    let map = Blocks {
        number: 0,
        size,
        block_size,
        reserved: vec![own, table],
        lookup: Map {
            table,
            data_offset: header.data_offset.get().into(),
            block_extra: header.block_extra.get().into(),
            block_size,
        },
        input: input.clone(),
    };
    let fixed = header.image_type.get() == image_type::FIXED;
    Ok(Parsed::of_one_file(
        map,
        input,
        Details {
            variant: Some(if fixed { "fixed" } else { "dynamic" }.to_owned()),
            block_size: Some(block_size),
            ..Details::new(Format(&KIND))
        },
    ))
}

fn value(input: &Input) -> FormatError {
    input.damage(HEADER, 0, Defect::Value).into()
}

impl Header {
    /// # Errors
    ///
    /// Damage; another version; an image that is based on another one; the file's own error.
    fn read(input: &Input) -> Result<Self, FormatError> {
        let mut header = Self::new_zeroed();
        let range = ByteRange::at(0, size_of::<Self>() as u64);
        input.check_inside(HEADER, range)?;
        input.read_exact_at(header.as_mut_bytes(), 0)?;
        if header.version.get() != VERSION_1_1 {
            return Err(FormatError::UnknownVersion {
                format: Format(&KIND),
                version: header.version.get().into(),
            });
        }
        let is_based = header.parent_id != [0; 16];
        match header.image_type.get() {
            image_type::UNDO | image_type::DIFFERENCING => {
                Err(FormatError::Differencing { parent: None })
            }
            image_type::DYNAMIC | image_type::FIXED if is_based => {
                Err(FormatError::Differencing { parent: None })
            }
            image_type::DYNAMIC | image_type::FIXED
                if header.block_size.get().is_power_of_two()
                    && header.block_size.get() >= SECTOR as u32
                    && header.block_size.get() <= MAX_BLOCK
                    && header.block_extra <= header.block_size =>
            {
                Ok(header)
            }
            _ => Err(value(input)),
        }
    }
}

/// The block map: the number of each block's place in the file.
#[derive(Debug)]
struct Map {
    table: ByteRange,
    data_offset: u64,
    block_extra: u64,
    block_size: u64,
}

/// The block was never written.
const FREE: u32 = 0xffff_ffff;
/// The block is zeros: discarded, or written as such.
const ZERO: u32 = 0xffff_fffe;

impl Lookup for Map {
    const TABLE: &'static str = "the block map";
    const ENTRY: usize = 4;

    fn slot(&self, _: &Tables, _: &Input, index: u64) -> io::Result<Slot> {
        let table = self.table;
        Ok(Slot::Entry { table, index })
    }

    fn block(&self, _: &Tables, entry: &Entry<'_>) -> io::Result<Block> {
        let place = entry.bytes.try_into().map(u32::from_le_bytes);
        Ok(match place.map_err(|_| entry.damage(Self::TABLE))? {
            FREE | ZERO => Block::Zeros,
            // Less than 2^32 times 2^31.
            place => Block::Plain(
                self.data_offset
                    + u64::from(place) * (self.block_size + self.block_extra)
                    + self.block_extra,
            ),
        })
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod writer;
