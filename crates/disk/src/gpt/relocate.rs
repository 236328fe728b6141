//! Moving the backup of a GPT to the end of a disk that has grown.

use std::io;

use byteorder::{ByteOrder, LittleEndian};
use thiserror::Error;

use super::mbr::MBR_SIZE;
use super::table::{Damage, Gpt, Table, at, header_crc};
use crate::Disk;
use crate::Patch;

/// Why the backup of a GPT cannot be put at the end of the virtual disk.
#[derive(Debug, Error)]
pub enum RelocateError {
    /// The source could not be read.
    #[error("the partition table could not be read: {0}")]
    Io(#[from] io::Error),
    /// The virtual size is below the source's or no multiple of the table's sector size.
    #[error("a virtual size of {0} bytes does not fit the disk")]
    VirtualSize(u64),
    /// The primary copy is damaged, and so there is nothing to trust.
    #[error("the primary GPT is damaged: {0}; repair it with `sgdisk` or `gdisk` first")]
    Primary(Damage),
    /// A partition uses sectors that the backup needs.
    #[error(
        "partition {number} reaches to sector {last}, and with the backup GPT at the end of the \
         disk {limit} is the last usable one; make it smaller, or the image larger"
    )]
    Partition {
        /// Number of the partition.
        number: u32,
        /// Its last sector.
        last: u64,
        /// The last usable sector.
        limit: u64,
    },
    /// The disk is too small to hold both copies.
    #[error("the disk has no room for a second copy of its GPT")]
    NoRoom,
}

/// What makes the GPT of `source` one of a disk of `virtual_size` bytes.
///
/// The patches are whole sectors, sorted, do not overlap, and lie inside of `0 .. virtual_size`, also beyond
/// the end of the source. There are none if nothing needs to change: no GPT, or a valid
/// backup that already is at the end. They hold the protective boot record, the primary header
/// (alternate and last usable sector, checksum), and the backup; nothing else changes.
///
/// A backup that is missing or damaged is made anew from the primary copy. Tables in sectors of
/// 4,096 bytes are relocated in such sectors; that the disk then needs a reader with sectors of
/// that size is a finding of `check`.
///
/// # Errors
///
/// See [`RelocateError`]. At most 2 MiB and a few sectors are read.
pub fn relocate(source: &dyn Disk, virtual_size: u64) -> Result<Vec<Patch>, RelocateError> {
    let Some(gpt) = Gpt::read(source)? else {
        return Ok(Vec::new());
    };
    if virtual_size < source.size() || !virtual_size.is_multiple_of(gpt.sector_size) {
        return Err(RelocateError::VirtualSize(virtual_size));
    }
    if gpt.backup_is_at_end_of(virtual_size) {
        return Ok(Vec::new());
    }
    let table = gpt
        .primary
        .as_ref()
        .map_err(|&damage| RelocateError::Primary(damage))?;
    let place = BackupPlace::of(table, gpt.sector_size, virtual_size)?;
    let mut patches = vec![
        mbr_patch(source, &gpt, table, virtual_size)?,
        Patch {
            offset: gpt.sector_size,
            bytes: place.primary_header(table),
        },
    ];
    patches.push(Patch {
        offset: place.entries_lba * gpt.sector_size,
        bytes: place.backup(table, gpt.sector_size),
    });
    Ok(patches)
}

/// The first sector with the protective entry's size that of the new disk.
fn mbr_patch(
    source: &dyn Disk,
    gpt: &Gpt,
    table: &Table,
    virtual_size: u64,
) -> Result<Patch, RelocateError> {
    // The sector size is 512 or 4,096.
    let mut bytes = vec![0; gpt.sector_size as usize];
    source.read_exact_at(&mut bytes, 0)?;
    let old_sectors = table.header.alternate_lba.saturating_add(1);
    let new_sectors = virtual_size / gpt.sector_size;
    bytes[..MBR_SIZE].copy_from_slice(&gpt.mbr.protecting(old_sectors, new_sectors));
    Ok(Patch { offset: 0, bytes })
}

/// Where the backup of a table stands on the new disk, in sectors.
struct BackupPlace {
    last_usable_lba: u64,
    entries_lba: u64,
    header_lba: u64,
}

impl BackupPlace {
    fn of(table: &Table, sector_size: u64, virtual_size: u64) -> Result<Self, RelocateError> {
        let header = &table.header;
        let entries_sectors = header.entries_size().div_ceil(sector_size);
        let place = || {
            let header_lba = (virtual_size / sector_size).checked_sub(1)?;
            let entries_lba = header_lba.checked_sub(entries_sectors)?;
            Some(Self {
                last_usable_lba: entries_lba.checked_sub(1)?,
                entries_lba,
                header_lba,
            })
        };
        let place = place().ok_or(RelocateError::NoRoom)?;
        let entries_end = header.entries_lba.checked_add(entries_sectors);
        let apart = entries_end.is_some_and(|end| end <= place.entries_lba)
            && place.last_usable_lba > header.my_lba;
        if !apart || header.first_usable_lba > place.last_usable_lba {
            return Err(RelocateError::NoRoom);
        }
        place.keeps_clear_of(table)
    }

    fn keeps_clear_of(self, table: &Table) -> Result<Self, RelocateError> {
        for entry in table.partitions() {
            let last = entry.last_lba.max(entry.first_lba);
            if last > self.last_usable_lba {
                return Err(RelocateError::Partition {
                    number: entry.number,
                    last,
                    limit: self.last_usable_lba,
                });
            }
        }
        Ok(self)
    }

    fn primary_header(&self, table: &Table) -> Vec<u8> {
        let mut sector = table.header_sector.clone();
        LittleEndian::write_u64(&mut sector[at::ALTERNATE_LBA..], self.header_lba);
        LittleEndian::write_u64(&mut sector[at::LAST_USABLE_LBA..], self.last_usable_lba);
        seal(&mut sector, table.header.header_size);
        sector
    }

    /// The array of entries, padded to whole sectors, and the backup header behind it.
    fn backup(&self, table: &Table, sector_size: u64) -> Vec<u8> {
        let mut header = self.primary_header(table);
        // The specification wants zeros behind the header.
        header[table.header.header_size as usize..].fill(0);
        LittleEndian::write_u64(&mut header[at::MY_LBA..], self.header_lba);
        LittleEndian::write_u64(&mut header[at::ALTERNATE_LBA..], table.header.my_lba);
        LittleEndian::write_u64(&mut header[at::ENTRIES_LBA..], self.entries_lba);
        seal(&mut header, table.header.header_size);
        let mut bytes = table.entries.clone();
        bytes.resize(bytes.len().next_multiple_of(sector_size as usize), 0);
        bytes.append(&mut header);
        bytes
    }
}

/// Writes the checksum of a header into it.
fn seal(sector: &mut [u8], header_size: u32) {
    let crc = header_crc(sector, header_size);
    LittleEndian::write_u32(&mut sector[at::HEADER_CRC..], crc);
}
