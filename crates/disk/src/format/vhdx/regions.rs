//! What leads to the blocks of a VHDX: headers, region table, metadata.

use crc::{CRC_32_ISCSI, Crc};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::format::{Damage, Defect, Format, FormatError, Input};
use crate::{ByteRange, Disk};

/// Everything that is at a fixed place lies before this offset.
pub(super) const FIXED_PART: u64 = 1 << 20;
/// Where the two headers are.
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
/// Where the two copies of the region table are.
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
const REGION_TABLE_SIZE: usize = 64 << 10;
const MAX_REGIONS: u32 = 2047;

const HEADER: &str = "the header";
const REGIONS: &str = "the region table";
pub(super) const METADATA: &str = "the metadata table";

pub(super) type Guid = [u8; 16];

const BAT: Guid = guid(0x2dc2_7766_f623_4200_9d64_115e_9bfd_4a08);
const METADATA_REGION: Guid = guid(0x8b7c_a206_4790_4b9a_b8fe_575f_050f_886e);
const REQUIRED: u32 = 1;

/// A GUID as files hold it: the first three of its groups in little-endian order.
pub(super) const fn guid(value: u128) -> Guid {
    let b = value.to_be_bytes();
    [
        b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13],
        b[14], b[15],
    ]
}

/// A GUID for people.
pub(super) fn text(guid: Guid) -> String {
    let id: [u8; 16] = self::guid(u128::from_be_bytes(guid));
    let hex = |part: &[u8]| -> String { part.iter().map(|byte| format!("{byte:02X}")).collect() };
    [&id[..4], &id[4..6], &id[6..8], &id[8..10], &id[10..]]
        .map(hex)
        .join("-")
}

/// 2.2.2, "Headers".
#[derive(Clone, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
struct Header {
    signature: [u8; 4],
    checksum: U32,
    sequence_number: U64,
    file_write_guid: Guid,
    data_write_guid: Guid,
    log_guid: Guid,
    log_version: U16,
    version: U16,
    log_length: U32,
    log_offset: U64,
    reserved: [u8; 4016],
}

/// 2.2.3.1, "Region Table Header".
#[derive(Clone, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RegionTable {
    signature: [u8; 4],
    checksum: U32,
    count: U32,
    reserved: U32,
}

/// 2.2.3.2, "Region Table Entry".
#[derive(Clone, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Region {
    guid: Guid,
    offset: U64,
    length: U32,
    required: U32,
}

const _: () = assert!(size_of::<Header>() == 4096);
const _: () = assert!(size_of::<RegionTable>() == 16 && size_of::<Region>() == 32);

/// Where the parts of a file are.
#[derive(Debug)]
pub(super) struct Regions {
    pub(super) bat: ByteRange,
    pub(super) metadata: ByteRange,
    /// These two, all others, the log, and what is at fixed places.
    pub(super) all: Vec<ByteRange>,
}

impl Regions {
    /// Reads the headers and the region table.
    ///
    /// # Errors
    ///
    /// Damage; a log that is not empty; a region that has to be known and is not.
    pub(super) fn read(input: &Input) -> Result<Self, FormatError> {
        let header = Header::current(input)?;
        if header.log_guid != Guid::default() {
            return Err(FormatError::LogNotEmpty);
        }
        let mut regions = Found::new(input);
        if header.log_length.get() != 0 {
            let log = ByteRange::at(header.log_offset.get(), header.log_length.get().into());
            regions.add(HEADERS[0], HEADER, log)?;
        }
        let (at, table) = region_table(input)?;
        for (number, region) in table.iter().enumerate() {
            let at = at + 16 + 32 * number as u64;
            let range = ByteRange::at(region.offset.get(), region.length.get().into());
            regions.add(at, REGIONS, range)?;
            let known = match region.guid {
                BAT => &mut regions.bat,
                METADATA_REGION => &mut regions.metadata,
                _ if region.required.get() & REQUIRED == 0 => continue,
                unknown => return Err(unknown_part("region", unknown)),
            };
            if known.replace(range).is_some() {
                return Err(input.damage(REGIONS, at, Defect::Value).into());
            }
        }
        let (Some(bat), Some(metadata)) = (regions.bat, regions.metadata) else {
            return Err(input.damage(REGIONS, at, Defect::Value).into());
        };
        Ok(Self {
            bat,
            metadata,
            all: regions.all,
        })
    }
}

