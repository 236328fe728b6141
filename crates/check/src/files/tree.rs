//! The file systems of a system put together, with symbolic links followed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::Read;
use std::rc::Rc;

use super::{Files, Kind, MAX_FILE, Meta};
use crate::elf::{Binary, Fault};
use crate::unread::Unread;

/// Most bytes of files that are read as a whole; holes in files count as well.
const BYTE_BUDGET: u64 = 512 << 20;
/// Most symbolic links in a path, as in Linux.
const MAX_LINKS: usize = 40;
/// Most parts of a path.
const MAX_PARTS: usize = 512;
/// Most paths that are remembered.
const MAX_REMEMBERED: usize = 100_000;

/// A file system and the folder that it is mounted on.
#[derive(Clone)]
pub(crate) struct Mount {
    /// Folder, empty for the root.
    pub(crate) at: String,
    /// The file system.
    pub(crate) files: Rc<dyn Files>,
}

/// The files of a system.
pub(crate) struct Tree {
    mounts: Vec<Mount>,
    known: RefCell<HashMap<String, Option<Meta>>>,
    read: Cell<u64>,
    /// What programs and libraries say of themselves, as several need the same.
    pub(crate) binaries: RefCell<HashMap<String, Rc<Result<Binary, Fault>>>>,
}

impl Tree {
    /// The files of one file system.
    pub(crate) fn of(files: Rc<dyn Files>) -> Self {
        Self::new(vec![Mount {
            at: String::new(),
            files,
        }])
    }

    /// The files of several file systems, of which one is mounted on the root.
    pub(crate) fn new(mut mounts: Vec<Mount>) -> Self {
        // The longest folder that fits a path decides.
        mounts.sort_by_key(|mount| std::cmp::Reverse(mount.at.len()));
        Self {
            mounts,
            known: RefCell::default(),
            read: Cell::new(0),
            binaries: RefCell::default(),
        }
    }

    fn locate(&self, path: &str) -> Option<(&dyn Files, String)> {
        for mount in &self.mounts {
            if let Some(rest) = path.strip_prefix(mount.at.as_str())
                && (rest.is_empty() || rest.starts_with('/'))
            {
                let inside = if rest.is_empty() { "/" } else { rest };
                return Some((&*mount.files, inside.to_owned()));
            }
        }
        None
    }

    /// What is at a path without links but perhaps the last part.
    fn raw(&self, path: &str) -> Result<Option<Meta>, Unread> {
        if let Some(found) = self.known.borrow().get(path) {
            return Ok(*found);
        }
        let found = match self.locate(path) {
            Some((files, inside)) => files.meta(&inside)?,
            None => None,
        };
        let mut known = self.known.borrow_mut();
        if known.len() < MAX_REMEMBERED {
            known.insert(path.to_owned(), found);
        }
        Ok(found)
    }

    /// The path without links, and what is there; `None` where there is nothing.
    pub(crate) fn resolve(&self, path: &str) -> Result<Option<(String, Meta)>, Unread> {
        self.walk(path, true)
    }

