//! The L1 and L2 tables of a qcow2 image.

use std::io;

use super::header::Header;
use crate::ByteRange;
use crate::cache::Tables;
use crate::codec::Codec;
use crate::format::{Defect, Extent, Input, Map, Packed, Place};

/// Number of the input that holds the tables, and the clusters unless there is an external data file.
const IMAGE: usize = 0;
/// Number of the external data file's input.
const DATA_FILE: usize = 1;

/// Bits 9 to 55 of an entry: the offset of a table or cluster. The bits around are flags, or reserved
/// and ignored as QEMU does.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// The cluster's reference count is one.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros (version 3, without extended entries).
const ZERO: u64 = 1;
/// Number of subclusters in a cluster.
const SUBCLUSTERS: u32 = 32;

/// Where the clusters of an image lie.
#[derive(Debug)]
pub(super) struct Clusters {
    image: Input,
    size: u64,
    bits: u32,
    l1: ByteRange,
    extended: bool,
    zero_flag: bool,
    has_data_file: bool,
    codec: Codec,
}

/// A part of a cluster that lies in one place.
struct Part {
    place: Place,
    length: u64,
}

impl Clusters {
    pub(super) fn new(header: &Header, image: Input, codec: Codec) -> Self {
        Self {
            image,
            size: header.size,
            bits: header.cluster_bits,
            l1: header.l1,
            extended: header.extended_l2,
            zero_flag: header.version >= 3,
            has_data_file: header.data_file.is_some(),
            codec,
        }
    }

    fn cluster_size(&self) -> u64 {
        1 << self.bits
    }

    fn entry_bits(&self) -> u32 {
        if self.extended { 4 } else { 3 }
    }

    /// Number of bytes of the disk that one L2 table leads to, as an exponent.
    fn covered_bits(&self) -> u32 {
        self.bits + self.bits - self.entry_bits()
    }

    /// Whether a table or cluster would lie on the header or the L1 table.
    fn overlaps(&self, range: ByteRange) -> bool {
        range.start() < self.cluster_size() || !range.intersect(self.l1).is_empty()
    }

    /// Checks the place of a whole table or cluster.
    fn check(&self, what: &'static str, offset: u64) -> io::Result<ByteRange> {
        let range = ByteRange::at(offset, self.cluster_size());
        let defect = if !offset.is_multiple_of(self.cluster_size()) {
            Defect::Unaligned
        } else if self.overlaps(range) {
            Defect::Overlap
        } else {
            return Ok(range);
        };
        Err(self.image.damage(what, offset, defect).into())
    }

    /// The L2 table for the byte of the disk at `at`, or the number of bytes from there for which there is none.
    fn l2_table(&self, tables: &Tables, range: ByteRange) -> io::Result<Result<ByteRange, u64>> {
        let covered = self.covered_bits();
        let index = range.start() >> covered;
        let last = (range.end() - 1) >> covered;
        let at = self.l1.start() + index * 8;
        let entries = tables.entries(&self.image, "the L1 table", at, 8, last - index + 1)?;
        let (first, _) = split(&entries);
        let offset = first & OFFSET_MASK;
        if offset != 0 {
            return self.check("an L2 table", offset).map(Ok);
        }
        let empty = entries
            .chunks_exact(8)
            .take_while(|entry| split(entry).0 & OFFSET_MASK == 0)
            .count() as u64;
        let end = (index + empty) << covered;
        Ok(Err(end.min(range.end()) - range.start()))
    }

    /// What the L2 entry says of the bytes of its cluster from `within` on. `start` is the cluster's
    /// place in the disk.
    fn part(&self, l2: ByteRange, entry: &[u8], start: u64, within: u64) -> io::Result<Part> {
        let (descriptor, bitmap) = split(entry);
        let rest = self.cluster_size() - within;
        if descriptor & COMPRESSED != 0 {
            return Ok(Part {
                place: Place::Packed(self.packed(l2, descriptor, start)?),
                length: rest,
            });
        }
        let offset = descriptor & OFFSET_MASK;
        let allocated = offset != 0 || (self.has_data_file && descriptor & COPIED != 0);
        let (state, length) = if self.extended {
            self.subclusters(l2, bitmap, allocated, within)?
        } else if descriptor & ZERO != 0 {
            if !self.zero_flag {
                return Err(self.bad_entry(l2));
            }
            (State::Zeros, rest)
        } else if allocated {
            (State::Allocated, rest)
        } else {
            (State::Below, rest)
        };
        let place = match state {
            State::Zeros => Place::Zeros,
            State::Below => Place::Below,
            State::Allocated => self.plain(l2, offset, start, within)?,
        };
        Ok(Part { place, length })
    }

    fn bad_entry(&self, l2: ByteRange) -> io::Error {
        let damage = self.image.damage("the L2 table", l2.start(), Defect::Value);
        damage.into()
    }

