//! The metadata of a VHDX: sizes, and what it is based on.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::regions::{Guid, METADATA, guid, unknown_part};
use crate::ByteRange;
use crate::cache::Tables;
use crate::format::{Defect, FormatError, Input};

/// Items begin behind the table.
const TABLE_SIZE: u64 = 64 << 10;
const MAX_ITEMS: u16 = 2047;
/// How much of a parent locator is looked at, in bytes.
const MAX_LOCATOR: u64 = 64 << 10;
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 1 << 20..=256 << 20;
const MAX_DISK_SIZE: u64 = 64 << 40;

const FILE_PARAMETERS: Guid = guid(0xcaa1_6737_fa36_4d43_b3b6_33f0_aa44_e76b);
const DISK_SIZE: Guid = guid(0x2fa5_4224_cd1b_4876_b211_5dbe_d83b_f4b8);
const DISK_ID: Guid = guid(0xbeca_12ab_b2e6_4523_93ef_c309_e000_c746);
const LOGICAL_SECTOR_SIZE: Guid = guid(0x8141_bf1d_a96f_4709_ba47_f233_a8fa_ab5f);
const PHYSICAL_SECTOR_SIZE: Guid = guid(0xcda3_48c7_445d_4471_9cc9_e988_5251_c556);
const PARENT_LOCATOR: Guid = guid(0xa8d3_5f2d_b30b_454d_abf7_d3d8_4834_ab0c);

const IS_USER: u32 = 1 << 0;
const IS_REQUIRED: u32 = 1 << 2;
const HAS_PARENT: u32 = 1 << 1;

/// 2.6.1.1, "Metadata Table Header".
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct TableHeader {
    signature: [u8; 8],
    reserved: U16,
    count: U16,
    reserved_2: [u8; 20],
}

/// 2.6.1.2, "Metadata Table Entry".
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Item {
    id: Guid,
    offset: U32,
    length: U32,
    flags: U32,
    reserved: U32,
}

/// 2.6.2.6.2, "Parent Locator Entry".
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct LocatorEntry {
    key_offset: U32,
    value_offset: U32,
    key_length: U16,
    value_length: U16,
}

/// What the metadata says.
#[derive(Debug)]
pub(super) struct Metadata {
    /// Number of bytes of the disk.
    pub(super) size: u64,
    /// Number of bytes of a block.
    pub(super) block_size: u64,
    /// Number of blocks between two sector bitmaps.
    pub(super) chunk_ratio: u64,
}

/// The places of the known items.
#[derive(Default)]
struct Items {
    parameters: Option<ByteRange>,
    size: Option<ByteRange>,
    disk_id: Option<ByteRange>,
    logical_sector_size: Option<ByteRange>,
    physical_sector_size: Option<ByteRange>,
    parent: Option<ByteRange>,
}

/// Reads the metadata of one file.
struct Reader<'a> {
    input: &'a Input,
    tables: &'a Tables,
    region: ByteRange,
}

impl Metadata {
    /// # Errors
    ///
    /// Damage; a differencing disk; an item that has to be known and is not; the file's own error.
    pub(super) fn read(
        input: &Input,
        tables: &Tables,
        region: ByteRange,
    ) -> Result<Self, FormatError> {
        let reader = Reader {
            input,
            tables,
            region,
        };
        let items = reader.items()?;
        let [block_size, flags]: [U32; 2] =
            zerocopy::transmute!(reader.item::<8>(items.parameters)?);
        if flags.get() & HAS_PARENT != 0 {
            let parent = items.parent.map(|item| reader.parent(item)).transpose()?;
            return Err(FormatError::Differencing {
                parent: parent.flatten(),
            });
        }
        let block_size = block_size.get();
        let sector_size = u32::from_le_bytes(reader.item(items.logical_sector_size)?);
        let size = u64::from_le_bytes(reader.item(items.size)?);
        if size > MAX_DISK_SIZE {
            return Err(FormatError::Limit {
                what: "size",
                value: size,
                limit: MAX_DISK_SIZE,
            });
        }
        if !BLOCK_SIZES.contains(&block_size)
            || !block_size.is_power_of_two()
            || !matches!(sector_size, 512 | 4096)
            || size % u64::from(sector_size) != 0
        {
            return Err(reader.value());
        }
        Ok(Self {
            size,
            block_size: block_size.into(),
            chunk_ratio: (u64::from(sector_size) << 23) / u64::from(block_size),
        })
    }
}

