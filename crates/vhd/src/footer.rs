//! The 512-byte footer of a VHD.
//!
//! Source: Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer Format"; the
//! choices where real readers are stricter than the text are given at each constant.

use byteorder::{BigEndian, ByteOrder};
use thiserror::Error;
use uuid::Uuid;

use crate::geometry::Geometry;
use crate::size;

pub use crate::geometry::SECTOR_SIZE;

/// Size of the footer in bytes.
pub const FOOTER_SIZE: usize = 512;
/// The first eight bytes of every footer.
pub const COOKIE: [u8; 8] = *b"conectix";

/// The reserved bit of `features`, which must always be set.
const FEATURES_RESERVED: u32 = 0x0000_0002;
const FILE_FORMAT_VERSION: u32 = 0x0001_0000;
/// Fixed disks have no dynamic header. The specification's text says a 32-bit value; libvhdi,
/// dissect and vhd-util read all eight bytes.
const NO_DATA_OFFSET: u64 = u64::MAX;
/// `win ` makes readers trust the current size; for other creators qemu uses the geometry.
const CREATOR_APPLICATION: [u8; 4] = *b"win ";
const CREATOR_VERSION: u32 = 0x000A_0000;
const CREATOR_HOST_OS: [u8; 4] = *b"Wi2k";
/// Disk type of a fixed VHD.
pub const DISK_TYPE_FIXED: u32 = 2;
/// Disk type of a dynamic VHD.
pub const DISK_TYPE_DYNAMIC: u32 = 3;
/// Disk type of a differencing VHD.
pub const DISK_TYPE_DIFFERENCING: u32 = 4;
/// 2000-01-01T00:00:00Z, where VHD timestamps begin, in Unix seconds.
const VHD_EPOCH: i64 = 946_684_800;
/// Namespace of the unique ids that vhdfs derives.
const NAMESPACE: Uuid = Uuid::from_u128(0x1c922188_fcaf_477f_88c5_dcf147240eef);

/// Byte offsets of the fields, in the order of the file.
mod at {
    pub(super) const COOKIE: usize = 0;
    pub(super) const FEATURES: usize = 8;
    pub(super) const FILE_FORMAT_VERSION: usize = 12;
    pub(super) const DATA_OFFSET: usize = 16;
    pub(super) const TIMESTAMP: usize = 24;
    pub(super) const CREATOR_APPLICATION: usize = 28;
    pub(super) const CREATOR_VERSION: usize = 32;
    pub(super) const CREATOR_HOST_OS: usize = 36;
    pub(super) const ORIGINAL_SIZE: usize = 40;
    pub(super) const CURRENT_SIZE: usize = 48;
    pub(super) const CYLINDERS: usize = 56;
    pub(super) const HEADS: usize = 58;
    pub(super) const SECTORS_PER_TRACK: usize = 59;
    pub(super) const DISK_TYPE: usize = 60;
    pub(super) const CHECKSUM: usize = 64;
    pub(super) const UNIQUE_ID: usize = 68;
    pub(super) const SAVED_STATE: usize = 84;
    pub(super) const RESERVED: usize = 85;
}

const _: () = assert!(at::RESERVED + 427 == FOOTER_SIZE);
const _: () = assert!(at::UNIQUE_ID + size_of::<Uuid>() == at::SAVED_STATE);
const _: () = assert!(FOOTER_SIZE as u64 == SECTOR_SIZE);

/// What distinguishes one source from another in its footer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity<'a> {
    /// Base name of the source, as the bytes of its directory entry.
    pub base_name: &'a [u8],
    /// Size of the source in bytes.
    pub source_size: u64,
    /// Modification time of the source in whole Unix seconds, rounded towards the past.
    pub mtime_seconds: i64,
}

