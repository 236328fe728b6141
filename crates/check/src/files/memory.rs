//! Files in memory: what an initial RAM disk unpacks to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::{Files, Kind, MAX_NAMES, Meta};
use crate::unread::Unread;

/// Files by their paths.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    entries: BTreeMap<String, Entry>,
    folders: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug)]
struct Entry {
    meta: Meta,
    /// The content, or the target of a link; `None` where it was too large to keep.
    bytes: Option<Vec<u8>>,
}

impl Memory {
    /// Adds what is at a path, in place of what was there, and the folders above it.
    pub(crate) fn add(&mut self, path: &str, meta: Meta, bytes: Option<Vec<u8>>) {
        let parts = path
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".");
        let mut at = String::new();
        for part in parts {
            self.folders
                .entry(at.clone())
                .or_default()
                .insert(part.to_owned());
            at.push('/');
            at.push_str(part);
            let folder = Meta {
                kind: Kind::Folder,
                size: 0,
                mode: 0o755,
                uid: 0,
            };
            self.entries.entry(at.clone()).or_insert(Entry {
                meta: folder,
                bytes: None,
            });
        }
        // A folder that comes again keeps what is in it.
        self.entries.insert(at, Entry { meta, bytes });
    }

    /// Number of files, folders and links.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Paths of everything.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
}

impl Files for Memory {
    fn meta(&self, path: &str) -> Result<Option<Meta>, Unread> {
        if path == "/" {
            return Ok(Some(Meta {
                kind: Kind::Folder,
                size: 0,
                mode: 0o755,
                uid: 0,
            }));
        }
        Ok(self.entries.get(path).map(|entry| entry.meta))
    }

    fn link(&self, path: &str) -> Result<String, Unread> {
        let entry = self
            .entries
            .get(path)
            .and_then(|entry| entry.bytes.as_ref());
        let target = entry.ok_or(Unread::Missing)?;
        Ok(String::from_utf8_lossy(target).into_owned())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Unread> {
        let names = self.folders.get(path.trim_end_matches('/'));
        Ok(names.map_or_else(Vec::new, |names| {
            names.iter().take(MAX_NAMES).cloned().collect()
        }))
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn Read + '_>>, Unread> {
        match self.entries.get(path) {
            Some(entry) if entry.meta.is_file() => match &entry.bytes {
                Some(bytes) => Ok(Some(Box::new(&bytes[..]))),
                None => Err(Unread::NotKept),
            },
            _ => Ok(None),
        }
    }
}
