//! Half-open ranges of bytes.

use std::fmt;

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
}