/// The file needs a part that its writer marks as one that must not be ignored.
pub(super) fn unknown_part(what: &'static str, id: Guid) -> FormatError {
    FormatError::UnknownPart {
        format: Format::VHDX,
        what,
        id: text(id),
    }
}

/// The regions found so far.
struct Found<'a> {
    input: &'a Input,
    bat: Option<ByteRange>,
    metadata: Option<ByteRange>,
    all: Vec<ByteRange>,
}

impl<'a> Found<'a> {
    fn new(input: &'a Input) -> Self {
        Self {
            input,
            bat: None,
            metadata: None,
            all: vec![ByteRange::new(0, FIXED_PART)],
        }
    }

    /// Adds the region that `what` at `at` names.
    fn add(&mut self, at: u64, what: &'static str, region: ByteRange) -> Result<(), Damage> {
        let overlaps = |other: &ByteRange| !other.intersect(region).is_empty();
        if self.all.iter().any(overlaps) {
            return Err(self.input.damage(what, at, Defect::Overlap));
        }
        self.all.push(region);
        Ok(())
    }
}

impl Header {
    /// The header that counts: of two intact ones the newer.
    fn current(input: &Input) -> Result<Self, FormatError> {
        let [first, second] = HEADERS.map(|at| Self::read(input, at));
        match (first, second) {
            (Ok(first), Ok(second)) => {
                let (one, other) = (first.sequence_number.get(), second.sequence_number.get());
                // Disk2vhd writes the same one twice.
                if one == other && first != second {
                    return Err(input.damage(HEADER, HEADERS[0], Defect::Value).into());
                }
                Ok(if one >= other { first } else { second })
            }
            (Ok(header), Err(FormatError::Damaged(_))) => Ok(header),
            (Err(FormatError::Damaged(_)), second) => second,
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    fn read(input: &Input, at: u64) -> Result<Self, FormatError> {
        let bytes: [u8; size_of::<Self>()] = input.read_array(HEADER, at)?;
        check(&bytes, b"head").map_err(|defect| input.damage(HEADER, at, defect))?;
        let header: Self = zerocopy::transmute!(bytes);
        if header.version.get() != 1 {
            return Err(input.damage(HEADER, at, Defect::Value).into());
        }
        Ok(header)
    }
}

/// The entries of the first copy of the region table that is intact, and where that copy is.
fn region_table(input: &Input) -> Result<(u64, Vec<Region>), FormatError> {
    let [first, second] = REGION_TABLES;
    let read = |at| Ok((at, read_region_table(input, at)?));
    match read(first) {
        Err(FormatError::Damaged(damage)) => read(second).map_err(|_| damage.into()),
        result => result,
    }
}

fn read_region_table(input: &Input, at: u64) -> Result<Vec<Region>, FormatError> {
    let damage = |defect| input.damage(REGIONS, at, defect);
    input.check_inside(REGIONS, ByteRange::at(at, REGION_TABLE_SIZE as u64))?;
    let mut bytes = vec![0; REGION_TABLE_SIZE];
    input.read_exact_at(&mut bytes, at)?;
    check(&bytes, b"regi").map_err(damage)?;
    let (table, entries) =
        RegionTable::read_from_prefix(bytes.as_slice()).map_err(|_| damage(Defect::Value))?;
    if table.count.get() > MAX_REGIONS {
        return Err(damage(Defect::Value).into());
    }
    let entries = entries.chunks_exact(size_of::<Region>());
    let entries = entries.take(table.count.get() as usize);
    Ok(entries
        .filter_map(|entry| Region::read_from_bytes(entry).ok())
        .collect())
}

/// Checks signature and checksum: CRC-32C, with the four bytes behind the signature taken as zeros.
fn check(bytes: &[u8], signature: &[u8; 4]) -> Result<(), Defect> {
    static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    if !bytes.starts_with(signature) {
        return Err(Defect::Value);
    }
    let mut digest = CRC.digest();
    digest.update(&bytes[..4]);
    digest.update(&[0; 4]);
    digest.update(&bytes[8..]);
    if digest.finalize().to_le_bytes() == bytes[4..8] {
        Ok(())
    } else {
        Err(Defect::Checksum)
    }
}
