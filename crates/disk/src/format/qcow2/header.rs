//! The header of a qcow2 image and its extensions, after docs/interop/qcow2.rst of QEMU.

use std::mem::size_of;

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::super::{Defect, Format, FormatError, Input};
use crate::cache::Tables;
use crate::{ByteRange, Disk};

/// Encryption, as a value of the header: none.
const NOT_ENCRYPTED: u32 = 0;
/// Length of a backing file's name in bytes, at most.
const MAX_NAME: u32 = 1023;
/// Size of the L1 table in bytes, at most, as in QEMU.
const MAX_L1_SIZE: u64 = 32 << 20;
/// Exponents of the cluster size.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// Smallest exponent of the cluster size with extended L2 entries.
const MIN_EXTENDED_BITS: u32 = 14;

/// Bits of the features that a reader has to know.
mod incompatible {
    pub(super) const DIRTY: u64 = 1;
    pub(super) const CORRUPT: u64 = 1 << 1;
    pub(super) const DATA_FILE: u64 = 1 << 2;
    pub(super) const COMPRESSION: u64 = 1 << 3;
    pub(super) const EXTENDED_L2: u64 = 1 << 4;
    pub(super) const KNOWN: u64 = DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2;
}

/// Types of header extensions.
mod extension {
    pub(super) const END: u32 = 0;
    pub(super) const BACKING_FORMAT: u32 = 0xe279_2aca;
    pub(super) const FEATURE_NAMES: u32 = 0x6803_f857;
    pub(super) const DATA_FILE: u32 = 0x4441_5441;
}

/// What all versions begin with.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Version2 {
    magic: [u8; 4],
    version: U32,
    backing_file_offset: U64,
    backing_file_size: U32,
    cluster_bits: U32,
    size: U64,
    crypt_method: U32,
    l1_size: U32,
    l1_table_offset: U64,
    refcount_table_offset: U64,
    refcount_table_clusters: U32,
    nb_snapshots: U32,
    snapshots_offset: U64,
}

/// What follows in version 3.
#[derive(Default, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Version3 {
    incompatible_features: U64,
    compatible_features: U64,
    autoclear_features: U64,
    refcount_order: U32,
    header_length: U32,
}

const _: () = assert!(size_of::<Version2>() == 72 && size_of::<Version3>() == 32);

/// Length of the header of version 3 without optional fields.
const VERSION_3_LENGTH: u32 = 104;
/// Where the type of compression stands.
const COMPRESSION_AT: u64 = 104;

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Compression {
    Zlib,
    Zstd,
}

/// What the header says, checked.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    /// Size of the disk in bytes, in whole sectors of 512 bytes as QEMU takes it.
    pub(super) size: u64,
    /// Where the L1 table lies.
    pub(super) l1: ByteRange,
    pub(super) extended_l2: bool,
    pub(super) compression: Compression,
    /// Name of the backing file.
    pub(super) backing: Option<Vec<u8>>,
    /// Its format.
    pub(super) backing_format: Option<String>,
    /// Name of the external data file; empty if the image needs one and does not name it.
    pub(super) data_file: Option<Vec<u8>>,
}

/// What the extensions say.
#[derive(Default)]
struct Extensions {
    backing_format: Option<String>,
    data_file: Option<Vec<u8>>,
    feature_names: Vec<u8>,
}

