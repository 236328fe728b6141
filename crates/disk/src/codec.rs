//! Decompressing one block.

use std::io;

use flate2::{Decompress, FlushDecompress, Status};
use parking_lot::Mutex;
use zstd_safe::DCtx;

use crate::cache::Source;
use crate::format::{XzBlock, decode_xz};
use crate::memory::{room, with_room};

/// How a block is compressed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Codec {
    /// Deflate without header and checksum (RFC 1951), as in qcow2.
    Deflate,
    /// Deflate in the zlib format (RFC 1950), as in VMDK.
    #[allow(dead_code, reason = "for VMDK")]
    Zlib,
    /// Zstandard (RFC 8878), as in qcow2.
    Zstd,
    /// A block of an xz file.
    Xz(XzBlock),
}

/// What decoding a block gives: `None` where it is damaged.
type Decoded = io::Result<Option<Vec<u8>>>;

/// Memory that a decoder takes beside its input and its output, in bytes.
const DECODER_MEMORY: u64 = 256 << 10;

impl Codec {
    /// Memory that decoding `packed` bytes to a block of `length` takes beside that block, in bytes.
    pub(crate) fn memory(self, packed: u64, length: usize) -> u64 {
        DECODER_MEMORY.saturating_add(match self {
            // The dictionary.
            Self::Xz(_) => length as u64 * 3 / 2,
            _ => packed,
        })
    }

    /// The first `length` bytes that `packed` decompresses to; `None` if it is damaged or gives fewer.
    ///
    /// What follows in the input after these is not looked at, so that a block that claims
    /// to be larger takes neither memory nor time.
    ///
    /// # Errors
    ///
    /// The file's own; [`OutOfMemory`](io::ErrorKind::OutOfMemory).
    pub(crate) fn decode(self, packed: &mut Source<'_>, length: usize) -> Decoded {
        match self {
            Self::Deflate => inflate(&packed.all()?, room(length)?, length, false),
            Self::Zlib => inflate(&packed.all()?, room(length)?, length, true),
            Self::Zstd => zstd(&packed.all()?, room(length)?, length),
            Self::Xz(block) => {
                let decoded = decode_xz(&mut *packed, room(length)?, length, block)?;
                packed.check()?;
                Ok(decoded)
            }
        }
    }
}

/// Decoders that are kept from one block to the next: making one anew costs as much as a small block. There
/// are as many as blocks were ever decoded at once, which [`Blocks`](crate::cache::Blocks) bounds, however many threads read.
static INFLATERS: Kept<Decompress> = Kept::new();
static ZSTD: Kept<DCtx<'static>> = Kept::new();

struct Kept<T>(Mutex<Vec<T>>);

impl<T> Kept<T> {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Runs `decode` with a decoder that was kept, or with a new one.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) where a new one cannot be had.
    fn with<R>(
        &self,
        new: impl FnOnce() -> Option<T>,
        decode: impl FnOnce(&mut T) -> R,
    ) -> io::Result<R> {
        // The lock ends with this line.
        let kept = self.0.lock().pop();
        let mut decoder = match kept {
            Some(decoder) => decoder,
            None => with_room(DECODER_MEMORY as usize, new)?.ok_or(io::ErrorKind::OutOfMemory)?,
        };
        let result = decode(&mut decoder);
        self.0.lock().push(decoder);
        Ok(result)
    }
}

fn inflate(packed: &[u8], mut block: Vec<u8>, length: usize, header: bool) -> Decoded {
    let new = || Some(Decompress::new(header));
    INFLATERS.with(new, |decoder| {
        decoder.reset(header);
        let status = decoder
            .decompress_vec(packed, &mut block, FlushDecompress::Finish)
            .ok()?;
        let full = block.len() >= length;
        block.truncate(length);
        (full && matches!(status, Status::StreamEnd | Status::BufError | Status::Ok))
            .then_some(block)
    })
}

/// Whole frames only, so that no window has to be kept beside the block: a frame can claim one of gigabytes.
fn zstd(packed: &[u8], mut block: Vec<u8>, length: usize) -> Decoded {
    ZSTD.with(DCtx::try_create, |decoder| {
        block.resize(length, 0);
        let (mut read, mut written) = (0, 0);
        while written < length {
            let frame = next_frame(&packed[read..])?;
            written += decoder.decompress(&mut block[written..], frame).ok()?;
            read += frame.len();
        }
        Some(block)
    })
}

/// The frame at the beginning of `packed`.
fn next_frame(packed: &[u8]) -> Option<&[u8]> {
    let length = zstd_safe::find_frame_compressed_size(packed).ok()?;
    packed.get(..length).filter(|frame| !frame.is_empty())
}