impl Identity<'_> {
    /// The `unique id` field of a view of `virtual_size` bytes: a UUIDv5 (RFC 9562), so that the
    /// same source has it everywhere. The virtual size is part of it only if the disk was made
    /// larger than whole MiB demand.
    pub fn unique_id(&self, virtual_size: u64) -> Uuid {
        let mut name = self.base_name.to_vec();
        name.push(0);
        name.extend(self.source_size.to_string().bytes());
        name.push(0);
        name.extend(self.mtime_seconds.to_string().bytes());
        if size::virtual_size(self.source_size).is_some_and(|size| size < virtual_size) {
            name.push(0);
            name.extend(virtual_size.to_string().bytes());
        }
        Uuid::new_v5(&NAMESPACE, &name)
    }

    /// The `timestamp` field: seconds since 2000, clamped to what 32 bits hold.
    fn timestamp(&self) -> u32 {
        let seconds = self.mtime_seconds.saturating_sub(VHD_EPOCH);
        seconds.clamp(0, i64::from(u32::MAX)) as u32
    }
}

/// A footer with its fields decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Footer {
    /// Feature bits.
    pub features: u32,
    /// Version of the file format, major in the upper half.
    pub file_format_version: u32,
    /// Offset of the dynamic header in bytes; all ones if there is none.
    pub data_offset: u64,
    /// Time of creation in seconds since 2000-01-01T00:00:00Z.
    pub timestamp: u32,
    /// Program that wrote the disk.
    pub creator_application: [u8; 4],
    /// Version of that program.
    pub creator_version: u32,
    /// Operating system it ran on.
    pub creator_host_os: [u8; 4],
    /// Size of the disk when it was created, in bytes.
    pub original_size: u64,
    /// Size of the disk now, in bytes.
    pub current_size: u64,
    /// Geometry of the disk.
    pub geometry: Geometry,
    /// 2 fixed, 3 dynamic, 4 differencing.
    pub disk_type: u32,
    /// Checksum as stored.
    pub checksum: u32,
    /// Identity of the disk.
    pub unique_id: Uuid,
    /// 1 if the virtual machine was suspended.
    pub saved_state: u8,
}

/// Why bytes are no footer, or a footer does not describe a fixed VHD.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum FooterError {
    /// The cookie is missing.
    #[error("the cookie `conectix` is missing")]
    Cookie,
    /// The stored checksum is not that of the bytes.
    #[error("its checksum is {found:#010x}, and its bytes give {computed:#010x}")]
    Checksum {
        /// As stored.
        found: u32,
        /// As the bytes give it.
        computed: u32,
    },
    /// The disk type is not 2.
    #[error("its disk type is {0}, and a fixed VHD has type 2")]
    DiskType(u32),
    /// The current size does not fit the length of the file.
    #[error(
        "its current size is {current_size}, and the file holds {expected} bytes before the footer"
    )]
    CurrentSize {
        /// As stored, in bytes.
        current_size: u64,
        /// Length of the file less the footer, in bytes.
        expected: u64,
    },
}

impl Footer {
    /// The footer of the fixed VHD with `virtual_size` bytes that appears for a source.
    pub fn fixed(identity: Identity<'_>, virtual_size: u64) -> Self {
        let mut footer = Self {
            features: FEATURES_RESERVED,
            file_format_version: FILE_FORMAT_VERSION,
            data_offset: NO_DATA_OFFSET,
            timestamp: identity.timestamp(),
            creator_application: CREATOR_APPLICATION,
            creator_version: CREATOR_VERSION,
            creator_host_os: CREATOR_HOST_OS,
            original_size: virtual_size,
            current_size: virtual_size,
            geometry: Geometry::of(virtual_size),
            disk_type: DISK_TYPE_FIXED,
            checksum: 0,
            unique_id: identity.unique_id(virtual_size),
            saved_state: 0,
        };
        footer.checksum = checksum(&footer.encode());
        footer
    }

