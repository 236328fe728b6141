//! A small writer of VHDs for tests, after the specification and independent of the reader.

use crate::ByteRange;
use crate::format::samples::{Blocks, Claim, Written};

/// The image to be written.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) creator: [u8; 4],
    pub(crate) current_size: u64,
    /// Cylinders, heads, sectors per track.
    pub(crate) geometry: (u16, u8, u8),
    pub(crate) kind: u32,
    pub(crate) block_size: usize,
    pub(crate) blocks: Blocks,
    /// The order of the blocks in the file.
    pub(crate) order: Vec<usize>,
    /// Sectors between the footer's copy and the header, and between that and the table.
    pub(crate) gaps: (usize, usize),
    pub(crate) parent: &'static str,
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn seal(bytes: &mut [u8], at: usize) {
    let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
    put(bytes, at, &(!sum).to_be_bytes());
}

impl Writer {
    /// A disk as Hyper-V writes it.
    pub(crate) fn new(block_size: usize, blocks: Blocks) -> Self {
        Self {
            creator: *b"win ",
            current_size: (blocks.len() * block_size) as u64,
            geometry: (3, 4, 17),
            kind: 3,
            block_size,
            order: (0..blocks.len()).collect(),
            blocks,
            gaps: (0, 0),
            parent: "",
        }
    }

    pub(crate) fn footer(&self) -> Vec<u8> {
        let mut footer = vec![0; 512];
        put(&mut footer, 0, b"conectix\0\0\0\x02\0\x01\0\0");
        let header = match self.kind {
            2 => u64::MAX,
            _ => 512 * (1 + self.gaps.0 as u64),
        };
        put(&mut footer, 16, &header.to_be_bytes());
        put(&mut footer, 28, &self.creator);
        put(&mut footer, 32, b"\0\x0a\0\0Wi2k");
        put(&mut footer, 40, &self.current_size.to_be_bytes());
        put(&mut footer, 48, &self.current_size.to_be_bytes());
        put(&mut footer, 56, &self.geometry.0.to_be_bytes());
        put(&mut footer, 58, &[self.geometry.1, self.geometry.2]);
        put(&mut footer, 60, &self.kind.to_be_bytes());
        put(&mut footer, 68, &[7; 16]);
        seal(&mut footer, 64);
        footer
    }

    fn header(&self, table: usize) -> Vec<u8> {
        let mut header = vec![0; 1024];
        put(&mut header, 0, b"cxsparse");
        put(&mut header, 8, &u64::MAX.to_be_bytes());
        put(&mut header, 16, &(table as u64).to_be_bytes());
        put(&mut header, 24, &[0, 1, 0, 0]);
        put(&mut header, 28, &(self.blocks.len() as u32).to_be_bytes());
        put(&mut header, 32, &(self.block_size as u32).to_be_bytes());
        for (number, unit) in self.parent.encode_utf16().enumerate() {
            put(&mut header, 64 + 2 * number, &unit.to_be_bytes());
        }
        seal(&mut header, 36);
        header
    }

    /// The file of a fixed disk.
    pub(crate) fn fixed(&self) -> Vec<u8> {
        let disk = self.blocks.iter().flatten().flatten().copied();
        disk.chain(self.footer()).collect()
    }

    /// The file of a dynamic disk.
    pub(crate) fn dynamic(&self) -> Written {
        let mut claims: Vec<Claim> = Vec::new();
        let mut file = self.footer();
        let header = file.len() + 512 * self.gaps.0;
        let table = header + 1024 + 512 * self.gaps.1;
        file.resize(header, 0);
        file.extend(self.header(table));
        file.resize(table, 0);
        file.resize(
            table + usize::next_multiple_of(4 * self.blocks.len(), 512),
            0xff,
        );
        for &number in &self.order {
            let start = (number * self.block_size) as u64;
            let disk = ByteRange::at(start, self.block_size as u64);
            claims.push((ByteRange::at((table + 4 * number) as u64, 4), disk));
            let Some(data) = &self.blocks[number] else {
                continue;
            };
            let sector = (file.len() / 512) as u32;
            put(&mut file, table + 4 * number, &sector.to_be_bytes());
            let bitmap = (self.block_size / 512 / 8).max(1).next_multiple_of(512);
            file.resize(file.len() + bitmap, 0xff);
            claims.push((ByteRange::at(file.len() as u64, data.len() as u64), disk));
            file.extend(data);
        }
        file.extend(self.footer());
        Written { file, claims }
    }
}
