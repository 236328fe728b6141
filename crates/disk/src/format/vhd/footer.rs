//! The footer and the header of a VHD.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::format::Defect;

/// Number of bytes of a sector, the unit of all offsets.
pub(super) const SECTOR: u64 = 512;
/// First bytes of a footer.
pub(super) const COOKIE: &[u8; 8] = b"conectix";
/// First bytes of the header of a dynamic disk.
const HEADER_COOKIE: &[u8; 8] = b"cxsparse";
/// Number of sectors of the largest geometry; it stands for every disk that is at least as large.
const MAX_GEOMETRY: u64 = 65535 * 16 * 255;

/// The values of [`Footer::disk_type`].
pub(super) mod disk_type {
    pub(in super::super) const FIXED: u32 = 2;
    pub(in super::super) const DYNAMIC: u32 = 3;
    pub(in super::super) const DIFFERENCING: u32 = 4;
}

/// "Hard Disk Footer Format".
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct Footer {
    cookie: [u8; 8],
    features: U32,
    version: U32,
    /// Offset of the header of a dynamic disk.
    pub(super) data_offset: U64,
    timestamp: U32,
    creator: [u8; 4],
    creator_version: U32,
    creator_os: [u8; 4],
    original_size: U64,
    current_size: U64,
    cylinders: U16,
    heads: u8,
    sectors_per_track: u8,
    pub(super) disk_type: U32,
    checksum: U32,
    unique_id: [u8; 16],
    saved_state: u8,
    reserved: [u8; 427],
}

/// "Dynamic Disk Header Format".
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    cookie: [u8; 8],
    data_offset: U64,
    /// Offset of the block allocation table.
    pub(super) table_offset: U64,
    version: U32,
    pub(super) max_table_entries: U32,
    /// Number of bytes of a block, without its bitmap.
    pub(super) block_size: U32,
    checksum: U32,
    parent_id: [u8; 16],
    parent_timestamp: U32,
    reserved: U32,
    /// UTF-16 in big-endian order.
    parent_name: [U16; 256],
    parent_locators: [[u8; 24]; 8],
    reserved_2: [u8; 256],
}

const _: () = assert!(size_of::<Footer>() == 512);
const _: () = assert!(size_of::<Header>() == 1024);

impl Footer {
    /// The footer in these bytes, if they begin like one.
    pub(super) fn find(bytes: &[u8]) -> Option<Self> {
        let (footer, _) = Self::read_from_prefix(bytes).ok()?;
        (footer.cookie == *COOKIE).then_some(footer)
    }

    /// # Errors
    ///
    /// [`Defect::Checksum`].
    pub(super) fn check(&self) -> Result<(), Defect> {
        check(self.as_bytes(), self.checksum)
    }

    /// Number of bytes of the disk, a whole number of sectors.
    ///
    /// Virtual PC gives its guests the disk that the geometry describes, and QEMU did so until it had `force_size`. Hyper-V
    /// and all others give them the current size. The largest geometry says nothing of larger disks.
    pub(super) fn disk_size(&self) -> u64 {
        let geometry = u64::from(self.cylinders.get())
            * u64::from(self.heads)
            * u64::from(self.sectors_per_track);
        let sectors = match &self.creator {
            b"vpc " | b"qemu" if geometry != MAX_GEOMETRY => geometry,
            _ => self.current_size.get() / SECTOR,
        };
        sectors * SECTOR
    }
}

impl Header {
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), Defect> {
        if self.cookie != *HEADER_COOKIE {
            return Err(Defect::Value);
        }
        check(self.as_bytes(), self.checksum)?;
        let size = u64::from(self.block_size.get());
        if !size.is_power_of_two() || size < SECTOR {
            return Err(Defect::Value);
        }
        Ok(())
    }

    /// Name of the disk that a differencing one is based on.
    pub(super) fn parent(&self) -> String {
        let units = self.parent_name.iter().map(|unit| unit.get());
        char::decode_utf16(units.take_while(|&unit| unit != 0))
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    }
}

/// The checksum is the ones' complement of the sum of all bytes, with its own taken as zero.
fn check(bytes: &[u8], checksum: U32) -> Result<(), Defect> {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    if !(sum(bytes) - sum(checksum.as_bytes())) == checksum.get() {
        Ok(())
    } else {
        Err(Defect::Checksum)
    }
}
