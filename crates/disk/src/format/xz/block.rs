//! Decompressing one block of an xz file.

use std::io::{self, Read};

use lzma_rust2::XzReader;

use crate::memory::with_room;

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

/// The block of `length` bytes, for which `bytes` has room, with its own checksum checked; `None` if it is damaged.
///
/// The library reads whole streams: what is around the block is made up.
///
/// # Errors
///
/// [`OutOfMemory`](io::ErrorKind::OutOfMemory) where there is none for the dictionary.
pub(crate) fn decode(
    mut packed: impl Read,
    mut bytes: Vec<u8>,
    length: usize,
    block: XzBlock,
) -> io::Result<Option<Vec<u8>>> {
    let index = index(block.unpadded, length as u64);
    let parts =
        header(&mut packed, length as u64).zip(stream_footer(block.flags, index.len() as u64));
    let Some(((header, dictionary), footer)) = parts else {
        return Ok(None);
    };
    let stream = stream_header(block.flags);
    let mut reader = XzReader::new(
        stream
            .as_slice()
            .chain(header.as_slice())
            .chain(packed)
            .chain(index.as_slice())
            .chain(footer.as_slice()),
        false,
    );
    bytes.resize(length, 0);
    // The library makes its decoder when the first byte is read.
    let (first, rest) = bytes.split_at_mut(length.min(1));
    let memory = usize::try_from(dictionary).unwrap_or(usize::MAX);
    let begun = with_room(memory, || reader.read_exact(first))?;
    // The end is where the checksum is checked.
    let ended = begun
        .and_then(|()| reader.read_exact(rest))
        .and_then(|()| reader.read(&mut [0]));
    match ended {
        Ok(0) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => Err(error),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// The header of a block of `length` bytes, and the size of its dictionary in bytes.
fn header(packed: &mut impl Read, length: u64) -> Option<(Vec<u8>, u64)> {
    let mut header = vec![0];
    packed.read_exact(&mut header).ok()?;
    header.resize((usize::from(header[0]) + 1) * 4, 0);
    packed.read_exact(&mut header[1..]).ok()?;
    with_small_dictionary(header, length)
}

/// The header of a block with a dictionary that is no larger than the block needs: what it
/// claims is the memory that the library takes.
fn with_small_dictionary(mut header: Vec<u8>, length: u64) -> Option<(Vec<u8>, u64)> {
    let mut dictionary: u64 = 0;
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
            let size = dictionary_size(*bits);
            if size > length.max(1 << 12).saturating_mul(2) {
                return None;
            }
            dictionary = dictionary.saturating_add(size);
        }
        at = at.checked_add(properties)?;
    }
    let sum = crc32fast::hash(&header[..body]);
    header[body..].copy_from_slice(&sum.to_le_bytes());
    Some((header, dictionary))
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
