//! btrfs, with its subvolumes.

use std::cell::RefCell;
use std::io::{self, Read};

use disk::Disk;
use lambutter::{Error, Inode, Path};

use super::bounded::Bounded;
use super::{Files, Kind, MAX_LINK, MAX_NAMES, Meta};
use crate::metered::Window;
use crate::unread::Unread;

/// Most bytes that opening reads: the chunk tree of 32 TiB.
const MAX_OPENING: u64 = 256 << 20;
/// Largest extent that is unpacked at once, in bytes.
const MAX_EXTENT: usize = 16 << 20;

/// What of a file system is mounted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Subvolume {
    /// The one above all others.
    Top,
    /// The one that is mounted without options.
    Default,
    /// The one of a number, as in `subvolid=`.
    Numbered(u64),
    /// The one of a path from the topmost one, as in `subvol=`.
    Named(String),
}

impl Subvolume {
    /// The one that options of a mount choose.
    pub(crate) fn of_options<'o>(options: impl Iterator<Item = &'o str>) -> Self {
        let mut chosen = Self::Default;
        for option in options {
            if let Some(path) = option.strip_prefix("subvol=") {
                chosen = Self::Named(path.to_owned());
            } else if let Some(number) = option.strip_prefix("subvolid=") {
                chosen = match number.parse() {
                    Ok(5 | 0) => Self::Top,
                    Ok(number) => Self::Numbered(number),
                    Err(_) => Self::Named(option.to_owned()),
                };
            }
        }
        chosen
    }
}

/// The files of a btrfs file system, or of a subvolume of it.
pub(crate) struct Btrfs {
    reader: Bounded,
    files: RefCell<lambutter::Btrfs<Bounded>>,
}

impl Btrfs {
    /// Opens a subvolume of the file system in a part of a disk; [`Unread::Missing`] where there
    /// is none like that.
    pub(crate) fn open(window: Window, subvolume: &Subvolume) -> Result<Self, Unread> {
        let reader = Bounded::new(window.clone());
        reader.begin_opening(MAX_OPENING);
        let (own, size) = (reader.clone(), window.size());
        let opened = match subvolume {
            Subvolume::Default => lambutter::Btrfs::open(own, size),
            Subvolume::Top => lambutter::Btrfs::open_subvol_id(own, size, 5),
            Subvolume::Numbered(number) => lambutter::Btrfs::open_subvol_id(own, size, *number),
            Subvolume::Named(path) => {
                let path = format!("/{}", path.trim_start_matches('/'));
                let path = Path::from(path.as_str());
                lambutter::Btrfs::open_subvol_path(own, size, path)
            }
        };
        match opened {
            Ok(files) => Ok(Self {
                reader,
                files: RefCell::new(files),
            }),
            Err(Error::NotFound | Error::NotASubvolume) => Err(Unread::Missing),
            Err(error) => Err(error.into()),
        }
    }

    fn inode(&self, path: &str) -> Result<Option<Inode>, Unread> {
        self.reader.begin(0);
        let found = self.files.borrow_mut().resolve(Path::from(path));
        present(found)
    }
}

/// Turns "there is no such thing" into `None`.
fn present<T>(result: Result<T, Error>) -> Result<Option<T>, Unread> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Files for Btrfs {
    fn meta(&self, path: &str) -> Result<Option<Meta>, Unread> {
        let Some(inode) = self.inode(path)? else {
            return Ok(None);
        };
        let found = self.files.borrow_mut().metadata(&inode)?;
        let kind = match () {
            () if found.is_file() => Kind::File,
            () if found.is_dir() => Kind::Folder,
            () if found.is_symlink() => Kind::Link,
            () => Kind::Other,
        };
        Ok(Some(Meta {
            kind,
            size: found.size,
            mode: found.mode & 0o7777,
            uid: found.uid,
        }))
    }

    fn link(&self, path: &str) -> Result<String, Unread> {
        self.reader.begin(MAX_EXTENT);
        let target = self.files.borrow_mut().read_link(Path::from(path))?;
        let target = target.get(..MAX_LINK as usize).unwrap_or(&target);
        Ok(String::from_utf8_lossy(target).into_owned())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Unread> {
        if !self.meta(path)?.is_some_and(|meta| meta.is_folder()) {
            return Ok(Vec::new());
        }
        self.reader.begin(0);
        let entries = present(self.files.borrow_mut().read_dir(Path::from(path)))?;
        let entries = entries.unwrap_or_default().into_iter();
        let mut names: Vec<_> = entries
            .map(|entry| String::from_utf8_lossy(&entry.name).into_owned())
            .collect();
        names.sort();
        names.truncate(MAX_NAMES);
        Ok(names)
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn Read + '_>>, Unread> {
        let is_file = self.meta(path)?.is_some_and(|meta| meta.is_file());
        let inode = self.inode(path)?.filter(|_| is_file);
        Ok(inode.map(|inode| {
            Box::new(Stream {
                files: self,
                inode,
                position: 0,
            }) as Box<dyn Read>
        }))
    }
}

/// A file as a stream.
struct Stream<'f> {
    files: &'f Btrfs,
    inode: Inode,
    position: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Packed extents are read as a whole, at both ends of what is asked for.
        self.files.reader.begin(buffer.len() + 2 * MAX_EXTENT);
        let mut files = self.files.files.borrow_mut();
        let read = files.read_file_at(&self.inode, self.position, buffer);
        let count = read.map_err(|error| io::Error::other(error.to_string()))?;
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_mounts() {
        let of = |options: &'static str| Subvolume::of_options(options.split(','));
        assert_eq!(of("defaults,compress=zstd:1"), Subvolume::Default);
        assert_eq!(of("subvol=@,rw"), Subvolume::Named("@".to_owned()));
        assert_eq!(of("subvolid=256"), Subvolume::Numbered(256));
        assert_eq!(of("subvolid=5"), Subvolume::Top);
        assert_eq!(of("subvolid=x"), Subvolume::Named("subvolid=x".to_owned()));
    }
}
