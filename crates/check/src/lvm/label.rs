//! The label of a physical volume, and the description of its group.

use byteorder::{ByteOrder, LittleEndian};
use disk::Disk;

use super::SECTOR;
use crate::metered::Window;
use crate::unread::Unread;

/// Sectors in which the label may be.
const LABEL_SECTORS: u64 = 4;
/// Largest description of a group, in bytes.
const MAX_METADATA: u64 = 4 << 20;
/// Most areas in a list.
const MAX_AREAS: usize = 16;
/// Size of the header of a metadata area, in bytes.
const AREA_HEADER: u64 = 512;
const AREA_MAGIC: &[u8; 16] = b" LVM2 x[5A%r0N*>";
/// What LVM's checksums begin with.
const CHECKSUM_SEED: u32 = 0xf597_a6cf;
/// Flag of a place that is not used.
const IGNORED: u32 = 1;

/// What the beginning of a physical volume says.
pub(super) struct Label {
    /// Its identifier, without dashes.
    pub(super) id: String,
    /// The description of its group, where it has one.
    pub(super) metadata: Option<Vec<u8>>,
}

impl Label {
    pub(super) fn read(window: &Window) -> Result<Self, Unread> {
        for sector in 0..LABEL_SECTORS {
            let mut bytes = [0; SECTOR as usize];
            window.read_exact_at(&mut bytes, sector * SECTOR)?;
            if bytes.starts_with(b"LABELONE") && bytes[24..].starts_with(b"LVM2 001") {
                return Self::of(&bytes, window);
            }
        }
        Err(damaged("it has no label"))
    }

    fn of(label: &[u8], window: &Window) -> Result<Self, Unread> {
        if LittleEndian::read_u32(&label[16..]) != checksum(&label[20..]) {
            return Err(damaged("the checksum of its label is wrong"));
        }
        let header = LittleEndian::read_u32(&label[20..]) as usize;
        let header = label.get(header..).unwrap_or_default();
        let id = header.get(..32).ok_or_else(|| damaged("its label"))?;
        let id = String::from_utf8_lossy(id).into_owned();
        // Behind the size, the data areas and the metadata areas, each list ended by zeros.
        let mut areas = header.get(40..).unwrap_or_default();
        skip_list(&mut areas);
        for (offset, size) in skip_list(&mut areas) {
            if let Some(metadata) = read_area(window, offset, size)? {
                return Ok(Self {
                    id,
                    metadata: Some(metadata),
                });
            }
        }
        Ok(Self { id, metadata: None })
    }
}

/// Takes a list of places and sizes off the front.
fn skip_list(bytes: &mut &[u8]) -> Vec<(u64, u64)> {
    let mut list = Vec::new();
    while let Some(entry) = bytes.get(..16) {
        *bytes = &bytes[16..];
        let (offset, size) = (
            LittleEndian::read_u64(entry),
            LittleEndian::read_u64(&entry[8..]),
        );
        if offset == 0 || list.len() >= MAX_AREAS {
            break;
        }
        list.push((offset, size));
    }
    list
}

/// The description that a metadata area holds now; it lies in a ring behind the header.
fn read_area(window: &Window, area: u64, area_size: u64) -> Result<Option<Vec<u8>>, Unread> {
    let mut header = [0; AREA_HEADER as usize];
    window.read_exact_at(&mut header, area)?;
    if !header[4..].starts_with(AREA_MAGIC)
        || LittleEndian::read_u32(&header) != checksum(&header[4..])
    {
        return Err(damaged("the header of its metadata is damaged"));
    }
    let offset = LittleEndian::read_u64(&header[40..]);
    let size = LittleEndian::read_u64(&header[48..]);
    let expected = LittleEndian::read_u32(&header[56..]);
    let flags = LittleEndian::read_u32(&header[60..]);
    if offset == 0 || size == 0 || flags & IGNORED != 0 {
        return Ok(None);
    }
    let fits = (AREA_HEADER..area_size).contains(&offset) && size <= area_size - AREA_HEADER;
    if !fits || size > MAX_METADATA {
        return Err(damaged("its metadata has an impossible size"));
    }
    let first = size.min(area_size - offset);
    let mut bytes = vec![0; size as usize];
    let (head, tail) = bytes.split_at_mut(first as usize);
    let at = |inside: u64| {
        area.checked_add(inside)
            .ok_or_else(|| damaged("its metadata"))
    };
    window.read_exact_at(head, at(offset)?)?;
    window.read_exact_at(tail, at(AREA_HEADER)?)?;
    if checksum(&bytes) != expected {
        return Err(damaged("the checksum of its metadata is wrong"));
    }
    Ok(Some(bytes))
}

/// CRC-32 with a beginning of LVM's own, and without the inversion at its end.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!CHECKSUM_SEED);
    hasher.update(bytes);
    !hasher.finalize()
}

fn damaged(what: &str) -> Unread {
    Unread::Lvm(what.to_owned())
}
