//! No xz file makes the reader panic, loop or take memory. The checksums of headers, index and footer are made right.
#![no_main]

mod common;

use std::sync::Arc;

use crc::{CRC_32_ISO_HDLC, Crc};
use libfuzzer_sys::fuzz_target;

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Makes the checksum of `bytes[body]` right, which stands at `at`.
fn seal(bytes: &mut [u8], body: std::ops::Range<usize>, at: usize) -> Option<()> {
    let sum = CRC.checksum(bytes.get(body)?);
    bytes
        .get_mut(at..at.checked_add(4)?)?
        .copy_from_slice(&sum.to_le_bytes());
    Some(())
}

fn number(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Seals a file of one stream.
fn seal_stream(file: &mut [u8]) -> Option<()> {
    let end = file.len();
    let footer = end.checked_sub(12)?;
    seal(file, 6..8, 8)?;
    seal(file, footer + 4..footer + 10, footer)?;
    let size = file.get(footer + 4..footer + 8)?.try_into().ok()?;
    let size = (u32::from_le_bytes(size) as usize + 1) * 4;
    let index = footer.checked_sub(size)?;
    seal(file, index..footer - 4, footer - 4)?;
    let mut at = index + 1;
    let mut block = 12_usize;
    for _ in 0..number(file, &mut at)?.min(64) {
        let header = (usize::from(*file.get(block)?) + 1) * 4;
        let sum = block + header - 4;
        seal(file, block..sum, sum)?;
        let unpadded = number(file, &mut at)?;
        number(file, &mut at)?;
        block = block.checked_add(unpadded.checked_next_multiple_of(4)?)?;
    }
    Some(())
}

fuzz_target!(|data: &[u8]| {
    let mut file = data.to_vec();
    // What cannot be sealed is tried as it is.
    let _ = seal_stream(&mut file);
    let file = Arc::new(file);
    common::read("disk.raw.xz", file.clone(), file);
});
