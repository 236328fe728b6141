//! Whatever the partition table says, relocating it stays inside of the disk and ends.
#![no_main]

use disk::Disk;
use disk::gpt::{Gpt, relocate};
use libfuzzer_sys::fuzz_target;

const SECTOR: usize = 512;
/// What the size of a relocated disk is a multiple of.
const MIB: u64 = 1 << 20;

/// Makes the checksum of a header and its entries right, so that what is behind it is reached.
fn mend(disk: &mut [u8], at: usize) {
    let number = |disk: &[u8], field: usize, length: usize| {
        let mut bytes = [0; 8];
        bytes[..length].copy_from_slice(&disk[at + field..][..length]);
        u64::from_le_bytes(bytes) as usize
    };
    if at + SECTOR > disk.len() {
        return;
    }
    disk[at..at + 8].copy_from_slice(b"EFI PART");
    let entries = number(disk, 72, 8).saturating_mul(SECTOR);
    let length = number(disk, 80, 4).saturating_mul(number(disk, 84, 4));
    if let Some(bytes) = disk.get(entries..entries.saturating_add(length)) {
        let crc = crc32fast::hash(bytes);
        disk[at + 88..at + 92].copy_from_slice(&crc.to_le_bytes());
    }
    disk[at + 16..at + 20].fill(0);
    let size = number(disk, 12, 4).clamp(20, SECTOR);
    let crc = crc32fast::hash(&disk[at..at + size]);
    disk[at + 16..at + 20].copy_from_slice(&crc.to_le_bytes());
}

fuzz_target!(|input: (&[u8], u8, bool)| {
    let (data, padding, valid) = input;
    let mut disk = data.to_vec();
    // Up to one MiB, so that a backup may be anywhere.
    disk.resize((disk.len() + usize::from(padding) * 4096).min(1 << 20), 0);
    if valid && disk.len() > 2 * SECTOR {
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[446] = 0;
        disk[450] = 0xee;
        mend(&mut disk, SECTOR);
        let last = disk.len() / SECTOR * SECTOR - SECTOR;
        mend(&mut disk, last);
    }
    let disk = &disk as &dyn Disk;
    let _ = Gpt::read(disk);
    if disk.size() == 0 {
        return;
    }
    let new_size = disk.size().next_multiple_of(MIB);
    let mut end = 0;
    for patch in relocate(disk, new_size).unwrap_or_default() {
        assert!(patch.offset >= end, "patches overlap");
        end = patch.offset + patch.bytes.len() as u64;
        assert!(end <= new_size, "a patch outside of the disk");
    }
});
