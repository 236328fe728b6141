//! Disks of which an input has the sectors that are not empty.
//!
//! A record is the number of a sector (4 bytes, little-endian), a length (2 bytes), and as many
//! bytes; what no record has is zero. So the images of the corpus, made by `mkfs` and LVM's tools,
//! stay small.

use std::io;
use std::rc::Rc;

use check::{Options, Verdict, check};
use disk::Disk;

const SECTOR: usize = 512;

struct Sparse {
    size: u64,
    /// Offsets with the bytes from there on, ascending.
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Sparse {
    fn read(mut data: &[u8], size: u64) -> Self {
        let mut pieces = Vec::new();
        while let Some(header) = data.get(..6) {
            let sector = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
            let rest = &data[6..];
            let (bytes, behind) = rest.split_at(length.min(rest.len()));
            pieces.push((u64::from(sector) * SECTOR as u64, bytes.to_vec()));
            data = behind;
        }
        pieces.sort();
        Self { size, pieces }
    }
}

impl Disk for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        // A piece has less than 64 KiB.
        let first = self
            .pieces
            .partition_point(|(at, _)| at + (1 << 16) < offset);
        for (at, bytes) in self.pieces[first..].iter().take_while(|(at, _)| *at < end) {
            for (index, byte) in (*at..).zip(bytes) {
                if (offset..end).contains(&index) {
                    buffer[(index - offset) as usize] = *byte;
                }
            }
        }
        Ok(())
    }
}

/// Judges the disk in an input; nothing in it may make that fail, or be taken for ready.
pub fn judge(data: &[u8], size: u64) {
    let disk = Rc::new(Sparse::read(data, size));
    let report = check("disk.raw", disk, &Options::default(), &mut |_| {});
    assert!(report.expect("the bytes can be read").verdict() != Verdict::Ready);
}
