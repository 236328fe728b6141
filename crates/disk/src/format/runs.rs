//! Which parts of a disk are data, and where data lies as it is.

use std::io;

use super::container::{At, Container};
use crate::{ByteRange, Disk};

/// How many looks at tables one search for data takes at most, as much as 16 TiB of discarded clusters need. Beyond
/// that the rest counts as data, which is never wrong.
const MAX_LOOKS: usize = 1 << 19;
/// How many looks at tables one run takes at most: a longer one is given out in parts.
const MAX_JOINED: usize = 1 << 16;
/// What counts as data where the tables that say so are damaged: reading it gives the error.
const UNKNOWN: u64 = 64 << 10;

/// Where a run of bytes of a disk comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// It is zeros.
    Zeros,
    /// The bytes lie as they are in one of the files, in the order in which the caller gave them.
    File {
        /// Number of the file.
        file: usize,
        /// Offset in it.
        offset: u64,
    },
    /// The bytes are made by decoding.
    Decoded,
}

/// A run of bytes of a disk that come from one place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Run {
    /// Its place in the disk.
    pub range: ByteRange,
    /// Where its bytes come from.
    pub origin: Origin,
}

impl Run {
    /// Both as one, if `next` continues it.
    fn join(self, next: Self) -> Option<Self> {
        let continues = match (self.origin, next.origin) {
            (
                Origin::File { file, offset },
                Origin::File {
                    file: next_file,
                    offset: next_offset,
                },
            ) => file == next_file && offset.checked_add(self.range.len()) == Some(next_offset),
            (mine, next) => mine == next,
        };
        (continues && self.range.end() == next.range.start()).then(|| Self {
            range: ByteRange::new(self.range.start(), next.range.end()),
            origin: self.origin,
        })
    }
}

/// The runs of a part of a disk, in order and without gaps, each as long as it can be with a bounded number of
/// looks at tables. Takes the same memory for every disk. Ends after the first error.
#[derive(Debug)]
pub struct Runs<'a> {
    container: &'a Container,
    rest: ByteRange,
    /// What was found already and not given out yet.
    next: Option<Run>,
    /// The error that comes after that.
    failed: Option<io::Error>,
}

impl Container {
    /// The runs of `range`, which is cut off at the end of the disk.
    ///
    /// Holes of the files themselves (of raw disks) are not looked for: they are part of what lies in the file.
    pub fn runs(&self, range: ByteRange) -> Runs<'_> {
        Runs {
            container: self,
            rest: range.intersect(ByteRange::new(0, self.size())),
            next: None,
            failed: None,
        }
    }

    /// The first run of data at or behind `offset`.
    pub(super) fn first_data(&self, offset: u64) -> Option<ByteRange> {
        let size = self.size();
        let mut at = offset;
        for _ in 0..MAX_LOOKS {
            if at >= size {
                return None;
            }
            match self.data_at(ByteRange::new(at, size)) {
                Ok(Look::Data(data)) => return Some(data),
                Ok(Look::Hole(end)) => at = end,
                Err(_) => return Some(ByteRange::at(at, UNKNOWN.min(size - at))),
            }
        }
        Some(ByteRange::new(at, size))
    }

    fn data_at(&self, range: ByteRange) -> io::Result<Look> {
        let found = self.find(range)?;
        let part = ByteRange::at(range.start(), found.length);
        Ok(match found.place {
            At::Zeros => Look::Hole(part.end()),
            At::Plain {
                input,
                offset,
                flat: true,
            } => match input.next_data(offset)? {
                Some(data) if data.start() < offset.saturating_add(part.len()) => {
                    let skipped = data.start().saturating_sub(offset);
                    let start = part.start() + skipped;
                    let data = ByteRange::at(start, data.end() - offset - skipped);
                    Look::Data(data.intersect(part))
                }
                _ => Look::Hole(part.end()),
            },
            At::Plain { .. } | At::Packed { .. } => Look::Data(part),
        })
    }
}

/// What lies at an offset.
enum Look {
    /// Data, from there or from behind a hole.
    Data(ByteRange),
    /// A hole up to here.
    Hole(u64),
}

impl Runs<'_> {
    fn find(&mut self) -> io::Result<Option<Run>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let found = self.container.find(self.rest)?;
        let range = ByteRange::at(self.rest.start(), found.length);
        self.rest = ByteRange::new(range.end(), self.rest.end());
        let origin = match found.place {
            At::Zeros => Origin::Zeros,
            At::Packed { .. } => Origin::Decoded,
            At::Plain { input, offset, .. } => match input.origin(offset) {
                Some((file, offset)) => Origin::File { file, offset },
                None => Origin::Decoded,
            },
        };
        Ok(Some(Run { range, origin }))
    }
}

impl Iterator for Runs<'_> {
    type Item = io::Result<Run>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut run = self.next.take();
        for _ in 0..MAX_JOINED {
            let found = match self.find() {
                Ok(Some(found)) => found,
                Ok(None) => return run.map(Ok).or_else(|| self.failed.take().map(Err)),
                Err(error) => {
                    self.rest = ByteRange::new(self.rest.end(), self.rest.end());
                    self.failed = Some(error);
                    continue;
                }
            };
            match run {
                None => run = Some(found),
                Some(before) => match before.join(found) {
                    Some(joined) => run = Some(joined),
                    None => {
                        self.next = Some(found);
                        return Some(Ok(before));
                    }
                },
            }
        }
        run.map(Ok)
    }
}
