//! The master boot record: boot code, four partition entries, a signature.

use byteorder::{ByteOrder, LittleEndian};

/// Size of the record in bytes.
pub const MBR_SIZE: usize = 512;
/// Partition type of the entry that protects a GPT from tools that do not know it.
pub(crate) const TYPE_GPT_PROTECTIVE: u8 = 0xee;
/// Partition type of an EFI system partition.
pub const TYPE_EFI_SYSTEM: u8 = 0xef;

const ENTRIES: usize = 446;
const ENTRY_SIZE: usize = 16;
const SIGNATURE: usize = 510;
/// Offset of the number of sectors in an entry.
const ENTRY_SECTORS: usize = 12;

const _: () = assert!(ENTRIES + 4 * ENTRY_SIZE == SIGNATURE && SIGNATURE + 2 == MBR_SIZE);

/// One of the four entries of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MbrEntry {
    /// 0x80 if the partition is active, else 0.
    pub boot_indicator: u8,
    /// Partition type; 0 if the entry is unused.
    pub kind: u8,
    /// First sector of the partition.
    pub first_sector: u32,
    /// Number of sectors of the partition.
    pub sectors: u32,
}

impl MbrEntry {
    /// Whether the entry describes a partition.
    pub fn is_used(self) -> bool {
        self.kind != 0
    }

    /// Whether the entry holds further partitions in a chain of boot records.
    pub fn is_extended(self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }
}

/// A master boot record, or one of the chain in an extended partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mbr {
    bytes: [u8; MBR_SIZE],
}

impl Mbr {
    /// Takes the first sector of a disk as a boot record; `None` if the signature or the
    /// form of an entry is wrong, as in the boot sector of a file system.
    pub fn decode(bytes: [u8; MBR_SIZE]) -> Option<Self> {
        let mbr = Self { bytes };
        let signed = bytes[SIGNATURE..] == [0x55, 0xaa];
        let formed = mbr
            .entries()
            .iter()
            .all(|entry| entry.boot_indicator & 0x7f == 0);
        (signed && formed).then_some(mbr)
    }

    /// The four entries, in the order of the record.
    pub fn entries(&self) -> [MbrEntry; 4] {
        [0, 1, 2, 3].map(|index| {
            let entry = &self.bytes[ENTRIES + index * ENTRY_SIZE..][..ENTRY_SIZE];
            MbrEntry {
                boot_indicator: entry[0],
                kind: entry[4],
                first_sector: LittleEndian::read_u32(&entry[8..]),
                sectors: LittleEndian::read_u32(&entry[ENTRY_SECTORS..]),
            }
        })
    }

    /// Whether the record stands before a GPT: an entry of type 0xEE.
    pub(super) fn is_protective(&self) -> bool {
        let kinds = self.entries().map(|entry| entry.kind);
        kinds.contains(&TYPE_GPT_PROTECTIVE)
    }

    /// The record with its protective entry grown or shrunk from a disk of `old_sectors` to one
    /// of `new_sectors`.
    ///
    /// An entry that covers only a part of the disk, as hybrid records have beside other
    /// partitions, keeps its size.
    pub(super) fn protecting(&self, old_sectors: u64, new_sectors: u64) -> [u8; MBR_SIZE] {
        let mut bytes = self.bytes;
        let entries = self.entries();
        let alone = entries.iter().filter(|entry| entry.is_used()).count() == 1;
        for (index, entry) in entries.iter().enumerate() {
            let end = u64::from(entry.first_sector) + u64::from(entry.sectors);
            let whole = alone || entry.sectors == u32::MAX || end == old_sectors;
            if entry.kind == TYPE_GPT_PROTECTIVE && whole {
                let sectors = new_sectors.saturating_sub(u64::from(entry.first_sector));
                let sectors = u32::try_from(sectors).unwrap_or(u32::MAX);
                let at = ENTRIES + index * ENTRY_SIZE + ENTRY_SECTORS;
                LittleEndian::write_u32(&mut bytes[at..], sectors);
            }
        }
        bytes
    }
}
