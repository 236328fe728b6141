//! What a format is to the rest of the program: a map from the disk's bytes to where they lie.

use std::{fmt, io};

use crate::ByteRange;
use crate::cache::Tables;
use crate::codec::Codec;

/// Where the bytes of a disk lie.
///
/// Made by the parser of a format from what must be read to open an image. Everything else of its
/// tables is read through [`Tables`], whose memory is bounded.
pub(crate) trait Map: fmt::Debug + Send + Sync {
    /// Number of bytes of the disk.
    fn size(&self) -> u64;

    /// Where the bytes at the beginning of `range` lie, and how many of them lie there in one run.
    ///
    /// `range` is not empty and inside of the disk. The length of the extent returned is at least 1 and at
    /// most that of `range`; it should reach as far as one look at a table does.
    ///
    /// # Errors
    ///
    /// [`Damage`](super::Damage) where the tables lead nowhere; the file's own error.
    fn locate(&self, tables: &Tables, range: ByteRange) -> io::Result<Extent>;

    /// Whether holes of the files are holes of the disk that are worth asking for: raw disks,
    /// whose maps know of none themselves.
    fn is_flat(&self) -> bool {
        false
    }

    /// Whether some of the data may be in compressed blocks.
    fn has_packed(&self) -> bool {
        false
    }
}

/// A run of bytes of a disk that lie in one place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Extent {
    /// Number of bytes.
    pub(crate) length: u64,
    /// Where they lie.
    pub(crate) place: Place,
}

/// Where a run of bytes lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// Nowhere: they are zeros.
    Zeros,
    /// At the same offset of the disk that this one is based on; zeros if there is none.
    Below,
    /// As they are in one of the map's inputs.
    Plain {
        /// Number of the input.
        input: usize,
        /// Offset of the first byte in it.
        offset: u64,
    },
    /// In a compressed block.
    Packed(Packed),
}

/// A compressed block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Packed {
    /// Number of the input that holds it.
    pub(crate) input: usize,
    /// The compressed bytes. May end past the end of the input, where a format rounds lengths up;
    /// it has to decompress with what is there.
    pub(crate) data: ByteRange,
    /// The bytes of the disk that it holds.
    pub(crate) block: ByteRange,
    /// How it is compressed.
    pub(crate) codec: Codec,
}