impl Header {
    /// Reads and checks the header.
    pub(super) fn read(input: &Input, tables: &Tables) -> Result<Self, FormatError> {
        let reader = Reader { input, tables };
        let common = reader.common()?;
        let version = common.version.get();
        let cluster_size = 1 << common.cluster_bits.get();
        let newer = reader.newer(version, cluster_size)?;
        let length = match version {
            2 => size_of::<Version2>() as u32,
            _ => newer.header_length.get(),
        };
        let backing = reader.backing(&common, cluster_size)?;
        let end = match &backing {
            Some(_) => common.backing_file_offset.get(),
            None => cluster_size,
        };
        let extensions = reader.extensions(length.into(), end)?;
        let features = newer.incompatible_features.get();
        check_features(features, &extensions.feature_names)?;
        if common.crypt_method.get() != NOT_ENCRYPTED {
            return Err(FormatError::Encrypted(Format::QCOW2));
        }
        let extended_l2 = features & incompatible::EXTENDED_L2 != 0;
        if extended_l2 && common.cluster_bits.get() < MIN_EXTENDED_BITS {
            return Err(reader.value());
        }
        Ok(Self {
            version,
            cluster_bits: common.cluster_bits.get(),
            size: common.size.get() / 512 * 512,
            l1: reader.l1(&common, extended_l2)?,
            extended_l2,
            compression: reader.compression(features, length)?,
            backing,
            backing_format: extensions.backing_format,
            data_file: (features & incompatible::DATA_FILE != 0)
                .then(|| extensions.data_file.unwrap_or_default()),
        })
    }
}

/// Refuses features that are unknown, by name if the image gives one, and an image marked as corrupt.
fn check_features(features: u64, names: &[u8]) -> Result<(), FormatError> {
    let unknown = features & !incompatible::KNOWN;
    if unknown != 0 {
        let bit = unknown.trailing_zeros() as u8;
        let name = names
            .chunks_exact(48)
            .find(|entry| entry[..2] == [0, bit])
            .map(|entry| {
                String::from_utf8_lossy(&entry[2..])
                    .trim_end_matches('\0')
                    .replace(char::is_control, "?")
            });
        return Err(FormatError::UnknownFeature(match name {
            Some(name) => format!("the qcow2 feature `{name}` (bit {bit})"),
            None => format!("a qcow2 feature without name (bit {bit})"),
        }));
    }
    if features & incompatible::CORRUPT != 0 {
        return Err(FormatError::MarkedCorrupt);
    }
    Ok(())
}

/// Reads the parts of the header.
struct Reader<'a> {
    input: &'a Input,
    tables: &'a Tables,
}

