//! xz files of several blocks, after "The .xz File Format" 1.2.1 (tukaani.org): each block can be decompressed alone.
//!
//! Their disk is whatever format they hold.

mod block;
mod index;

use std::sync::Arc;

pub(crate) use block::{XzBlock, decode};
use index::Index;

use super::container::Layer;
use super::{Container, Context, Details, Format, FormatError, Kind, Parsed, Reading, Stop};

/// Size of a block in bytes, at most: a block is decompressed as a whole, and held in memory.
///
/// `xz` makes blocks of 24 MiB if it is not told otherwise.
const MAX_BLOCK: u64 = 24 << 20;

pub(super) const KIND: Kind = Kind {
    name: "xz",
    title: "xz",
    qemu_name: None,
    extensions: &["xz"],
    recognise: |probe| probe.has(0, b"\xfd7zXZ\0"),
    reading: Reading::Parse(parse),
};

fn parse(context: &mut Context<'_>) -> Result<Parsed, Stop> {
    if !context.options().compressed {
        return Err(FormatError::CompressedNotAllowed.into());
    }
    let input = context.input().clone();
    let caches = context.caches();
    let index = Index::read(&input, caches.tables())?;
    if index.blocks() < 2 {
        return Err(FormatError::OneBlock.into());
    }
    if index.largest() > MAX_BLOCK {
        return Err(FormatError::LargeBlocks {
            found: index.largest(),
            limit: MAX_BLOCK,
        }
        .into());
    }
    let details = Details {
        block_size: Some(index.largest()),
        compression: Some("xz"),
        ..Details::new(Format::XZ)
    };
    let layer = Layer::new(Box::new(index), vec![input.clone()]);
    let content = Container::new(vec![layer], details.clone(), Arc::clone(caches));
    Ok(Parsed::Inner {
        input: input.decoded(Arc::new(content), caches),
        details,
    })
}

#[cfg(test)]
mod tests;
