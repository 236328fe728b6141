//! No VHDX makes the reader panic, loop or take memory. The checksums of headers and region tables are made right.
//!
//! Such a file has some MiB, nearly all zeros: an input lists the parts that are not, each as its
//! offset (4 bytes), its length (2 bytes) and its bytes; what is not listed is zeros.
#![no_main]

mod common;

use std::io;
use std::sync::Arc;

use crc::{CRC_32_ISCSI, Crc};
use disk::Disk;
use libfuzzer_sys::fuzz_target;

/// What has a checksum behind its first four bytes: offset and length.
const SEALED: [(usize, usize); 4] = [
    (64 << 10, 4 << 10),
    (128 << 10, 4 << 10),
    (192 << 10, 64 << 10),
    (256 << 10, 64 << 10),
];
/// What is sealed lies before this offset.
const HEAD: usize = 320 << 10;

/// A file that is mostly zeros.
struct Sparse {
    head: Vec<u8>,
    parts: Vec<(u64, Vec<u8>)>,
    size: u64,
}

impl Disk for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.fill(0);
        for (start, bytes) in &self.parts {
            copy(buffer, offset, bytes, *start);
        }
        copy(buffer, offset, &self.head, 0);
        Ok(())
    }
}

/// Copies what of `bytes` at `start` lies in `buffer` at `offset`.
fn copy(buffer: &mut [u8], offset: u64, bytes: &[u8], start: u64) {
    let from = offset.max(start);
    let to = (offset + buffer.len() as u64).min(start + bytes.len() as u64);
    if from < to {
        let source = &bytes[(from - start) as usize..(to - start) as usize];
        buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
    }
}

fn parse(mut data: &[u8]) -> Sparse {
    let mut parts = Vec::new();
    while let Some((head, rest)) = data.split_at_checked(6) {
        let start = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let length = usize::from(u16::from_le_bytes([head[4], head[5]]));
        let (bytes, rest) = rest.split_at(length.min(rest.len()));
        parts.push((u64::from(start), bytes.to_vec()));
        data = rest;
    }
    let end = parts
        .iter()
        .map(|(start, bytes)| start + bytes.len() as u64)
        .max();
    let mut head = vec![0; HEAD];
    for (start, bytes) in &parts {
        copy(&mut head, 0, bytes, *start);
    }
    static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    for (start, length) in SEALED {
        head[start + 4..start + 8].fill(0);
        let sum = CRC.checksum(&head[start..start + length]);
        head[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    }
    Sparse {
        head,
        parts,
        size: end.unwrap_or(0).max(HEAD as u64),
    }
}

fuzz_target!(|data: &[u8]| {
    let file = Arc::new(parse(data));
    common::read("disk.vhdx", file.clone(), file);
});
