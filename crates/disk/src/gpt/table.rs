//! One copy of a GPT, read and validated.

use std::io;

use byteorder::{ByteOrder, LittleEndian};
use thiserror::Error;

use super::mbr::{MBR_SIZE, Mbr};
use crate::Disk;

/// Largest array of partition entries that is read, in bytes: 8,192 entries of the usual size.
///
/// The specification sets no limit; the usual table has 128 entries, 16 KiB.
pub(super) const MAX_ENTRIES_SIZE: u64 = 1 << 20;

const SIGNATURE: [u8; 8] = *b"EFI PART";
/// Revision 1.0, the only one there is.
const REVISION: u32 = 0x0001_0000;
const MIN_HEADER_SIZE: u32 = 92;
const MIN_ENTRY_SIZE: u32 = 128;
/// Sector sizes in which tables are written: 512 bytes, and 4,096 on "4Kn" disks.
const SECTOR_SIZES: [u64; 2] = [512, 4096];

/// Byte offsets of the fields of a header.
pub(super) mod at {
    pub(super) const REVISION: usize = 8;
    pub(super) const HEADER_SIZE: usize = 12;
    pub(in super::super) const HEADER_CRC: usize = 16;
    pub(in super::super) const MY_LBA: usize = 24;
    pub(in super::super) const ALTERNATE_LBA: usize = 32;
    pub(super) const FIRST_USABLE_LBA: usize = 40;
    pub(in super::super) const LAST_USABLE_LBA: usize = 48;
    pub(in super::super) const ENTRIES_LBA: usize = 72;
    pub(super) const ENTRY_COUNT: usize = 80;
    pub(super) const ENTRY_SIZE: usize = 84;
    pub(super) const ENTRIES_CRC: usize = 88;
}

/// The fields of a header that are used here. Locations are in sectors of the table's size.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Size of the header in bytes, at least 92.
    pub header_size: u32,
    /// Where this header stands.
    pub my_lba: u64,
    /// Where the other header stands.
    pub alternate_lba: u64,
    /// First sector that a partition may use.
    pub first_usable_lba: u64,
    /// Last sector that a partition may use.
    pub last_usable_lba: u64,
    /// First sector of the array of entries.
    pub entries_lba: u64,
    /// Number of entries in the array.
    pub entry_count: u32,
    /// Size of an entry in bytes, at least 128.
    pub entry_size: u32,
    /// Checksum of the array.
    pub entries_crc: u32,
}

/// A used entry of the array.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Number of the partition, from 1.
    pub number: u32,
    /// Type as it stands on the disk (the first three groups are little-endian).
    pub kind: [u8; 16],
    /// First sector of the partition.
    pub first_lba: u64,
    /// Last sector of the partition.
    pub last_lba: u64,
}

/// Why bytes are no valid copy of a GPT.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Damage {
    /// The header's place is outside of the disk.
    #[error("its place, sector {0}, is outside of the disk")]
    OutsideDisk(u64),
    /// There is no header.
    #[error("the signature `EFI PART` is missing")]
    Signature,
    /// The revision is not 1.0.
    #[error("its revision is {0:#010x}, and 0x00010000 is the only one known")]
    Revision(u32),
    /// The header's size is below 92 bytes or above a sector.
    #[error("its header size is {0} bytes, and 92 bytes to a sector are possible")]
    HeaderSize(u32),
    /// The header's checksum is not that of its bytes.
    #[error("its header checksum is {found:#010x}, and its bytes give {computed:#010x}")]
    HeaderChecksum {
        /// As stored.
        found: u32,
        /// As the bytes give it.
        computed: u32,
    },
    /// The header says that it stands elsewhere.
    #[error("it stands at sector {expected} and says {found}")]
    Location {
        /// As stored.
        found: u64,
        /// Where it was read.
        expected: u64,
    },
    /// An entry is smaller than 128 bytes.
    #[error("its entries have {0} bytes, and 128 is the least")]
    EntrySize(u32),
    /// The array is larger than any that is read here, 1 MiB.
    #[error("its entries take {0} bytes, and at most {MAX_ENTRIES_SIZE} are read")]
    EntriesSize(u64),
    /// The array is not where an array can be.
    #[error("its entries at sector {0} are outside of the disk")]
    EntriesLocation(u64),
    /// The usable sectors are none.
    #[error("its first usable sector {first} is behind its last, {last}")]
    UsableRange {
        /// First usable sector.
        first: u64,
        /// Last usable sector.
        last: u64,
    },
    /// The array's checksum is not that of its bytes.
    #[error("the checksum of its entries is {found:#010x}, and their bytes give {computed:#010x}")]
    EntriesChecksum {
        /// As stored.
        found: u32,
        /// As the bytes give it.
        computed: u32,
    },
}

