//! A disk of several extents, one after the other.

use std::io;

use super::sparse::Grains;
use crate::ByteRange;
use crate::cache::Tables;
use crate::format::blocks::Blocks;
use crate::format::{Extent, FormatError, Map, Place};

/// Largest number of bytes of a disk.
const MAX_SIZE: u64 = i64::MAX as u64;

/// The extents of a disk in their order, none of them empty.
#[derive(Debug, Default)]
pub(super) struct Extents {
    parts: Vec<(ByteRange, Part)>,
}

/// What an extent is.
#[derive(Debug)]
pub(super) enum Part {
    Zeros,
    Flat {
        /// Number of the file among the map's inputs.
        input: usize,
        /// Offset of the extent's first byte.
        offset: u64,
    },
    Sparse(Blocks<Grains>),
}

impl Extents {
    /// Adds an extent of `size` bytes at the end.
    ///
    /// # Errors
    ///
    /// [`FormatError::Limit`] if the disk becomes too large.
    pub(super) fn push(&mut self, size: u64, part: Part) -> Result<(), FormatError> {
        let range = ByteRange::at(self.size(), size);
        if range.end() > MAX_SIZE {
            return Err(FormatError::Limit {
                what: "size",
                value: range.end(),
                limit: MAX_SIZE,
            });
        }
        if !range.is_empty() {
            self.parts.push((range, part));
        }
        Ok(())
    }
}

impl Map for Extents {
    fn size(&self) -> u64 {
        self.parts.last().map_or(0, |(range, _)| range.end())
    }

    fn locate(&self, tables: &Tables, range: ByteRange) -> io::Result<Extent> {
        let index = self
            .parts
            .partition_point(|(part, _)| part.end() <= range.start());
        let (part, place) = self.parts.get(index).ok_or(io::ErrorKind::UnexpectedEof)?;
        let range = range.intersect(*part);
        let within = ByteRange::at(range.start() - part.start(), range.len());
        let extent = |place| Extent {
            length: range.len(),
            place,
        };
        Ok(match place {
            Part::Zeros => extent(Place::Zeros),
            Part::Flat { input, offset } => extent(Place::Plain {
                input: *input,
                offset: offset + within.start(),
            }),
            Part::Sparse(map) => {
                let mut extent = map.locate(tables, within)?;
                if let Place::Packed(packed) = &mut extent.place {
                    let start = part.start() + packed.block.start();
                    packed.block = ByteRange::at(start, packed.block.len());
                }
                extent
            }
        })
    }

    fn is_flat(&self) -> bool {
        let sparse = |(_, part): &(ByteRange, Part)| matches!(part, Part::Sparse(_));
        !self.parts.iter().any(sparse)
    }

    fn has_packed(&self) -> bool {
        self.parts.iter().any(|(_, part)| match part {
            Part::Sparse(map) => map.has_packed(),
            Part::Zeros | Part::Flat { .. } => false,
        })
    }
}