impl Reader<'_> {
    fn value(&self) -> FormatError {
        let at = self.region.start();
        self.input.damage(METADATA, at, Defect::Value).into()
    }

    fn items(&self) -> Result<Items, FormatError> {
        let start = self.region.start();
        // Through the cache: the entries, which follow, are in the same piece.
        let mut header = TableHeader::new_zeroed();
        self.tables
            .read(self.input, METADATA, header.as_mut_bytes(), start)?;
        if &header.signature != b"metadata" || header.count.get() > MAX_ITEMS {
            return Err(self.value());
        }
        let mut bytes = vec![0; size_of::<Item>() * usize::from(header.count.get())];
        let entries = start + size_of::<TableHeader>() as u64;
        self.tables
            .read(self.input, METADATA, &mut bytes, entries)?;
        let mut items = Items::default();
        let entries = bytes.chunks_exact(size_of::<Item>());
        for item in entries.filter_map(|entry| Item::read_from_bytes(entry).ok()) {
            self.add(&mut items, &item)?;
        }
        Ok(items)
    }

    fn add(&self, items: &mut Items, item: &Item) -> Result<(), FormatError> {
        let is_user = item.flags.get() & IS_USER != 0;
        let known = match item.id {
            FILE_PARAMETERS if !is_user => &mut items.parameters,
            DISK_SIZE if !is_user => &mut items.size,
            DISK_ID if !is_user => &mut items.disk_id,
            LOGICAL_SECTOR_SIZE if !is_user => &mut items.logical_sector_size,
            PHYSICAL_SECTOR_SIZE if !is_user => &mut items.physical_sector_size,
            PARENT_LOCATOR if !is_user => &mut items.parent,
            _ if item.flags.get() & IS_REQUIRED == 0 => return Ok(()),
            unknown => return Err(unknown_part("metadata item", unknown)),
        };
        let range = ByteRange::at(item.offset.get().into(), item.length.get().into());
        let fits = range.start() >= TABLE_SIZE && range.end() <= self.region.len();
        if !fits || known.is_some() {
            return Err(self.value());
        }
        let start = self.region.start();
        *known = Some(ByteRange::at(
            start.saturating_add(range.start()),
            range.len(),
        ));
        Ok(())
    }

    /// The value of an item that has to be there.
    fn item<const N: usize>(&self, item: Option<ByteRange>) -> Result<[u8; N], FormatError> {
        let item = item.filter(|item| item.len() >= N as u64);
        let item = item.ok_or_else(|| self.value())?;
        let mut bytes = [0; N];
        self.tables
            .read(self.input, "the metadata", &mut bytes, item.start())?;
        Ok(bytes)
    }

    /// The name of the parent, as far as the locator has it.
    fn parent(&self, item: ByteRange) -> Result<Option<String>, FormatError> {
        let mut locator = vec![0; item.len().min(MAX_LOCATOR) as usize];
        self.tables
            .read(self.input, "the parent locator", &mut locator, item.start())?;
        let text = |offset: U32, length: U16| {
            let start = offset.get() as usize;
            let units = locator.get(start..start.checked_add(length.get().into())?)?;
            let units = units
                .chunks_exact(2)
                .map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            Some(
                char::decode_utf16(units)
                    .map(|c| c.unwrap_or('?'))
                    .collect::<String>(),
            )
        };
        let entries = locator.get(20..).unwrap_or_default();
        let entries = entries.chunks_exact(size_of::<LocatorEntry>());
        let entries = entries.filter_map(|entry| LocatorEntry::read_from_bytes(entry).ok());
        let named = |name: &str| {
            let mut entries = entries.clone();
            let entry = entries
                .find(|entry| text(entry.key_offset, entry.key_length).as_deref() == Some(name))?;
            text(entry.value_offset, entry.value_length)
        };
        let names = ["relative_path", "absolute_win32_path", "volume_path"];
        Ok(names.into_iter().find_map(named))
    }
}
