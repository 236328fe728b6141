//! Half-open ranges of bytes.

use std::{fmt, io};

/// The bytes from `start` up to and without `end`, as offsets into a disk or a view.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ByteRange {
    start: u64,
    end: u64,
}

impl ByteRange {
    /// The bytes from `start` up to and without `end`; empty if `end` is not above `start`.
    pub fn new(start: u64, end: u64) -> Self {
        Self {
            start,
            end: end.max(start),
        }
    }

    /// The `length` bytes that begin at `start`, cut off at the largest offset there is.
    pub fn at(start: u64, length: u64) -> Self {
        Self::new(start, start.saturating_add(length))
    }

    /// The range of a read of `length` bytes at `offset` of a disk of `size` bytes.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] if it is not wholly inside the disk.
    pub fn of_read(offset: u64, length: usize, size: u64) -> io::Result<Self> {
        match offset.checked_add(length as u64) {
            Some(end) if end <= size => Ok(Self::new(offset, end)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Offset of the first byte.
    pub fn start(self) -> u64 {
        self.start
    }

    /// Offset behind the last byte.
    pub fn end(self) -> u64 {
        self.end
    }

    /// Number of bytes.
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether there is no byte in it.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes that are in both ranges; empty if there are none.
    pub fn intersect(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// Whether the byte at `offset` is in it.
    pub fn contains(self, offset: u64) -> bool {
        self.start <= offset && offset < self.end
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_half_open() {
        let range = ByteRange::at(10, 5);
        assert_eq!((range.start(), range.end(), range.len()), (10, 15, 5));
        assert!(range.contains(10) && range.contains(14) && !range.contains(15));
        assert!(ByteRange::new(7, 3).is_empty());
        assert_eq!(ByteRange::at(u64::MAX, 9).len(), 0);
        assert_eq!(
            range.intersect(ByteRange::new(12, 99)),
            ByteRange::new(12, 15)
        );
        assert!(range.intersect(ByteRange::new(15, 99)).is_empty());
    }

    #[test]
    fn reads_end_inside_of_the_disk() {
        assert_eq!(ByteRange::of_read(3, 5, 8).unwrap(), ByteRange::new(3, 8));
        assert!(ByteRange::of_read(8, 0, 8).unwrap().is_empty());
        for (offset, length) in [(4, 5), (9, 0), (u64::MAX, 1)] {
            assert!(ByteRange::of_read(offset, length, 8).is_err());
        }
    }
}
