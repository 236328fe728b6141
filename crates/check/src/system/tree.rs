//! Files of an ext2, ext3 or ext4 file system, read within bounds.

use std::cell::Cell;
use std::io;

use byteorder::{ByteOrder, LittleEndian};
use ext4_view::{Ext4, Ext4Error, File};

use super::super::metered::Window;
use super::super::unread::Unread;
use disk::Disk;

/// Largest file that is read as a whole, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// Most bytes of text that are read from a file system; holes in files count as well.
const TEXT_BUDGET: u64 = 256 << 20;
/// Most names of a folder that are looked at.
const MAX_NAMES: usize = 4096;
/// Most block groups, for which the parser takes memory: 128 TiB in groups of the usual size.
const MAX_GROUPS: u64 = 1 << 20;

/// The files of a file system.
pub(super) struct Tree {
    files: Ext4,
    text_read: Cell<u64>,
}

impl Tree {
    /// Opens the file system in a part of a disk.
    pub(super) fn open(window: Window) -> Result<Self, Unread> {
        check_superblock(&window)?;
        let files = Ext4::load(Box::new(window))?;
        let text_read = Cell::new(0);
        Ok(Self { files, text_read })
    }

    /// Whether something is at a path, links followed.
    pub(super) fn exists(&self, path: &str) -> Result<bool, Unread> {
        Ok(present(self.files.metadata(path))?.is_some())
    }

    /// Whether something is at a path, be it a link to nowhere.
    pub(super) fn exists_as_link(&self, path: &str) -> Result<bool, Unread> {
        Ok(present(self.files.symlink_metadata(path))?.is_some())
    }

    /// Where a symbolic link points to; nothing where there is none.
    pub(super) fn link(&self, path: &str) -> Result<Option<String>, Unread> {
        match self.files.read_link(path) {
            Err(Ext4Error::NotASymlink) => Ok(None),
            result => Ok(present(result)?.map(|target| target.display().to_string())),
        }
    }

    /// The size of a regular file in bytes; nothing where there is none.
    pub(super) fn size(&self, path: &str) -> Result<Option<u64>, Unread> {
        let metadata = present(self.files.metadata(path))?;
        Ok(metadata
            .filter(|m| m.file_type().is_regular_file())
            .map(|m| m.len()))
    }

    /// The path with all links resolved; nothing where there is nothing.
    pub(super) fn canonical(&self, path: &str) -> Result<Option<String>, Unread> {
        let path = present(self.files.canonicalize(path))?;
        Ok(path.map(|path| path.display().to_string()))
    }

    /// A regular file to read from; nothing where there is none.
    pub(super) fn open_file(&self, path: &str) -> Result<Option<FileReader>, Unread> {
        if self.size(path)?.is_none() {
            return Ok(None);
        }
        Ok(present(self.files.open(path))?.map(FileReader))
    }

    /// The first bytes of a regular file, at most `limit`; nothing where there is none.
    pub(super) fn head(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Unread> {
        let Some(file) = self.open_file(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, limit), &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Refuses a file larger than `limit` bytes.
    pub(super) fn check_size(&self, path: &str, limit: u64) -> Result<(), Unread> {
        match self.size(path)? {
            Some(size) if size > limit => Err(Unread::FileSize {
                path: path.to_owned(),
                size,
                limit,
            }),
            _ => Ok(()),
        }
    }

    /// The text of a regular file; nothing where there is none.
    pub(super) fn text(&self, path: &str) -> Result<Option<String>, Unread> {
        self.check_size(path, MAX_FILE)?;
        let bytes = self.head(path, MAX_FILE)?;
        let size = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.text_read.set(self.text_read.get() + size);
        if self.text_read.get() > TEXT_BUDGET {
            return Err(Unread::TextBudget(TEXT_BUDGET));
        }
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Names in a folder, sorted, without `.` and `..`; none where there is no folder.
    pub(super) fn list(&self, path: &str) -> Result<Vec<String>, Unread> {
        let mut names = Vec::new();
        let Some(entries) = present(self.files.read_dir(path))? else {
            return Ok(names);
        };
        for entry in entries.take(MAX_NAMES) {
            let name = entry?.file_name().display().to_string();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Turns the errors that mean "there is no such thing" into nothing.
fn present<T>(result: Result<T, Ext4Error>) -> Result<Option<T>, Unread> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(
            Ext4Error::NotFound
            | Ext4Error::NotADirectory
            | Ext4Error::IsADirectory
            | Ext4Error::IsASpecialFile
            | Ext4Error::TooManySymlinks,
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Checks the numbers from which the parser computes how much memory it takes.
fn check_superblock(window: &Window) -> Result<(), Unread> {
    let mut bytes = [0; 1024];
    window.read_exact_at(&mut bytes, 1024)?;
    let u32_at = |at: usize| u64::from(LittleEndian::read_u32(&bytes[at..]));
    let is_64_bit = u32_at(0x60) & 0x80 != 0;
    let high = if is_64_bit { u32_at(0x150) } else { 0 };
    let blocks = u32_at(0x04) | high << 32;
    let block_size = 1_u64
        .checked_shl(10 + u32_at(0x18).min(64) as u32)
        .unwrap_or(0);
    let size = blocks.checked_mul(block_size);
    if block_size == 0 || size.is_none_or(|size| size > window.size()) {
        return Err(Unread::LargerThanPartition);
    }
    let groups = blocks.div_ceil(u32_at(0x20).max(1));
    if groups > MAX_GROUPS {
        return Err(Unread::BlockGroups(groups));
    }
    Ok(())
}

/// A file as a stream.
pub(super) struct FileReader(File);

impl io::Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_bytes(buffer).map_err(io::Error::other)
    }
}
