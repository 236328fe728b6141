//! VHD, fixed and dynamic, after the Virtual Hard Disk Image Format Specification 1.0.
//!
//! The bitmap before each block of a dynamic disk is not read, as in QEMU: what it calls unused is zeros in
//! the block as well.

mod footer;

use std::io;

use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use footer::{COOKIE, Footer, Header, SECTOR, disk_type};

use super::blocks::{Block, Blocks, Entry, Lookup, Slot};
use super::raw::Flat;
use super::{
    Context, Defect, Details, Format, FormatError, Input, Kind, Parsed, Probe, Reading, Stop,
};
use crate::cache::Tables;
use crate::{ByteRange, Disk};

pub(super) const FIXED: Kind = Kind {
    name: "fixed_vhd",
    title: "fixed VHD",
    qemu_name: Some("vpc"),
    extensions: &["vhd"],
    recognise: |probe| type_of(probe) == Some(Type::Fixed),
    reading: Reading::Parse(parse_fixed),
};

pub(super) const DYNAMIC: Kind = Kind {
    name: "dynamic_vhd",
    title: "dynamic VHD",
    qemu_name: Some("vpc"),
    extensions: &["vhd"],
    recognise: |probe| type_of(probe) == Some(Type::Dynamic),
    reading: Reading::Parse(parse_dynamic),
};

const FOOTER: &str = "the footer";
const HEADER: &str = "the dynamic header";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Type {
    Fixed,
    /// Dynamic or differencing.
    Dynamic,
}

/// Which kind of VHD a file is. Its last sector says so; a dynamic disk has a copy of that as its first one.
fn type_of(probe: &Probe<'_>) -> Option<Type> {
    let tail = Footer::find(probe.tail);
    let intact = tail.as_ref().filter(|tail| tail.check().is_ok());
    match intact.map(|tail| tail.disk_type.get()) {
        Some(disk_type::DYNAMIC | disk_type::DIFFERENCING) => Some(Type::Dynamic),
        Some(_) => Some(Type::Fixed),
        None if probe.has(0, COOKIE) => Some(Type::Dynamic),
        None => tail.map(|_| Type::Fixed),
    }
}

/// The footer at `offset`.
fn read_footer(input: &Input, offset: u64) -> Result<Footer, FormatError> {
    let bytes = input.read_array::<{ size_of::<Footer>() }>(FOOTER, offset)?;
    let footer = Footer::find(&bytes).ok_or_else(|| input.damage(FOOTER, offset, Defect::Value))?;
    footer
        .check()
        .map_err(|defect| input.damage(FOOTER, offset, defect))?;
    Ok(footer)
}

/// Offset of the footer at the end of the file.
fn tail(input: &Input) -> u64 {
    input.size().saturating_sub(size_of::<Footer>() as u64)
}

fn parse_fixed(context: &mut Context<'_>) -> Result<Parsed, Stop> {
    let input = context.input().clone();
    let end = tail(&input);
    let footer = read_footer(&input, end)?;
    if footer.disk_type.get() != disk_type::FIXED {
        return Err(input.damage(FOOTER, end, Defect::Value).into());
    }
    let size = footer.disk_size();
    if size > end {
        return Err(input.damage("the disk", 0, Defect::PastEnd).into());
    }
    Ok(Parsed::of_one_file(
        Flat { start: 0, size },
        input,
        Details::new(Format(&FIXED)),
    ))
}

fn parse_dynamic(context: &mut Context<'_>) -> Result<Parsed, Stop> {
    let input = context.input().clone();
    let end = tail(&input);
    let (footer, last) = match read_footer(&input, end) {
        Ok(footer) => (footer, end),
        Err(FormatError::Damaged(_)) => (read_footer(&input, 0)?, input.size()),
        Err(error) => return Err(error.into()),
    };
    let (header, header_range) = read_header(&input, footer.data_offset.get())?;
    match footer.disk_type.get() {
        disk_type::DYNAMIC => {}
        disk_type::DIFFERENCING => {
            return Err(FormatError::Differencing {
                parent: Some(header.parent()),
            }
            .into());
        }
        _ => return Err(input.damage(FOOTER, end, Defect::Value).into()),
    }
    let size = footer.disk_size();
    let block_size = u64::from(header.block_size.get());
    let count = size.div_ceil(block_size);
    if count > header.max_table_entries.get().into() {
        let damage = input.damage(HEADER, header_range.start(), Defect::Value);
        return Err(damage.into());
    }
    let table = ByteRange::at(header.table_offset.get(), count * Table::ENTRY as u64);
    input.check_inside(Table::TABLE, table)?;
    let map = Blocks {
        number: 0,
        size,
        block_size,
        reserved: vec![
            ByteRange::new(0, SECTOR),
            header_range,
            table,
            ByteRange::new(last, input.size()),
        ],
        lookup: Table {
            table,
            bitmap_size: (block_size / SECTOR).div_ceil(8).next_multiple_of(SECTOR),
        },
        input: input.clone(),
    };
    Ok(Parsed::of_one_file(
        map,
        input,
        Details {
            block_size: Some(block_size),
            ..Details::new(Format(&DYNAMIC))
        },
    ))
}

fn read_header(input: &Input, offset: u64) -> Result<(Header, ByteRange), FormatError> {
    let range = ByteRange::at(offset, size_of::<Header>() as u64);
    input.check_inside(HEADER, range)?;
    let mut header = Header::new_zeroed();
    input.read_exact_at(header.as_mut_bytes(), offset)?;
    header
        .check()
        .map_err(|defect| input.damage(HEADER, offset, defect))?;
    Ok((header, range))
}

/// The block allocation table: the number of each block's first sector, which its bitmap begins with.
#[derive(Debug)]
struct Table {
    table: ByteRange,
    bitmap_size: u64,
}

/// The block is not in the file.
const UNUSED: u32 = u32::MAX;

impl Lookup for Table {
    const TABLE: &'static str = "the block allocation table";
    const ENTRY: usize = 4;

    fn slot(&self, _: &Tables, _: &Input, index: u64) -> io::Result<Slot> {
        let table = self.table;
        Ok(Slot::Entry { table, index })
    }

    fn block(&self, _: &Tables, entry: &Entry<'_>) -> io::Result<Block> {
        let sector = entry.bytes.try_into().map(u32::from_be_bytes);
        Ok(match sector {
            Ok(UNUSED) => Block::Zeros,
            Ok(sector) => Block::Plain(u64::from(sector) * SECTOR + self.bitmap_size),
            Err(_) => return Err(entry.damage(Self::TABLE)),
        })
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod writer;
