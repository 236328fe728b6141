//! The members of a tar archive, found without reading their data.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;

use tar::EntryType;

use crate::format::{Defect, FormatError, Input};
use crate::{ByteRange, Disk};

/// Number of members that are looked at, at most.
const MAX_MEMBERS: usize = 4096;
/// How much of headers and long names is read of an archive, in bytes.
const MAX_HEADERS: u64 = 4 << 20;
/// How much is read at once: the headers of small members lie close together.
const CHUNK: usize = 16 << 10;

const MEMBER: &str = "the archive's member";

/// A file in the archive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Member {
    /// Its path.
    pub(super) name: Vec<u8>,
    /// Its bytes in the archive.
    pub(super) data: ByteRange,
    /// Whether these bytes are the file, and not only what of it is no hole.
    pub(super) whole: bool,
}

/// Calls `visit` for the files of the archive, in their order, until it breaks.
///
/// # Errors
///
/// Damage of a header before that; the file's own error; those of `visit`.
pub(super) fn visit(
    input: &Input,
    mut visit: impl FnMut(Member) -> Result<ControlFlow<()>, FormatError>,
) -> Result<(), FormatError> {
    let reader = Reader::new(input);
    let broken = |error: io::Error| match reader.failed.take() {
        Some(error) => FormatError::from(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => input
            .damage(MEMBER, reader.at.get(), Defect::PastEnd)
            .into(),
        None => input.damage(MEMBER, reader.at.get(), Defect::Value).into(),
    };
    let mut archive = tar::Archive::new(&reader);
    for (number, entry) in archive.entries_with_seek().map_err(broken)?.enumerate() {
        if number == MAX_MEMBERS {
            return Err(FormatError::Limit {
                what: "number of members",
                value: number as u64 + 1,
                limit: MAX_MEMBERS as u64,
            });
        }
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        if !matches!(
            kind,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
        ) {
            continue;
        }
        let is_sparse = |key: &[u8]| key.starts_with(b"GNU.sparse");
        let mut whole = kind != EntryType::GNUSparse;
        if let Some(extensions) = entry.pax_extensions().map_err(broken)? {
            for extension in extensions {
                whole &= !is_sparse(extension.map_err(broken)?.key_bytes());
            }
        }
        let name = entry.path_bytes();
        let member = Member {
            name: name.strip_prefix(b"./").unwrap_or(&name).to_vec(),
            data: ByteRange::at(entry.raw_file_position(), entry.size()),
            whole,
        };
        // Without its holes a member is shorter than it says.
        if member.whole {
            input.check_inside(MEMBER, member.data)?;
        }
        if visit(member)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Reads the headers of an archive.
struct Reader<'a> {
    input: &'a Input,
    at: Cell<u64>,
    chunk: Cell<(u64, Vec<u8>)>,
    /// What may still be read, in bytes.
    rest: Cell<u64>,
    /// The file's own error.
    failed: Cell<Option<io::Error>>,
}

impl<'a> Reader<'a> {
    fn new(input: &'a Input) -> Self {
        Self {
            input,
            at: Cell::new(0),
            chunk: Cell::default(),
            rest: Cell::new(MAX_HEADERS),
            failed: Cell::default(),
        }
    }

    /// The bytes from `at` on that are read at once, not empty unless the file ends there.
    fn fill(&self, at: u64) -> io::Result<(u64, Vec<u8>)> {
        let (start, bytes) = self.chunk.take();
        if ByteRange::at(start, bytes.len() as u64).contains(at) {
            return Ok((start, bytes));
        }
        let rest = self.input.size().saturating_sub(at);
        let mut bytes = vec![0; rest.min(CHUNK as u64) as usize];
        self.input.read_exact_at(&mut bytes, at)?;
        Ok((at, bytes))
    }
}

impl Read for &Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = self.at.get();
        if at >= self.input.size() {
            return Ok(0);
        }
        let (start, bytes) = match self.fill(at) {
            Ok(chunk) => chunk,
            Err(error) => {
                let kind = error.kind();
                self.failed.set(Some(error));
                return Err(kind.into());
            }
        };
        let found = &bytes[(at - start) as usize..];
        let count = found.len().min(buffer.len());
        let rest = self.rest.get().checked_sub(count as u64);
        self.rest.set(rest.ok_or(io::ErrorKind::FileTooLarge)?);
        buffer[..count].copy_from_slice(&found[..count]);
        self.at.set(at + count as u64);
        self.chunk.set((start, bytes));
        Ok(count)
    }
}

impl Seek for &Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.get().checked_add_signed(by),
            SeekFrom::End(by) => self.input.size().checked_add_signed(by),
        };
        let at = at.ok_or(io::ErrorKind::InvalidInput)?;
        self.at.set(at);
        Ok(at)
    }
}