impl Header {
    /// Decodes the header in a whole sector and checks all that the sector alone shows.
    ///
    /// # Errors
    ///
    /// The first thing that does not hold.
    pub(super) fn decode(sector: &[u8], lba: u64) -> Result<Self, Damage> {
        if sector.len() < MIN_HEADER_SIZE as usize || !sector.starts_with(&SIGNATURE) {
            return Err(Damage::Signature);
        }
        let u32_at = |at: usize| LittleEndian::read_u32(&sector[at..]);
        let u64_at = |at: usize| LittleEndian::read_u64(&sector[at..]);
        if u32_at(at::REVISION) != REVISION {
            return Err(Damage::Revision(u32_at(at::REVISION)));
        }
        let header_size = u32_at(at::HEADER_SIZE);
        if header_size < MIN_HEADER_SIZE || header_size as usize > sector.len() {
            return Err(Damage::HeaderSize(header_size));
        }
        let (found, computed) = (u32_at(at::HEADER_CRC), header_crc(sector, header_size));
        if found != computed {
            return Err(Damage::HeaderChecksum { found, computed });
        }
        let header = Self {
            header_size,
            my_lba: u64_at(at::MY_LBA),
            alternate_lba: u64_at(at::ALTERNATE_LBA),
            first_usable_lba: u64_at(at::FIRST_USABLE_LBA),
            last_usable_lba: u64_at(at::LAST_USABLE_LBA),
            entries_lba: u64_at(at::ENTRIES_LBA),
            entry_count: u32_at(at::ENTRY_COUNT),
            entry_size: u32_at(at::ENTRY_SIZE),
            entries_crc: u32_at(at::ENTRIES_CRC),
        };
        header.checked(lba)
    }

    fn checked(self, lba: u64) -> Result<Self, Damage> {
        if self.my_lba != lba {
            return Err(Damage::Location {
                found: self.my_lba,
                expected: lba,
            });
        }
        if self.entry_size < MIN_ENTRY_SIZE {
            return Err(Damage::EntrySize(self.entry_size));
        }
        if self.entries_size() > MAX_ENTRIES_SIZE {
            return Err(Damage::EntriesSize(self.entries_size()));
        }
        if self.first_usable_lba > self.last_usable_lba {
            return Err(Damage::UsableRange {
                first: self.first_usable_lba,
                last: self.last_usable_lba,
            });
        }
        Ok(self)
    }

    /// Size of the array of entries in bytes.
    pub(super) fn entries_size(&self) -> u64 {
        u64::from(self.entry_count) * u64::from(self.entry_size)
    }
}

/// Checksum of a header of `header_size` bytes, with the checksum's own field taken as zero.
pub(super) fn header_crc(sector: &[u8], header_size: u32) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&sector[..at::HEADER_CRC]);
    crc.update(&[0; 4]);
    crc.update(&sector[at::HEADER_CRC + 4..header_size as usize]);
    crc.finalize()
}

/// A valid copy of a GPT: its header and its array of entries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    /// The decoded header.
    pub header: Header,
    /// The header's whole sector.
    pub(super) header_sector: Vec<u8>,
    /// The array of entries, to its last byte.
    pub(super) entries: Vec<u8>,
}

impl Table {
    /// Reads the copy whose header stands at `lba` and validates it.
    ///
    /// # Errors
    ///
    /// The outer error is the disk's; the inner one says why the copy is not valid. At most a
    /// sector and [`MAX_ENTRIES_SIZE`] bytes are read.
    pub(super) fn read(
        disk: &dyn Disk,
        sector_size: u64,
        lba: u64,
    ) -> io::Result<Result<Self, Damage>> {
        let Some(header_sector) = read_sectors(disk, sector_size, lba, sector_size)? else {
            return Ok(Err(Damage::OutsideDisk(lba)));
        };
        let header = match Header::decode(&header_sector, lba) {
            Ok(header) => header,
            Err(damage) => return Ok(Err(damage)),
        };
        let (entries_lba, size) = (header.entries_lba, header.entries_size());
        let Some(entries) = read_sectors(disk, sector_size, entries_lba, size)? else {
            return Ok(Err(Damage::EntriesLocation(entries_lba)));
        };
        let (found, computed) = (header.entries_crc, crc32fast::hash(&entries));
        if found != computed {
            return Ok(Err(Damage::EntriesChecksum { found, computed }));
        }
        Ok(Ok(Self {
            header,
            header_sector,
            entries,
        }))
    }