    fn walk(&self, path: &str, follow_last: bool) -> Result<Option<(String, Meta)>, Unread> {
        let mut pending: Vec<String> = parts_reversed(path);
        let mut at = String::new();
        let mut meta = Meta {
            kind: Kind::Folder,
            size: 0,
            mode: 0o755,
            uid: 0,
        };
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if pending.len() > MAX_PARTS {
                return Ok(None);
            }
            if part == ".." {
                at.truncate(at.rfind('/').unwrap_or(0));
                meta.kind = Kind::Folder;
                continue;
            }
            if meta.kind != Kind::Folder {
                return Ok(None);
            }
            let next = format!("{at}/{part}");
            let Some(found) = self.raw(&next)? else {
                return Ok(None);
            };
            if found.kind == Kind::Link && (follow_last || !pending.is_empty()) {
                links += 1;
                if links > MAX_LINKS {
                    return Ok(None);
                }
                let Some((files, inside)) = self.locate(&next) else {
                    return Ok(None);
                };
                let target = files.link(&inside)?;
                if target.starts_with('/') {
                    at.clear();
                }
                pending.extend(parts_reversed(&target));
                continue;
            }
            (at, meta) = (next, found);
        }
        if at.is_empty() {
            let root = self.raw("/")?.unwrap_or(meta);
            return Ok(Some(("/".to_owned(), root)));
        }
        Ok(Some((at, meta)))
    }

    /// What is at a path, links followed.
    pub(crate) fn meta(&self, path: &str) -> Result<Option<Meta>, Unread> {
        Ok(self.resolve(path)?.map(|(_, meta)| meta))
    }

    /// Whether something is at a path, links followed.
    pub(crate) fn exists(&self, path: &str) -> Result<bool, Unread> {
        Ok(self.meta(path)?.is_some())
    }

    /// Whether a regular file is at a path, links followed.
    pub(crate) fn is_file(&self, path: &str) -> Result<bool, Unread> {
        Ok(self.meta(path)?.is_some_and(|meta| meta.is_file()))
    }

    /// Whether something is at a path, be it a link to nowhere.
    pub(crate) fn exists_as_link(&self, path: &str) -> Result<bool, Unread> {
        Ok(self.walk(path, false)?.is_some())
    }

    /// Whether one of several paths exists.
    pub(crate) fn exists_any(&self, paths: &[&str]) -> Result<bool, Unread> {
        Ok(self.first_of(paths)?.is_some())
    }

    /// The first of several paths that exists.
    pub(crate) fn first_of<'p>(&self, paths: &[&'p str]) -> Result<Option<&'p str>, Unread> {
        for path in paths {
            if self.exists(path)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Where the symbolic link at a path points to; `None` where there is none.
    pub(crate) fn link(&self, path: &str) -> Result<Option<String>, Unread> {
        match self.walk(path, false)? {
            Some((at, meta)) if meta.kind == Kind::Link => match self.locate(&at) {
                Some((files, inside)) => files.link(&inside).map(Some),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Names in a folder, sorted; none where there is no folder.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<String>, Unread> {
        let Some((at, _)) = self.resolve(path)? else {
            return Ok(Vec::new());
        };
        let at = if at == "/" { "" } else { &at };
        match self.locate(at) {
            Some((files, inside)) => files.list(&inside),
            None => Ok(Vec::new()),
        }
    }

    /// A regular file as a stream; `None` where there is none.
    pub(crate) fn open(&self, path: &str) -> Result<Option<Box<dyn Read + '_>>, Unread> {
        match self.resolve(path)? {
            Some((at, meta)) if meta.is_file() => match self.locate(&at) {
                Some((files, inside)) => files.open(&inside),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// The first bytes of a regular file, at most `limit`; `None` where there is none.
    pub(crate) fn head(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Unread> {
        let Some(file) = self.open(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        self.read
            .set(self.read.get().saturating_add(bytes.len() as u64));
        if self.read.get() > BYTE_BUDGET {
            return Err(Unread::TextBudget(BYTE_BUDGET));
        }
        Ok(Some(bytes))
    }

    /// All bytes of a regular file of at most `limit` bytes; `None` where there is none.
    pub(crate) fn bytes(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Unread> {
        match self.meta(path)? {
            Some(meta) if meta.is_file() && meta.size > limit => Err(Unread::FileSize {
                path: path.to_owned(),
                size: meta.size,
                limit,
            }),
            Some(meta) if meta.is_file() => self.head(path, limit),
            _ => Ok(None),
        }
    }

    /// The text of a regular file; `None` where there is none.
    pub(crate) fn text(&self, path: &str) -> Result<Option<String>, Unread> {
        let bytes = self.bytes(path, MAX_FILE)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The texts of all regular files in a folder whose names end so, with their paths, sorted.
    pub(crate) fn texts_in(
        &self,
        folder: &str,
        ending: &str,
    ) -> Result<Vec<(String, String)>, Unread> {
        let mut texts = Vec::new();
        for name in self.list(folder)? {
            if !name.ends_with(ending) {
                continue;
            }
            let path = format!("{folder}/{name}");
            if let Some(text) = self.text(&path)? {
                texts.push((path, text));
            }
        }
        Ok(texts)
    }
}

/// The parts of a path, the last first.
fn parts_reversed(path: &str) -> Vec<String> {
    let parts = path.split('/').rev();
    let named = parts.filter(|part| !part.is_empty() && *part != ".");
    named.map(str::to_owned).collect()
}
