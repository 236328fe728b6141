//! The compressed bytes of one block, as decoders want them.

use std::io::{self, Read};

use crate::format::Input;
use crate::memory::room;
use crate::{ByteRange, Disk};

/// How much is read at once of what is decoded piece by piece, in bytes.
const CHUNK: u64 = 64 << 10;

/// Compressed bytes in a file: all at once, or as a stream.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    input: &'a Input,
    /// What was not read yet.
    rest: ByteRange,
    chunk: Vec<u8>,
    /// How much of the chunk was given out.
    given: usize,
    /// The file's own error.
    failed: Option<io::Error>,
}

impl<'a> Source<'a> {
    /// The bytes of `range`, which lies inside of `input`.
    pub(super) fn new(input: &'a Input, range: ByteRange) -> Self {
        Self {
            input,
            rest: range,
            chunk: Vec::new(),
            given: 0,
            failed: None,
        }
    }

    /// All of them, before any was read as a stream.
    ///
    /// # Errors
    ///
    /// The file's own.
    pub(crate) fn all(&mut self) -> io::Result<Vec<u8>> {
        let length = self.rest.len() as usize;
        let mut bytes = room(length)?;
        bytes.resize(length, 0);
        self.input.read_exact_at(&mut bytes, self.rest.start())?;
        Ok(bytes)
    }

    /// The error that ended the stream, if it was one of the file.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn fill(&mut self) -> io::Result<()> {
        let range = ByteRange::at(self.rest.start(), CHUNK.min(self.rest.len()));
        if self.chunk.is_empty() {
            self.chunk = room(range.len() as usize)?;
        }
        self.chunk.resize(range.len() as usize, 0);
        self.given = 0;
        self.input.read_exact_at(&mut self.chunk, range.start())?;
        self.rest = ByteRange::new(range.end(), self.rest.end());
        Ok(())
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.chunk.len()
            && let Err(error) = self.fill()
        {
            let kind = error.kind();
            self.chunk.clear();
            self.failed = Some(error);
            return Err(kind.into());
        }
        let rest = &self.chunk[self.given..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}
