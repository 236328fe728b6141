//! A small writer of VDIs for tests, after VirtualBox's header and independent of the reader.

use crate::ByteRange;
use crate::format::samples::{Blocks, Written};

/// The image to be written.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) version: u32,
    pub(crate) kind: u32,
    pub(crate) size: u64,
    pub(crate) block_size: usize,
    pub(crate) block_extra: usize,
    /// Number of bytes that map and data are aligned to: 1 MiB in VirtualBox since 4.0.
    pub(crate) alignment: usize,
    pub(crate) blocks: Blocks,
    /// The order of the blocks in the file.
    pub(crate) order: Vec<usize>,
    pub(crate) parent: [u8; 16],
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

impl Writer {
    pub(crate) fn new(block_size: usize, blocks: Blocks) -> Self {
        Self {
            version: 0x1_0001,
            kind: 1,
            size: (blocks.len() * block_size) as u64,
            block_size,
            block_extra: 0,
            alignment: 512,
            order: (0..blocks.len()).collect(),
            blocks,
            parent: [0; 16],
        }
    }

    fn header(&self, map: usize, data: usize) -> Vec<u8> {
        let mut header = vec![0; 512];
        put(&mut header, 0, b"<<< Oracle VM VirtualBox Disk Image >>>\n");
        put(&mut header, 64, &[0x7f, 0x10, 0xda, 0xbe]);
        put(&mut header, 68, &self.version.to_le_bytes());
        put(&mut header, 72, &400_u32.to_le_bytes());
        put(&mut header, 76, &self.kind.to_le_bytes());
        put(&mut header, 340, &(map as u32).to_le_bytes());
        put(&mut header, 344, &(data as u32).to_le_bytes());
        put(&mut header, 360, &512_u32.to_le_bytes());
        put(&mut header, 368, &self.size.to_le_bytes());
        put(&mut header, 376, &(self.block_size as u32).to_le_bytes());
        put(&mut header, 380, &(self.block_extra as u32).to_le_bytes());
        put(&mut header, 384, &(self.blocks.len() as u32).to_le_bytes());
        let allocated = self.blocks.iter().flatten().count();
        put(&mut header, 388, &(allocated as u32).to_le_bytes());
        put(&mut header, 392, &[1; 16]);
        put(&mut header, 408, &[2; 16]);
        put(&mut header, 424, &self.parent);
        header
    }

    /// The file. Blocks of zeros are never written or discarded, in turns; in a fixed disk they are there.
    pub(crate) fn write(&self) -> Written {
        let map = 512_usize.next_multiple_of(self.alignment);
        let data = (map + 4 * self.blocks.len()).next_multiple_of(self.alignment);
        let mut file = self.header(map, data);
        file.resize(data, 0);
        let mut claims = Vec::new();
        let mut place = 0_u32;
        for &number in &self.order {
            let start = (number * self.block_size) as u64;
            let disk = ByteRange::at(start, self.block_size as u64);
            claims.push((ByteRange::at((map + 4 * number) as u64, 4), disk));
            let zeros = (self.kind == 2).then(|| vec![0; self.block_size]);
            let entry = match self.blocks[number].as_ref().or(zeros.as_ref()) {
                None if number % 2 == 0 => 0xffff_ffff,
                None => 0xffff_fffe,
                Some(block) => {
                    file.extend(vec![0x55; self.block_extra]);
                    claims.push((ByteRange::at(file.len() as u64, block.len() as u64), disk));
                    file.extend(block);
                    place += 1;
                    place - 1
                }
            };
            put(&mut file, map + 4 * number, &entry.to_le_bytes());
        }
        Written { file, claims }
    }
}
