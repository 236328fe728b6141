//! Partition tables as they stand on a disk.

use std::io;

use disk::Disk;
use disk::gpt::{MBR_SIZE, Mbr, Table};

use super::{MAX_PARTITIONS, Partition, Role, SECTOR};
use crate::content::Content;
use crate::metered::Window;

/// Where a boot record has the identifier of the disk.
const DISK_SIGNATURE: u64 = 440;

/// Whether a signed first sector belongs to a file system on the whole disk.
pub(super) fn is_boot_sector(mbr: &Mbr, whole: &Window) -> io::Result<bool> {
    let used = mbr.entries().iter().any(|entry| entry.is_used());
    Ok(!used && Content::probe(whole)? != Content::Unknown)
}

/// The disk as one partition, where it holds something known.
pub(super) fn whole_disk(whole: &Window) -> io::Result<Vec<Partition>> {
    let known = Content::probe(whole)? != Content::Unknown;
    let partition = Partition::new(0, 0, Some(whole.size()), 1, Role::Other);
    Ok(known.then_some(partition).into_iter().collect())
}

/// Adds identifiers, names and types from the entries of a GPT.
pub(super) fn name_entries(
    disk: &dyn Disk,
    table: &Table,
    sector_size: u64,
    partitions: &mut [Partition],
) -> io::Result<()> {
    let first = table.header.entries_lba.saturating_mul(sector_size);
    for partition in partitions.iter_mut().take(MAX_PARTITIONS) {
        let index = u64::from(partition.number.saturating_sub(1));
        let at = first.saturating_add(index * u64::from(table.header.entry_size));
        let mut entry = [0; 128];
        if at.saturating_add(entry.len() as u64) > disk.size() {
            continue;
        }
        disk.read_exact_at(&mut entry, at)?;
        let uuid = |at: usize| {
            let bytes: [u8; 16] = entry[at..at + 16].try_into().unwrap_or_default();
            uuid::Uuid::from_bytes_le(bytes).to_string()
        };
        let units: Vec<u16> = entry[56..]
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .take_while(|&unit| unit != 0)
            .collect();
        partition.kind = Some(uuid(0));
        partition.uuid = Some(uuid(16));
        partition.label = Some(String::from_utf16_lossy(&units)).filter(|name| !name.is_empty());
    }
    Ok(())
}

/// The partitions of a GPT.
pub(super) fn of_table(table: &Table, sector_size: u64) -> Vec<Partition> {
    let partition = |entry: disk::gpt::Entry| {
        let sectors = entry
            .last_lba
            .checked_sub(entry.first_lba)
            .map(|n| n.saturating_add(1));
        let role = Role::of_type(entry.kind);
        Partition::new(entry.number, entry.first_lba, sectors, sector_size, role)
    };
    table.partitions().map(partition).collect()
}

/// The record in the sector at `lba`; nothing where there is none or it is not on the disk.
pub(super) fn read_mbr(disk: &dyn Disk, lba: u64) -> io::Result<Option<Mbr>> {
    let offset = lba.saturating_mul(SECTOR);
    if offset.saturating_add(MBR_SIZE as u64) > disk.size() {
        return Ok(None);
    }
    let mut bytes = [0; MBR_SIZE];
    disk.read_exact_at(&mut bytes, offset)?;
    Ok(Mbr::decode(bytes))
}

/// The partitions of a boot record, and the logical ones in an extended one.
pub(super) fn of_mbr(disk: &dyn Disk, mbr: &Mbr) -> io::Result<Vec<Partition>> {
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(mbr.entries()) {
        if !entry.is_used() {
            continue;
        }
        if entry.is_extended() {
            partitions.extend(logical(disk, u64::from(entry.first_sector))?);
            continue;
        }
        let (first, sectors) = (u64::from(entry.first_sector), u64::from(entry.sectors));
        let role = Role::of_mbr_type(entry.kind);
        let mut partition = Partition::new(number, first, Some(sectors), SECTOR, role);
        partition.is_active = entry.boot_indicator & 0x80 != 0;
        partitions.push(partition);
    }
    let mut signature = [0; 4];
    disk.read_exact_at(&mut signature, DISK_SIGNATURE)?;
    let signature = u32::from_le_bytes(signature);
    for partition in &mut partitions {
        partition.uuid = Some(format!("{signature:08x}-{:02x}", partition.number));
    }
    Ok(partitions)
}

/// The partitions in an extended one: a chain of records, each with one partition and the place
/// of the next record.
fn logical(disk: &dyn Disk, extended: u64) -> io::Result<Vec<Partition>> {
    let mut partitions = Vec::new();
    let mut lba = extended;
    // The count ends a chain that runs in a circle.
    for number in 5..5 + MAX_PARTITIONS as u32 {
        let Some(record) = read_mbr(disk, lba)? else {
            break;
        };
        let [own, next, ..] = record.entries();
        if own.is_used() {
            let first = lba + u64::from(own.first_sector);
            let role = Role::of_mbr_type(own.kind);
            let sectors = Some(u64::from(own.sectors));
            partitions.push(Partition::new(number, first, sectors, SECTOR, role));
        }
        if !next.is_extended() {
            break;
        }
        lba = extended + u64::from(next.first_sector);
    }
    Ok(partitions)
}
