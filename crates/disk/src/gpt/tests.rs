use std::cell::Cell;
use std::io;

use byteorder::{ByteOrder, LittleEndian};
use proptest::prelude::*;

use super::mbr::TYPE_GPT_PROTECTIVE;
use super::table::MAX_ENTRIES_SIZE;
use super::table::{at, header_crc};
use super::*;
use crate::Disk;
use crate::Patch;

const MIB: u64 = 1 << 20;

/// A disk in memory that counts the bytes read from it.
struct Memory {
    bytes: Vec<u8>,
    read: Cell<u64>,
}

impl Memory {
    fn new(bytes: Vec<u8>) -> Self {
        let read = Cell::new(0);
        Self { bytes, read }
    }
}

impl Disk for Memory {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.set(self.read.get() + buffer.len() as u64);
        self.bytes[..].read_exact_at(buffer, offset)
    }
}

fn seal(sector: &mut [u8], size: u32) {
    let crc = header_crc(sector, size);
    LittleEndian::write_u32(&mut sector[at::HEADER_CRC..], crc);
}

/// A disk with a GPT of `count` entries of which the first is used.
fn disk(size: u64, sector: u64, count: u32, partition: (u64, u64)) -> Vec<u8> {
    let ss = sector as usize;
    let mut bytes = vec![0; size as usize];
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes[446 + 4] = TYPE_GPT_PROTECTIVE;
    bytes[446 + 8] = 1;
    let last = size / sector - 1;
    LittleEndian::write_u32(&mut bytes[446 + 12..], last as u32);
    let mut entries = vec![0; count as usize * 128];
    entries[..16].fill(7);
    LittleEndian::write_u64(&mut entries[32..], partition.0);
    LittleEndian::write_u64(&mut entries[40..], partition.1);
    let table_sectors = (entries.len() as u64).div_ceil(sector);
    for (own, other, entries_lba) in [(1, last, 2), (last, 1, last - table_sectors)] {
        let mut header = vec![0; ss];
        header[..8].copy_from_slice(b"EFI PART");
        LittleEndian::write_u32(&mut header[8..], 0x0001_0000);
        LittleEndian::write_u32(&mut header[12..], 92);
        LittleEndian::write_u64(&mut header[24..], own);
        LittleEndian::write_u64(&mut header[32..], other);
        LittleEndian::write_u64(&mut header[40..], 2 + table_sectors);
        LittleEndian::write_u64(&mut header[48..], last - table_sectors - 1);
        header[56..72].fill(9);
        LittleEndian::write_u64(&mut header[72..], entries_lba);
        LittleEndian::write_u32(&mut header[80..], count);
        LittleEndian::write_u32(&mut header[84..], 128);
        LittleEndian::write_u32(&mut header[88..], crc32fast::hash(&entries));
        seal(&mut header, 92);
        let at = own as usize * ss;
        bytes[at..at + ss].copy_from_slice(&header);
        let at = entries_lba as usize * ss;
        bytes[at..at + entries.len()].copy_from_slice(&entries);
    }
    bytes
}