impl Reader<'_> {
    fn bytes<const N: usize>(&self, offset: u64) -> Result<[u8; N], FormatError> {
        let mut bytes = [0; N];
        self.tables
            .read(self.input, "the header", &mut bytes, offset)?;
        Ok(bytes)
    }

    /// The header holds a value that the format does not allow.
    fn value(&self) -> FormatError {
        self.input.damage("the header", 0, Defect::Value).into()
    }

    fn common(&self) -> Result<Version2, FormatError> {
        let bytes: [u8; size_of::<Version2>()] = self.bytes(0)?;
        let common: Version2 = zerocopy::transmute!(bytes);
        let version = common.version.get();
        if !matches!(version, 2 | 3) {
            return Err(FormatError::UnknownVersion {
                format: Format::QCOW2,
                version: version.into(),
            });
        }
        let bits = common.cluster_bits.get();
        if bits > *CLUSTER_BITS.end() {
            return Err(FormatError::Limit {
                what: "cluster size",
                value: 1_u64.checked_shl(bits).unwrap_or(u64::MAX),
                limit: 1 << CLUSTER_BITS.end(),
            });
        }
        if bits < *CLUSTER_BITS.start() {
            return Err(self.value());
        }
        Ok(common)
    }

    fn newer(&self, version: u32, cluster_size: u64) -> Result<Version3, FormatError> {
        if version == 2 {
            return Ok(Version3::default());
        }
        let bytes: [u8; size_of::<Version3>()] = self.bytes(size_of::<Version2>() as u64)?;
        let newer: Version3 = zerocopy::transmute!(bytes);
        let length = newer.header_length.get();
        let length_fits = length >= VERSION_3_LENGTH && u64::from(length) <= cluster_size;
        if !length_fits || newer.refcount_order.get() > 6 {
            return Err(self.value());
        }
        Ok(newer)
    }

    fn compression(&self, features: u64, length: u32) -> Result<Compression, FormatError> {
        let stated = if u64::from(length) > COMPRESSION_AT {
            self.bytes::<1>(COMPRESSION_AT)?[0]
        } else {
            0
        };
        match (stated, features & incompatible::COMPRESSION != 0) {
            (0, false) => Ok(Compression::Zlib),
            (1, true) => Ok(Compression::Zstd),
            (2.., true) => Err(FormatError::UnknownFeature(format!(
                "the qcow2 compression of type {stated}"
            ))),
            _ => Err(self.value()),
        }
    }

    /// The place of the L1 table, which has to lead to the whole disk.
    fn l1(&self, common: &Version2, extended: bool) -> Result<ByteRange, FormatError> {
        let bits = common.cluster_bits.get();
        let entry_bits = if extended { 4 } else { 3 };
        let covered_bits = bits + (bits - entry_bits);
        let needed = common.size.get().div_ceil(1 << covered_bits);
        let length = u64::from(common.l1_size.get()) * 8;
        for length in [length, needed.saturating_mul(8)] {
            if length > MAX_L1_SIZE {
                return Err(FormatError::Limit {
                    what: "L1 table's size",
                    value: length,
                    limit: MAX_L1_SIZE,
                });
            }
        }
        if length < needed * 8 {
            return Err(self.value());
        }
        let offset = common.l1_table_offset.get();
        let damage = |defect| self.input.damage("the L1 table", offset, defect);
        let l1 = ByteRange::at(offset, length);
        self.input.check_inside("the L1 table", l1)?;
        if !offset.is_multiple_of(1 << bits) {
            return Err(damage(Defect::Unaligned).into());
        }
        if length > 0 && offset == 0 {
            return Err(damage(Defect::Overlap).into());
        }
        Ok(l1)
    }

    fn backing(
        &self,
        common: &Version2,
        cluster_size: u64,
    ) -> Result<Option<Vec<u8>>, FormatError> {
        let (offset, length) = (
            common.backing_file_offset.get(),
            common.backing_file_size.get(),
        );
        if offset == 0 || length == 0 {
            return Ok(None);
        }
        let fits = offset
            .checked_add(length.into())
            .is_some_and(|end| end <= cluster_size);
        if length > MAX_NAME || !fits {
            return Err(self.value());
        }
        let mut name = vec![0; length as usize];
        self.tables
            .read(self.input, "the backing file's name", &mut name, offset)?;
        Ok(Some(name))
    }

    fn extensions(&self, start: u64, end: u64) -> Result<Extensions, FormatError> {
        let mut found = Extensions::default();
        let end = end.min(self.input.size());
        let mut at = start;
        while at.saturating_add(8) <= end {
            let [kind, length]: [U32; 2] = zerocopy::transmute!(self.bytes::<8>(at)?);
            let (kind, length) = (kind.get(), u64::from(length.get()));
            at += 8;
            if kind == extension::END {
                break;
            }
            if length > end - at {
                return Err(self.value());
            }
            match kind {
                extension::BACKING_FORMAT => {
                    let name = self.data(at, length.min(64))?;
                    found.backing_format = Some(String::from_utf8_lossy(&name).into_owned());
                }
                extension::FEATURE_NAMES => {
                    found.feature_names = self.data(at, length.min(48 * 256))?
                }
                extension::DATA_FILE => {
                    found.data_file = Some(self.data(at, length.min(MAX_NAME.into()))?)
                }
                _ => {}
            }
            at += length.next_multiple_of(8);
        }
        Ok(found)
    }

    fn data(&self, at: u64, length: u64) -> Result<Vec<u8>, FormatError> {
        let mut data = vec![0; length as usize];
        self.tables
            .read(self.input, "a header extension", &mut data, at)?;
        Ok(data)
    }
}