    /// The bytes of the footer, with the checksum that it holds and zeros in the reserved part.
    pub fn encode(&self) -> [u8; FOOTER_SIZE] {
        let mut bytes = [0; FOOTER_SIZE];
        bytes[at::COOKIE..at::FEATURES].copy_from_slice(&COOKIE);
        BigEndian::write_u32(&mut bytes[at::FEATURES..], self.features);
        BigEndian::write_u32(
            &mut bytes[at::FILE_FORMAT_VERSION..],
            self.file_format_version,
        );
        BigEndian::write_u64(&mut bytes[at::DATA_OFFSET..], self.data_offset);
        BigEndian::write_u32(&mut bytes[at::TIMESTAMP..], self.timestamp);
        bytes[at::CREATOR_APPLICATION..at::CREATOR_VERSION]
            .copy_from_slice(&self.creator_application);
        BigEndian::write_u32(&mut bytes[at::CREATOR_VERSION..], self.creator_version);
        bytes[at::CREATOR_HOST_OS..at::ORIGINAL_SIZE].copy_from_slice(&self.creator_host_os);
        BigEndian::write_u64(&mut bytes[at::ORIGINAL_SIZE..], self.original_size);
        BigEndian::write_u64(&mut bytes[at::CURRENT_SIZE..], self.current_size);
        BigEndian::write_u16(&mut bytes[at::CYLINDERS..], self.geometry.cylinders);
        bytes[at::HEADS] = self.geometry.heads;
        bytes[at::SECTORS_PER_TRACK] = self.geometry.sectors_per_track;
        BigEndian::write_u32(&mut bytes[at::DISK_TYPE..], self.disk_type);
        BigEndian::write_u32(&mut bytes[at::CHECKSUM..], self.checksum);
        bytes[at::UNIQUE_ID..at::SAVED_STATE].copy_from_slice(self.unique_id.as_bytes());
        bytes[at::SAVED_STATE] = self.saved_state;
        bytes
    }

    /// Decodes the fields of a footer, whatever their values.
    ///
    /// # Errors
    ///
    /// [`FooterError::Cookie`] if the bytes do not begin with [`COOKIE`].
    pub fn decode(bytes: &[u8; FOOTER_SIZE]) -> Result<Self, FooterError> {
        if !bytes.starts_with(&COOKIE) {
            return Err(FooterError::Cookie);
        }
        let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let mut unique_id = [0; size_of::<Uuid>()];
        unique_id.copy_from_slice(&bytes[at::UNIQUE_ID..at::SAVED_STATE]);
        Ok(Self {
            features: BigEndian::read_u32(&bytes[at::FEATURES..]),
            file_format_version: BigEndian::read_u32(&bytes[at::FILE_FORMAT_VERSION..]),
            data_offset: BigEndian::read_u64(&bytes[at::DATA_OFFSET..]),
            timestamp: BigEndian::read_u32(&bytes[at::TIMESTAMP..]),
            creator_application: four(at::CREATOR_APPLICATION),
            creator_version: BigEndian::read_u32(&bytes[at::CREATOR_VERSION..]),
            creator_host_os: four(at::CREATOR_HOST_OS),
            original_size: BigEndian::read_u64(&bytes[at::ORIGINAL_SIZE..]),
            current_size: BigEndian::read_u64(&bytes[at::CURRENT_SIZE..]),
            geometry: Geometry {
                cylinders: BigEndian::read_u16(&bytes[at::CYLINDERS..]),
                heads: bytes[at::HEADS],
                sectors_per_track: bytes[at::SECTORS_PER_TRACK],
            },
            disk_type: BigEndian::read_u32(&bytes[at::DISK_TYPE..]),
            checksum: BigEndian::read_u32(&bytes[at::CHECKSUM..]),
            unique_id: Uuid::from_bytes(unique_id),
            saved_state: bytes[at::SAVED_STATE],
        })
    }

    /// Decodes the last 512 bytes of a file of `file_size` bytes and checks that they make the
    /// whole file a fixed VHD.
    ///
    /// # Errors
    ///
    /// The first of cookie, checksum, disk type and current size that does not hold.
    pub fn decode_fixed(bytes: &[u8; FOOTER_SIZE], file_size: u64) -> Result<Self, FooterError> {
        let footer = Self::decode(bytes)?;
        let computed = checksum(bytes);
        if footer.checksum != computed {
            return Err(FooterError::Checksum {
                found: footer.checksum,
                computed,
            });
        }
        if footer.disk_type != DISK_TYPE_FIXED {
            return Err(FooterError::DiskType(footer.disk_type));
        }
        let expected = file_size.saturating_sub(FOOTER_SIZE as u64);
        if footer.current_size != expected {
            return Err(FooterError::CurrentSize {
                current_size: footer.current_size,
                expected,
            });
        }
        Ok(footer)
    }
}