fn applied(bytes: &[u8], size: u64, patches: &[Patch]) -> Vec<u8> {
    let mut view = bytes.to_vec();
    view.resize(size as usize, 0);
    for patch in patches {
        let at = patch.offset as usize;
        view[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    view
}

fn assert_well_formed(patches: &[Patch], virtual_size: u64) {
    let mut end = 0;
    for patch in patches {
        assert!(patch.offset >= end);
        assert_eq!(patch.offset % 512, 0);
        assert_eq!(patch.bytes.len() % 512, 0);
        end = patch.offset + patch.bytes.len() as u64;
    }
    assert!(end <= virtual_size);
}

fn relocated(bytes: Vec<u8>, virtual_size: u64) -> Vec<u8> {
    let patches = relocate(&Memory::new(bytes.clone()), virtual_size).unwrap();
    assert_well_formed(&patches, virtual_size);
    applied(&bytes, virtual_size, &patches)
}

#[test]
fn a_relocated_table_is_valid_at_the_new_end() {
    for (sector, size) in [
        (512, 3 * MIB + 512),
        (512, 3 * MIB + 700),
        (4096, 3 * MIB + 4096),
    ] {
        let source = disk(size, sector, 128, (64, 300));
        let view = relocated(source.clone(), 4 * MIB);
        let gpt = Gpt::read(&Memory::new(view.clone())).unwrap().unwrap();
        let (primary, backup) = (gpt.primary.clone().unwrap(), gpt.backup.clone().unwrap());
        assert!(primary.agrees_with(&backup));
        assert!(gpt.backup_is_at_end_of(4 * MIB));
        let sectors = 4 * MIB / sector;
        assert_eq!(u64::from(gpt.mbr.entries()[0].sectors), sectors - 1);
        let table = 16_384_u64.div_ceil(sector);
        assert_eq!(primary.header.last_usable_lba, sectors - 2 - table);
        let ss = sector as usize;
        let start = (sectors - 1 - table) as usize * ss;
        let end = source.len().min(start);
        assert_eq!(view[2 * ss..end], source[2 * ss..end]);
        assert!(relocate(&Memory::new(view), 4 * MIB).unwrap().is_empty());
    }
}

#[test]
fn what_needs_no_change_is_left_alone() {
    let aligned = disk(4 * MIB, 512, 128, (64, 300));
    let none = |bytes: Vec<u8>| relocate(&Memory::new(bytes), 4 * MIB).unwrap().is_empty();
    assert!(none(aligned.clone()));
    assert!(none(vec![0; 700]));
    assert!(none(vec![]));
    let mut mbr_only = aligned.clone();
    mbr_only[446 + 4] = 0x83;
    assert!(none(mbr_only));
    let mut primary_damaged = aligned;
    primary_damaged[600] ^= 1;
    assert!(none(primary_damaged));
}

#[test]
fn a_damaged_backup_is_made_anew() {
    let good = disk(4 * MIB, 512, 128, (64, 300));
    let mut source = good.clone();
    *source.last_mut().unwrap() = 0;
    source[4 * MIB as usize - 512] ^= 1;
    assert_eq!(relocated(source, 4 * MIB), good);
}

#[test]
fn refusals_say_why() {
    let refusal = |bytes: Vec<u8>, size| relocate(&Memory::new(bytes), size).unwrap_err();
    let size = 3 * MIB + 512;
    let mut damaged = disk(size, 512, 128, (64, 300));
    damaged[512 + 60] ^= 1;
    let error = refusal(damaged, 4 * MIB);
    assert!(matches!(
        error,
        RelocateError::Primary(Damage::HeaderChecksum { .. })
    ));
    let mut entries = disk(size, 512, 128, (64, 300));
    entries[1024] ^= 1;
    let error = refusal(entries, 4 * MIB);
    assert!(matches!(
        error,
        RelocateError::Primary(Damage::EntriesChecksum { .. })
    ));
    let full = disk(size, 512, 128, (64, 4 * MIB / 512 - 34));
    assert!(relocate(&Memory::new(full), 4 * MIB).is_ok());
    let over = disk(size, 512, 128, (64, 4 * MIB / 512 - 33));
    assert!(matches!(
        refusal(over, 4 * MIB),
        RelocateError::Partition {
            number: 1,
            last: 8159,
            limit: 8158
        }
    ));
    let good = disk(size, 512, 128, (64, 300));
    let error = refusal(good.clone(), 3 * MIB);
    assert!(matches!(error, RelocateError::VirtualSize(_)));
    let mut lost = good;
    lost[512..520].fill(0);
    lost[size as usize - 512..].fill(0);
    let error = refusal(lost, 4 * MIB);
    assert!(matches!(error, RelocateError::Primary(Damage::Signature)));
}

#[test]
fn hybrid_records_keep_the_partial_protection() {
    let mut source = disk(3 * MIB + 512, 512, 128, (64, 300));
    LittleEndian::write_u32(&mut source[446 + 12..], 63);
    source[462 + 4] = 0x83;
    let view = relocated(source.clone(), 4 * MIB);
    assert_eq!(view[..512], source[..512]);
}

#[test]
fn a_huge_array_is_not_read() {
    let mut source = disk(3 * MIB + 512, 512, 128, (64, 300));
    LittleEndian::write_u32(&mut source[512 + at_entry_count()..], u32::MAX);
    LittleEndian::write_u32(&mut source[512 + at_entry_count() + 4..], u32::MAX);
    seal(&mut source[512..1024], 92);
    let source = Memory::new(source);
    let error = relocate(&source, 4 * MIB).unwrap_err();
    assert!(matches!(
        error,
        RelocateError::Primary(Damage::EntriesSize(_))
    ));
    assert!(source.read.get() < 64 << 10);
}

fn at_entry_count() -> usize {
    80
}

proptest! {
    /// Headers with hostile fields and right checksums, so that every later check is reached.
    #[test]
    fn hostile_headers_are_refused_or_relocated(
        changes in proptest::collection::vec((8..92_usize, any::<u8>()), 0..6),
        entries in proptest::collection::vec((0..256_usize, any::<u8>()), 0..4),
        resealed: bool,
    ) {
        let mut source = disk(MIB + 512, 512, 128, (64, 300));
        for (at, value) in entries {
            source[1024 + at] = value;
        }
        let crc = crc32fast::hash(&source[1024..1024 + 16_384]);
        LittleEndian::write_u32(&mut source[512 + 88..], crc);
        for (at, value) in changes {
            source[512 + at] = value;
        }
        if resealed {
            let size = LittleEndian::read_u32(&source[512 + 12..]).clamp(92, 512);
            seal(&mut source[512..1024], size);
        }
        let memory = Memory::new(source.clone());
        if let Ok(patches) = relocate(&memory, 2 * MIB) {
            assert_well_formed(&patches, 2 * MIB);
            let view = Memory::new(applied(&source, 2 * MIB, &patches));
            prop_assert!(patches.is_empty() || Gpt::read(&view).unwrap().unwrap().backup_is_at_end_of(2 * MIB));
        }
        prop_assert!(memory.read.get() <= 2 * MAX_ENTRIES_SIZE + (64 << 10));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000), size in 0..2 * MIB) {
        let mut signed = bytes.clone();
        if signed.len() > 1024 {
            signed[446..510].fill(0);
            signed[450] = TYPE_GPT_PROTECTIVE;
            signed[510..512].copy_from_slice(&[0x55, 0xaa]);
            signed[512..520].copy_from_slice(b"EFI PART");
        }
        for bytes in [bytes, signed] {
            let _ = relocate(&Memory::new(bytes.clone()), size);
            let _ = Header::decode(&bytes, 1);
        }
    }
}