    /// The entries in use, in the order of the array.
    pub fn partitions(&self) -> impl Iterator<Item = Entry> + '_ {
        let entries = self.entries.chunks_exact(self.header.entry_size as usize);
        (1..).zip(entries).filter_map(|(number, entry)| {
            let kind: [u8; 16] = entry[..16].try_into().ok()?;
            (kind != [0; 16]).then(|| Entry {
                number,
                kind,
                first_lba: LittleEndian::read_u64(&entry[32..]),
                last_lba: LittleEndian::read_u64(&entry[40..]),
            })
        })
    }

    /// Whether both copies describe the same partitions of the same disk.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.entries == other.entries
            && self.header.alternate_lba == other.header.my_lba
            && self.header.my_lba == other.header.alternate_lba
            && self.header.last_usable_lba == other.header.last_usable_lba
            && self.header_sector[56..72] == other.header_sector[56..72]
    }
}

/// The `size` bytes from sector `lba` on; `None` if they are not wholly on the disk.
fn read_sectors(
    disk: &dyn Disk,
    sector_size: u64,
    lba: u64,
    size: u64,
) -> io::Result<Option<Vec<u8>>> {
    let Some(offset) = lba.checked_mul(sector_size) else {
        return Ok(None);
    };
    if offset.checked_add(size).is_none_or(|end| end > disk.size()) {
        return Ok(None);
    }
    let Ok(size) = usize::try_from(size) else {
        return Ok(None);
    };
    let mut bytes = vec![0; size];
    disk.read_exact_at(&mut bytes, offset)?;
    Ok(Some(bytes))
}

/// The GPT of a disk: both copies, valid or not.
#[derive(Clone, Debug)]
pub struct Gpt {
    /// The boot record before it.
    pub mbr: Mbr,
    /// Size of the sectors in which the table counts, 512 or 4,096 bytes.
    pub sector_size: u64,
    /// The copy at sector 1.
    pub primary: Result<Table, Damage>,
    /// The copy where the primary one says; without that, at the disk's last whole sector.
    pub backup: Result<Table, Damage>,
}

impl Gpt {
    /// Reads the GPT of a disk; `None` if no protective boot record announces one.
    ///
    /// # Errors
    ///
    /// The disk's own. At most 2 MiB and a few sectors are read.
    pub fn read(disk: &dyn Disk) -> io::Result<Option<Self>> {
        if disk.size() < MBR_SIZE as u64 {
            return Ok(None);
        }
        let mut first = [0; MBR_SIZE];
        disk.read_exact_at(&mut first, 0)?;
        match Mbr::decode(first) {
            Some(mbr) if mbr.is_protective() => Self::read_behind(disk, mbr).map(Some),
            _ => Ok(None),
        }
    }

    fn read_behind(disk: &dyn Disk, mbr: Mbr) -> io::Result<Self> {
        let sector_size = sector_size_of(disk)?;
        let primary = Table::read(disk, sector_size, 1)?;
        let last = (disk.size() / sector_size).saturating_sub(1);
        let backup_lba = match &primary {
            Ok(table) => table.header.alternate_lba,
            Err(_) => last,
        };
        Ok(Self {
            mbr,
            sector_size,
            backup: Table::read(disk, sector_size, backup_lba)?,
            primary,
        })
    }

    /// The copy that systems use: the primary one, or the backup if only that is valid.
    pub fn table(&self) -> Option<&Table> {
        self.primary.as_ref().or(self.backup.as_ref()).ok()
    }

    /// Whether a valid backup stands in the last sector of a disk of `size` bytes.
    pub fn backup_is_at_end_of(&self, size: u64) -> bool {
        let last = (size / self.sector_size).checked_sub(1);
        self.backup
            .as_ref()
            .is_ok_and(|table| Some(table.header.my_lba) == last)
    }
}

/// The sector size at which a header is found: behind the boot record, else in the last sector.
fn sector_size_of(disk: &dyn Disk) -> io::Result<u64> {
    for from_end in [false, true] {
        for sector_size in SECTOR_SIZES {
            let last = (disk.size() / sector_size).saturating_sub(1);
            let lba = if from_end { last } else { 1 };
            let head = read_sectors(disk, sector_size, lba, SIGNATURE.len() as u64)?;
            if head.is_some_and(|head| head == SIGNATURE) {
                return Ok(sector_size);
            }
        }
    }
    Ok(SECTOR_SIZES[0])
}