    fn plain(&self, l2: ByteRange, offset: u64, start: u64, within: u64) -> io::Result<Place> {
        if self.has_data_file {
            // The data file is a raw disk by its definition.
            if offset != start {
                return Err(self.bad_entry(l2));
            }
            return Ok(Place::Plain {
                input: DATA_FILE,
                offset: offset + within,
            });
        }
        let cluster = self.check("a cluster", offset)?;
        if cluster == l2 {
            let damage = self.image.damage("a cluster", offset, Defect::Overlap);
            return Err(damage.into());
        }
        Ok(Place::Plain {
            input: IMAGE,
            offset: offset + within,
        })
    }

    /// The state of the subcluster at `within` and of those after it that have the same.
    fn subclusters(
        &self,
        l2: ByteRange,
        bitmap: u64,
        allocated: bool,
        within: u64,
    ) -> io::Result<(State, u64)> {
        let (data, zeros) = (bitmap as u32, (bitmap >> 32) as u32);
        if data & zeros != 0 || (data != 0 && !allocated) {
            return Err(self.bad_entry(l2));
        }
        let unit_bits = self.bits - SUBCLUSTERS.ilog2();
        let index = (within >> unit_bits) as u32;
        let (state, others) = if data >> index & 1 != 0 {
            (State::Allocated, !data)
        } else if zeros >> index & 1 != 0 {
            (State::Zeros, !zeros)
        } else {
            (State::Below, data | zeros)
        };
        let end = index + (others >> index).trailing_zeros().min(SUBCLUSTERS - index);
        Ok((state, (u64::from(end) << unit_bits) - within))
    }

    /// A compressed cluster: the offset takes the lower 70 − `cluster_bits` bits, the number of
    /// sectors after the first one the rest.
    fn packed(&self, l2: ByteRange, descriptor: u64, start: u64) -> io::Result<Packed> {
        if self.has_data_file {
            return Err(self.bad_entry(l2));
        }
        let split = 70 - self.bits;
        let offset = descriptor & ((1 << split) - 1);
        let sectors = (descriptor & (COMPRESSED - 1)) >> split;
        let end = (offset / 512 + 1 + sectors) * 512;
        let data = ByteRange::new(offset, end);
        if self.overlaps(data) || !data.intersect(l2).is_empty() {
            let damage = self
                .image
                .damage("a compressed cluster", offset, Defect::Overlap);
            return Err(damage.into());
        }
        Ok(Packed {
            input: IMAGE,
            data,
            block: ByteRange::at(start, self.cluster_size()),
            codec: self.codec,
        })
    }
}

/// The state of a cluster or subcluster that is not compressed.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Below,
    Zeros,
    Allocated,
}

impl Map for Clusters {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, tables: &Tables, range: ByteRange) -> io::Result<Extent> {
        let l2 = match self.l2_table(tables, range)? {
            Ok(l2) => l2,
            Err(length) => {
                return Ok(Extent {
                    length,
                    place: Place::Below,
                });
            }
        };
        let covered = 1 << self.covered_bits();
        let table_start = range.start() / covered * covered;
        let range = range.intersect(ByteRange::at(table_start, covered));
        let index = (range.start() - table_start) >> self.bits;
        let last = (range.end() - 1 - table_start) >> self.bits;
        let at = l2.start() + (index << self.entry_bits());
        let size = 1 << self.entry_bits();
        let entries = tables.entries(&self.image, "an L2 table", at, size, last - index + 1)?;

        let mut start = table_start + (index << self.bits);
        let mut within = range.start() - start;
        let mut found: Option<Extent> = None;
        for entry in entries.chunks_exact(size) {
            let part = match (self.part(l2, entry, start, within), &found) {
                (Ok(part), _) => part,
                (Err(error), None) => return Err(error),
                // A reader that gets that far gets the error.
                (Err(_), Some(_)) => break,
            };
            let extent = match found {
                None => Extent {
                    length: part.length,
                    place: part.place,
                },
                Some(extent) if continues(extent, part.place) => Extent {
                    length: extent.length + part.length,
                    ..extent
                },
                Some(_) => break,
            };
            found = Some(extent);
            if within + part.length < self.cluster_size() {
                break;
            }
            start += self.cluster_size();
            within = 0;
        }
        let extent = found.ok_or_else(|| self.bad_entry(l2))?;
        Ok(Extent {
            length: extent.length.min(range.len()),
            ..extent
        })
    }

    fn is_flat(&self) -> bool {
        self.has_data_file
    }

    fn has_packed(&self) -> bool {
        !self.has_data_file
    }
}

/// Whether what lies at `next` continues `extent`.
fn continues(extent: Extent, next: Place) -> bool {
    match (extent.place, next) {
        (Place::Zeros, Place::Zeros) | (Place::Below, Place::Below) => true,
        (
            Place::Plain { input, offset },
            Place::Plain {
                input: next_input,
                offset: next_offset,
            },
        ) => input == next_input && offset.checked_add(extent.length) == Some(next_offset),
        _ => false,
    }
}

/// The one or two big-endian numbers of an entry.
fn split(entry: &[u8]) -> (u64, u64) {
    let number = |at: usize| {
        entry
            .get(at..at + 8)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u64::from_be_bytes)
    };
    (number(0), number(8))
}
