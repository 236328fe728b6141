//! What every reader of a disk's bytes relies on: a known size and exact reads.

use std::io;

use crate::ByteRange;

/// Random access to the bytes of one disk.
///
/// Implemented by source files, by views over them and, in tests, by plain bytes.
pub trait Disk {
    /// Size of the disk in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` with the bytes that begin at `offset`.
    ///
    /// # Errors
    ///
    /// The source's own error, or [`io::ErrorKind::UnexpectedEof`] if the range
    /// `offset .. offset + buffer.len()` is not wholly inside the disk. A short
    /// read is never success.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// The first run of data at or behind `offset`, beginning no earlier than `offset`; `None`
    /// if only a hole follows. Every byte outside of the runs is zero.
    ///
    /// # Errors
    ///
    /// The source's own error.
    fn next_data(&self, offset: u64) -> io::Result<Option<ByteRange>> {
        let rest = ByteRange::new(offset, self.size());
        Ok((!rest.is_empty()).then_some(rest))
    }
}

/// The first bytes of a disk as a disk of their own.
#[derive(Clone, Copy)]
pub struct Prefix<'a> {
    disk: &'a dyn Disk,
    size: u64,
}

impl<'a> Prefix<'a> {
    /// The first `size` bytes of `disk`; all of it if it has no more.
    pub fn new(disk: &'a dyn Disk, size: u64) -> Self {
        let size = size.min(disk.size());
        Self { disk, size }
    }
}

impl Disk for Prefix<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        ByteRange::of_read(offset, buffer.len(), self.size)?;
        self.disk.read_exact_at(buffer, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<ByteRange>> {
        let inside = ByteRange::new(0, self.size);
        let data = self.disk.next_data(offset)?;
        Ok(data
            .map(|data| data.intersect(inside))
            .filter(|data| !data.is_empty()))
    }
}

impl Disk for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = ByteRange::of_read(offset, buffer.len(), self.size())?;
        buffer.copy_from_slice(&self[range.start() as usize..range.end() as usize]);
        Ok(())
    }
}

impl Disk for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buffer, offset)
    }
}
