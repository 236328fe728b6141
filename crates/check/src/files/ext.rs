//! ext2, ext3 and ext4.

use std::io::{self, Read};

use byteorder::{ByteOrder, LittleEndian};
use disk::Disk;
use ext4_view::{Ext4, Ext4Error, File};

use super::{Files, Kind, MAX_NAMES, Meta};
use crate::metered::Window;
use crate::unread::Unread;

/// Most block groups, for which the parser takes memory: 128 TiB in groups of the usual size.
const MAX_GROUPS: u64 = 1 << 20;

/// The files of an ext file system.
pub(crate) struct Ext(Ext4);

impl Ext {
    /// Opens the file system in a part of a disk.
    pub(crate) fn open(window: Window) -> Result<Self, Unread> {
        check_superblock(&window)?;
        Ok(Self(Ext4::load(Box::new(window))?))
    }
}

impl Files for Ext {
    fn meta(&self, path: &str) -> Result<Option<Meta>, Unread> {
        let found = present(self.0.symlink_metadata(path))?;
        Ok(found.map(|found| {
            let file_type = found.file_type();
            let kind = match () {
                () if file_type.is_regular_file() => Kind::File,
                () if file_type.is_dir() => Kind::Folder,
                () if file_type.is_symlink() => Kind::Link,
                () => Kind::Other,
            };
            Meta {
                kind,
                size: found.len(),
                mode: u32::from(found.mode()) & 0o7777,
                uid: found.uid(),
            }
        }))
    }

    fn link(&self, path: &str) -> Result<String, Unread> {
        Ok(self.0.read_link(path)?.display().to_string())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Unread> {
        let mut names = Vec::new();
        let Some(entries) = present(self.0.read_dir(path))? else {
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

    fn open(&self, path: &str) -> Result<Option<Box<dyn Read + '_>>, Unread> {
        if !self.meta(path)?.is_some_and(|meta| meta.is_file()) {
            return Ok(None);
        }
        let file = present(self.0.open(path))?;
        Ok(file.map(|file| Box::new(Stream(file)) as Box<dyn Read>))
    }
}

/// Turns the errors that mean "there is no such thing" into `None`.
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
struct Stream(File);

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_bytes(buffer).map_err(io::Error::other)
    }
}
