//! A disk without container: the map with one entry.

use std::io;

use super::{Context, Details, Extent, Format, Kind, Map, Parsed, Place, Reading, Stop};
use crate::cache::Tables;
use crate::{ByteRange, Disk};

pub(super) const KIND: Kind = Kind {
    name: "raw",
    title: "raw disk image",
    qemu_name: None,
    extensions: &["raw", "img", "dd", "image", "disk"],
    recognise: |_| true,
    reading: Reading::Parse(parse),
};

fn parse(context: &mut Context<'_>) -> Result<Parsed, Stop> {
    let input = context.input().clone();
    let map = Flat {
        start: 0,
        size: input.size(),
    };
    Ok(Parsed::of_one_file(map, input, Details::new(Format::RAW)))
}

/// A disk whose bytes lie one after the other in the first input.
#[derive(Debug)]
pub(crate) struct Flat {
    /// Offset of the disk's first byte.
    pub(crate) start: u64,
    /// Number of bytes of the disk.
    pub(crate) size: u64,
}

impl Map for Flat {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, _: &Tables, range: ByteRange) -> io::Result<Extent> {
        Ok(Extent {
            length: range.len(),
            place: Place::Plain {
                input: 0,
                offset: self.start + range.start(),
            },
        })
    }

    fn is_flat(&self) -> bool {
        true
    }
}