/// Ones' complement of the sum of the footer's bytes, with the checksum field taken as zero.
pub fn checksum(bytes: &[u8; FOOTER_SIZE]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    !(sum(bytes) - sum(&bytes[at::CHECKSUM..at::UNIQUE_ID]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Footer {
        let identity = Identity {
            base_name: b"disk.raw",
            source_size: 1,
            mtime_seconds: 1_700_000_000,
        };
        Footer::fixed(identity, 1 << 20)
    }

    #[test]
    fn fields_stand_where_the_contract_puts_them() {
        let bytes = sample().encode();
        assert_eq!(&bytes[..8], b"conectix");
        assert_eq!(
            bytes[8..24],
            [
                0, 0, 0, 2, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255
            ]
        );
        assert_eq!(
            bytes[24..28],
            (1_700_000_000_u32 - 946_684_800).to_be_bytes()
        );
        assert_eq!(&bytes[28..40], b"win \x00\x0a\x00\x00Wi2k");
        assert_eq!(bytes[40..48], (1_u64 << 20).to_be_bytes());
        assert_eq!(bytes[48..56], (1_u64 << 20).to_be_bytes());
        assert_eq!(bytes[60..64], [0, 0, 0, 2]);
        assert!(bytes[84..].iter().all(|&byte| byte == 0));
    }

    /// Computed from the contract's words with Python's `uuid.uuid5`.
    #[test]
    fn the_id_of_a_grown_disk_holds_its_size() {
        let identity = Identity {
            base_name: b"disk.raw",
            source_size: 1,
            mtime_seconds: 1_700_000_000,
        };
        let id = |size: u64| identity.unique_id(size << 20).to_string();
        assert_eq!(id(1), "6815257c-8a2f-5581-86b6-6b4fde123dbd");
        assert_eq!(id(2), "68c35c99-dd8f-58a8-bd1d-ae7583381d2d");
    }

    #[test]
    fn timestamps_are_clamped() {
        let stamp = |mtime_seconds| {
            Identity {
                base_name: b"",
                source_size: 0,
                mtime_seconds,
            }
            .timestamp()
        };
        assert_eq!(stamp(i64::MIN), 0);
        assert_eq!(stamp(-1), 0);
        assert_eq!(stamp(VHD_EPOCH), 0);
        assert_eq!(stamp(VHD_EPOCH + 1), 1);
        assert_eq!(stamp(VHD_EPOCH + (1 << 32) - 1), u32::MAX);
        assert_eq!(stamp(i64::MAX), u32::MAX);
    }

    #[test]
    fn a_fixed_footer_is_recognised_and_each_defect_named() {
        let good = sample().encode();
        let size = (1 << 20) + 512;
        assert_eq!(Footer::decode_fixed(&good, size), Ok(sample()));
        let error = |change: &dyn Fn(&mut [u8; 512]), size| {
            let mut bytes = good;
            change(&mut bytes);
            Footer::decode_fixed(&bytes, size)
        };
        assert_eq!(error(&|b| b[0] = b'C', size), Err(FooterError::Cookie));
        assert!(matches!(
            error(&|b| b[511] = 1, size),
            Err(FooterError::Checksum { .. })
        ));
        let dynamic = Footer {
            disk_type: 3,
            ..sample()
        };
        let dynamic = Footer {
            checksum: checksum(&dynamic.encode()),
            ..dynamic
        }
        .encode();
        assert_eq!(
            Footer::decode_fixed(&dynamic, size),
            Err(FooterError::DiskType(3))
        );
        let wrong = FooterError::CurrentSize {
            current_size: 1 << 20,
            expected: (1 << 20) + 512,
        };
        assert_eq!(Footer::decode_fixed(&good, size + 512), Err(wrong));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), FOOTER_SIZE), with_cookie: bool, size: u64) {
            if with_cookie {
                bytes[..8].copy_from_slice(&COOKIE);
            }
            let bytes: [u8; FOOTER_SIZE] = bytes.try_into().unwrap();
            let decoded = Footer::decode(&bytes);
            prop_assert_eq!(decoded.is_ok(), bytes.starts_with(&COOKIE));
            if let Ok(footer) = decoded {
                prop_assert_eq!(&footer.encode()[..85], &bytes[..85]);
            }
            let _ = Footer::decode_fixed(&bytes, size);
        }
    }
}
