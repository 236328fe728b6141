//! Which format a file is in, by its content.

use std::io;

use super::{Format, TABLE};
use crate::Disk;

/// Number of bytes at the beginning of a file that formats are recognised by.
const HEAD_SIZE: usize = 512;
/// Number of bytes at the end of a file that formats are recognised by.
const TAIL_SIZE: usize = 512;
/// Where the first volume descriptor of ISO 9660 stands (ECMA-119, 7.1.1), and how much of it is looked at.
const VOLUME: (u64, usize) = (32_768, 6);

/// The parts of a file that formats are recognised by.
pub(crate) struct Probe<'a> {
    /// The first [`HEAD_SIZE`] bytes, fewer of a smaller file.
    pub(crate) head: &'a [u8],
    /// The last [`TAIL_SIZE`] bytes, fewer of a smaller file.
    pub(crate) tail: &'a [u8],
    /// The first bytes of what is a volume descriptor on an optical disc; empty in a smaller file.
    pub(crate) volume: &'a [u8],
    /// Size of the file in bytes.
    #[allow(dead_code, reason = "for the formats that hold others")]
    pub(crate) size: u64,
}

impl Probe<'_> {
    /// Whether `magic` stands at byte `at` of the file.
    pub(crate) fn has(&self, at: usize, magic: &[u8]) -> bool {
        self.head
            .get(at..)
            .is_some_and(|rest| rest.starts_with(magic))
    }

    /// The byte at `at`; 0 if the file is smaller.
    pub(crate) fn byte(&self, at: usize) -> u8 {
        self.head.get(at).copied().unwrap_or(0)
    }
}

impl Format {
    /// The format of a file, by its content. Takes three small reads.
    ///
    /// # Errors
    ///
    /// The file's own error.
    pub fn of(file: &dyn Disk) -> io::Result<Self> {
        let size = file.size();
        let read = |at: u64, count: usize| -> io::Result<Vec<u8>> {
            let rest = size.saturating_sub(at);
            let mut bytes = vec![0; rest.min(count as u64) as usize];
            file.read_exact_at(&mut bytes, at)?;
            Ok(bytes)
        };
        let head = read(0, HEAD_SIZE)?;
        let tail = read(size.saturating_sub(TAIL_SIZE as u64), TAIL_SIZE)?;
        let volume = if size > VOLUME.0 {
            read(VOLUME.0, VOLUME.1)?
        } else {
            Vec::new()
        };
        Ok(Self::recognise(&Probe {
            head: &head,
            tail: &tail,
            volume: &volume,
            size,
        }))
    }

    fn recognise(probe: &Probe<'_>) -> Self {
        TABLE
            .iter()
            .find(|kind| (kind.recognise)(probe))
            .map_or(Self::RAW, |kind| Self(kind))
    }
}
