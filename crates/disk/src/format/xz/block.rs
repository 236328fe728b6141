//! Decompressing one block of an xz file.

use std::io::Read;

use lzma_rust2::XzReader;

/// How a block of an xz file is to be read.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct XzBlock {
    /// The flags of its stream, which say how blocks are checked.
    pub(super) flags: [u8; 2],
    /// Its length without padding, in bytes, as the index gives it.
    pub(super) unpadded: u64,
}

/// Number of the filter LZMA2.
const LZMA2: u64 = 0x21;

/// The block of `length` bytes, with its own checksum checked; `None` if it is damaged.
///
/// The library reads whole streams: what is around the block is made up.
pub(crate) fn decode(mut packed: impl Read, length: usize, block: XzBlock) -> Option<Vec<u8>> {
    let mut header = vec![0];
    packed.read_exact(&mut header).ok()?;
    header.resize((usize::from(header[0]) + 1) * 4, 0);
    packed.read_exact(&mut header[1..]).ok()?;
    let header = with_small_dictionary(&header, length as u64)?;
    let index = index(block.unpadded, length as u64);
    let stream = stream_header(block.flags);
    let footer = stream_footer(block.flags, index.len() as u64)?;
    let mut reader = XzReader::new(
        stream
            .as_slice()
            .chain(header.as_slice())
            .chain(packed)
            .chain(index.as_slice())
            .chain(footer.as_slice()),
        false,
    );
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).ok()?;
    // The end is where the checksum is checked.
    let ended = reader.read(&mut [0]).ok()? == 0;
    ended.then_some(bytes)
}

/// The header of a block with a dictionary that is no larger than the block needs: what it
/// claims is the memory that the library takes.
fn with_small_dictionary(header: &[u8], length: u64) -> Option<Vec<u8>> {
    let mut header = header.to_vec();
    let body = header.len().checked_sub(4)?;
    let stated = u32::from_le_bytes(header[body..].try_into().ok()?);
    if stated != crc32fast::hash(&header[..body]) {
        return None;
    }
    let flags = *header.get(1)?;
    let mut at = 2;
    for present in [0x40, 0x80] {
        if flags & present != 0 {
            varint(&header, &mut at)?;
        }
    }
    for _ in 0..=(flags & 3) {
        let filter = varint(&header, &mut at)?;
        let properties = usize::try_from(varint(&header, &mut at)?).ok()?;
        if filter == LZMA2 && properties == 1 {
            let bits = header.get_mut(at)?;
            *bits = (0..*bits)
                .find(|bits| dictionary_size(*bits) >= length)
                .unwrap_or(*bits);
            if dictionary_size(*bits) > length.max(1 << 12).saturating_mul(2) {
                return None;
            }
        }
        at = at.checked_add(properties)?;
    }
    let sum = crc32fast::hash(&header[..body]);
    header[body..].copy_from_slice(&sum.to_le_bytes());
    Some(header)
}

/// Size of a dictionary in bytes from its coded form (5.3.1 of the format).
fn dictionary_size(bits: u8) -> u64 {
    u64::from(2 | (bits & 1)) << (bits / 2 + 11).min(62)
}

/// A number of variable length at `at` (1.2 of the format); moves `at` behind it.
pub(super) fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for number in 0..9 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << (7 * number);
        if byte & 0x80 == 0 {
            return (byte != 0 || number == 0).then_some(value);
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Eight bytes that begin every stream, but for the flags, and their checksum.
fn stream_header(flags: [u8; 2]) -> Vec<u8> {
    let mut header = b"\xfd7zXZ\0".to_vec();
    header.extend(flags);
    header.extend(crc32fast::hash(&flags).to_le_bytes());
    header
}

fn index(unpadded: u64, length: u64) -> Vec<u8> {
    let mut index = vec![0, 1];
    put_varint(&mut index, unpadded);
    put_varint(&mut index, length);
    index.resize(index.len().next_multiple_of(4), 0);
    let sum = crc32fast::hash(&index);
    index.extend(sum.to_le_bytes());
    index
}

fn stream_footer(flags: [u8; 2], index_length: u64) -> Option<Vec<u8>> {
    let mut body = u32::try_from(index_length / 4 - 1)
        .ok()?
        .to_le_bytes()
        .to_vec();
    body.extend(flags);
    let mut footer = crc32fast::hash(&body).to_le_bytes().to_vec();
    footer.extend(body);
    footer.extend(b"YZ");
    Some(footer)
}
