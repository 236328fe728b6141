//! What a parser reads from: a file, a part of one, or what another image holds.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::{Damage, Defect, FormatError};
use crate::cache::Caches;
use crate::{ByteRange, Disk};

/// The bytes of one file, shared between threads.
pub type File = Arc<dyn Disk + Send + Sync>;

/// Bytes that a format reads its tables and data from.
#[derive(Clone)]
pub(crate) struct Input {
    bytes: File,
    /// Distinguishes it in the caches.
    id: u64,
    /// Name of the file for messages.
    name: Arc<str>,
    /// Number of the caller's file that holds the bytes as they are, and their offset in it; `None`
    /// if they are made by decoding.
    origin: Option<(usize, u64)>,
    /// How many images these bytes were decoded from, one in the other.
    level: usize,
}

impl Input {
    /// The whole of the caller's file `number`.
    pub(crate) fn file(bytes: File, name: &str, number: usize, caches: &Caches) -> Self {
        Self {
            bytes,
            id: caches.new_id(),
            name: name.into(),
            origin: Some((number, 0)),
            level: 0,
        }
    }

    /// The part `range` of it, as a file of its own (a member of an archive), called `name` in messages.
    ///
    /// # Errors
    ///
    /// [`Defect::PastEnd`] if `range` is not wholly inside.
    pub(crate) fn window(
        &self,
        range: ByteRange,
        name: &str,
        caches: &Caches,
    ) -> Result<Self, Damage> {
        self.check_inside("the member", range)?;
        Ok(Self {
            bytes: Arc::new(Window {
                bytes: self.bytes.clone(),
                range,
            }),
            id: caches.new_id(),
            name: name.into(),
            origin: self.origin.map(|(file, at)| (file, at + range.start())),
            level: self.level,
        })
    }

    /// What `disk` holds, which was decoded from this input.
    pub(crate) fn decoded(&self, disk: File, caches: &Caches) -> Self {
        Self {
            bytes: disk,
            id: caches.new_id(),
            name: self.name.clone(),
            origin: None,
            level: self.level + 1,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Name of the file for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn level(&self) -> usize {
        self.level
    }

    /// Where the byte at `offset` lies as it is: number of the caller's file and offset in it.
    pub(crate) fn origin(&self, offset: u64) -> Option<(usize, u64)> {
        self.origin.map(|(file, at)| (file, at + offset))
    }

    /// What `what` at `offset` has, as an error.
    pub(crate) fn damage(&self, what: &'static str, offset: u64, defect: Defect) -> Damage {
        Damage {
            file: self.name.to_string(),
            what,
            offset,
            defect,
        }
    }

    /// # Errors
    ///
    /// [`Defect::PastEnd`] if `range` is not wholly inside.
    pub(crate) fn check_inside(&self, what: &'static str, range: ByteRange) -> Result<(), Damage> {
        if range.end() > self.size() {
            return Err(self.damage(what, range.start(), Defect::PastEnd));
        }
        Ok(())
    }

    /// Reads the structure `what` at `offset`.
    ///
    /// # Errors
    ///
    /// [`Defect::PastEnd`] if it is not wholly inside; the file's own error.
    pub(crate) fn read_array<const N: usize>(
        &self,
        what: &'static str,
        offset: u64,
    ) -> Result<[u8; N], FormatError> {
        self.check_inside(what, ByteRange::at(offset, N as u64))?;
        let mut bytes = [0; N];
        self.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

impl Disk for Input {
    fn size(&self) -> u64 {
        self.bytes.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.read_exact_at(buffer, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<ByteRange>> {
        self.bytes.next_data(offset)
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("name", &self.name)
            .field("size", &self.size())
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// A part of a file.
#[allow(dead_code, reason = "for the formats that hold others")]
struct Window {
    bytes: File,
    range: ByteRange,
}

impl Disk for Window {
    fn size(&self) -> u64 {
        self.range.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        ByteRange::of_read(offset, buffer.len(), self.size())?;
        self.bytes
            .read_exact_at(buffer, self.range.start() + offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<ByteRange>> {
        let start = self.range.start();
        let Some(at) = start.checked_add(offset) else {
            return Ok(None);
        };
        let data = self.bytes.next_data(at)?;
        Ok(data
            .map(|data| data.intersect(self.range))
            .filter(|data| !data.is_empty())
            .map(|data| ByteRange::new(data.start() - start, data.end() - start)))
    }
}
