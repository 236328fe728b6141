//! A file while it is found out what it holds.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use parking_lot::Mutex;

use crate::folder::source::read_exact_at;
use disk::{ByteRange, Disk};

/// How much is read at once where less is asked for, in bytes: tables and headers lie close together.
const CHUNK: u64 = 4096;
/// Number of reads that are as small as asked for: they tell the format, and of a raw disk there are no others.
const SMALL: usize = 3;
/// How much of what was read is kept until the file is closed, in bytes.
const KEPT: u64 = 64 << 10;

/// A file that is read in few pieces, some of them more than once.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: OwnedFd,
    size: u64,
    pieces: Mutex<Pieces>,
}

/// What was read already.
#[derive(Debug, Default)]
struct Pieces {
    read: Vec<(u64, Vec<u8>)>,
    size: u64,
    /// Number of reads of the file.
    count: usize,
}

impl OpenFile {
    pub(super) fn new(file: OwnedFd, size: u64) -> Self {
        Self {
            file,
            size,
            pieces: Mutex::default(),
        }
    }
}

impl Pieces {
    /// Fills `buffer` from one piece that holds all of it.
    fn copy(&self, buffer: &mut [u8], wanted: ByteRange) -> bool {
        let holds = |(start, bytes): &&(u64, Vec<u8>)| {
            ByteRange::at(*start, bytes.len() as u64).intersect(wanted) == wanted
        };
        let Some((start, bytes)) = self.read.iter().find(holds) else {
            return false;
        };
        let at = (wanted.start() - start) as usize;
        buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
        true
    }

    fn keep(&mut self, start: u64, bytes: Vec<u8>) {
        while self.size + bytes.len() as u64 > KEPT && !self.read.is_empty() {
            let (_, oldest) = self.read.remove(0);
            self.size -= oldest.len() as u64;
        }
        self.size += bytes.len() as u64;
        self.read.push((start, bytes));
    }
}

impl Disk for OpenFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let wanted = ByteRange::at(offset, buffer.len() as u64);
        if wanted.is_empty() || wanted.end() > self.size || wanted.len() > KEPT {
            return read_exact_at(self.file.as_fd(), buffer, offset);
        }
        let piece = {
            let mut pieces = self.pieces.lock();
            if pieces.copy(buffer, wanted) {
                return Ok(());
            }
            pieces.count += 1;
            let end = wanted.end().next_multiple_of(CHUNK).min(self.size);
            match pieces.count <= SMALL {
                true => wanted,
                false => ByteRange::new(offset / CHUNK * CHUNK, end),
            }
        };
        let mut bytes = vec![0; piece.len() as usize];
        read_exact_at(self.file.as_fd(), &mut bytes, piece.start())?;
        let at = (offset - piece.start()) as usize;
        buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
        self.pieces.lock().keep(piece.start(), bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn all_ranges_are_those_of_the_file() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at / 7) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let open = OpenFile::new(file.into(), bytes.len() as u64);
        for step in [1, 511, 4096, 5000, 65_536, 70_000] {
            for start in (0..bytes.len()).step_by(9973) {
                let end = (start + step).min(bytes.len());
                let mut found = vec![0; end - start];
                open.read_exact_at(&mut found, start as u64).unwrap();
                assert!(found == bytes[start..end], "{start} {step}");
                assert!(open.pieces.lock().size <= 2 * KEPT);
            }
        }
        assert!(open.read_exact_at(&mut [0; 2], 299_999).is_err());
        assert!(open.read_exact_at(&mut [0; 2], u64::MAX).is_err());
    }
}
