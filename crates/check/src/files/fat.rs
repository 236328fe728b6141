//! FAT, as on EFI system partitions.

use std::io::{self, Read};

use fatfs::{FileSystem, FsOptions};

use super::{Files, Kind, MAX_NAMES, Meta};
use crate::metered::{Cursor, Window};
use crate::unread::Unread;

/// The files of a FAT file system.
pub(crate) struct Fat(FileSystem<Cursor>);

impl Fat {
    /// Opens the file system in a part of a disk.
    pub(crate) fn open(window: Window) -> Result<Self, Unread> {
        let options = FsOptions::new().update_accessed_date(false);
        Ok(Self(FileSystem::new(Cursor::new(window), options)?))
    }

    fn folder(&self, path: &str) -> io::Result<fatfs::Dir<'_, Cursor>> {
        match path.trim_matches('/') {
            "" => Ok(self.0.root_dir()),
            path => self.0.root_dir().open_dir(path),
        }
    }
}

/// Turns "there is no such thing" into `None`.
fn present<T>(result: io::Result<T>) -> Result<Option<T>, Unread> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Other) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

impl Files for Fat {
    fn meta(&self, path: &str) -> Result<Option<Meta>, Unread> {
        let path = path.trim_matches('/');
        let folder = Meta {
            kind: Kind::Folder,
            size: 0,
            mode: 0o755,
            uid: 0,
        };
        if path.is_empty() {
            return Ok(Some(folder));
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(parent) = present(self.folder(parent))? else {
            return Ok(None);
        };
        for entry in parent.iter().take(MAX_NAMES) {
            let entry = entry?;
            let same = entry.file_name().eq_ignore_ascii_case(name)
                || entry.short_file_name().eq_ignore_ascii_case(name);
            if same && entry.is_dir() {
                return Ok(Some(folder));
            }
            if same {
                return Ok(Some(Meta {
                    kind: Kind::File,
                    size: entry.len(),
                    ..folder
                }));
            }
        }
        Ok(None)
    }

    fn link(&self, _: &str) -> Result<String, Unread> {
        Err(Unread::Missing)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Unread> {
        let mut names = Vec::new();
        let Some(folder) = present(self.folder(path))? else {
            return Ok(names);
        };
        for entry in folder.iter().take(MAX_NAMES) {
            let name = entry?.file_name();
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
        let file = present(self.0.root_dir().open_file(path.trim_matches('/')))?;
        Ok(file.map(|file| Box::new(file) as Box<dyn Read>))
    }
}
