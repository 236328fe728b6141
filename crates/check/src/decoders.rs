//! Decoders of what kernels and initial RAM disks are packed with.

use std::io::{self, BufRead, Read};

use thiserror::Error;

/// Most memory that the decoders of xz and lzma may take, in KiB.
const MAX_MEMORY: u32 = 256 << 10;
/// Bytes that packings are told apart by.
const MAGIC_SIZE: usize = 6;

/// Why there is no decoder.
#[derive(Debug, Error)]
pub(crate) enum NoDecoder {
    /// A packing that is not known here.
    #[error("it is packed with {0}, which is not looked into")]
    Packing(&'static str),
    /// Neither an archive nor a known packing.
    #[error("it has an unknown format (it begins with {0:02x?})")]
    Format([u8; MAGIC_SIZE]),
    /// The stream is damaged, or cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A decoder for the stream at which the input stands, by its first bytes. It takes from the input
/// no more than its stream, so that what follows can be read.
pub(crate) fn decoder<'i>(input: &'i mut dyn BufRead) -> Result<Box<dyn Read + 'i>, NoDecoder> {
    let mut magic = [0; MAGIC_SIZE];
    let mut found = 0;
    while found < MAGIC_SIZE {
        match input.read(&mut magic[found..])? {
            0 => break,
            count => found += count,
        }
    }
    let start = io::Cursor::new(magic[..found].to_vec());
    let input = start.chain(input);
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::GzDecoder::new(input)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(lzma_rust2::XzReader::new_mem_limit(
            input, false, MAX_MEMORY,
        )),
        [0x5d, 0, 0, ..] => Box::new(lzma_rust2::LzmaReader::new_mem_limit(
            input, MAX_MEMORY, None,
        )?),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(input);
            Box::new(decoder.map_err(io::Error::other)?)
        }
        [0x02, 0x21, 0x4c, 0x18, ..] | [0x04, 0x22, 0x4d, 0x18, ..] => {
            Box::new(lz4_flex::frame::FrameDecoder::new(input))
        }
        [b'B', b'Z', b'h', ..] => return Err(NoDecoder::Packing("bzip2")),
        [0x89, b'L', b'Z', b'O', ..] => return Err(NoDecoder::Packing("lzo")),
        _ => return Err(NoDecoder::Format(magic)),
    })
}
