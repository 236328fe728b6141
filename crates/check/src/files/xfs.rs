//! XFS.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read};
use std::rc::Rc;

use byteorder::{BigEndian, ByteOrder};
use disk::Disk;
use lamxfs::{Inode, Path};

use super::bounded::Bounded;
use super::{Files, Kind, MAX_LINK, MAX_NAMES, Meta};
use crate::metered::Window;
use crate::unread::Unread;

/// Most bytes that opening reads: all of the largest log that is replayed, more than once.
const MAX_OPENING: u64 = 512 << 20;
/// Most names of folders that are remembered.
const MAX_REMEMBERED: usize = 200_000;
/// Size of the part of an inode that is read here, in bytes.
const INODE_HEAD: usize = 12;

/// Numbers of the inodes in a folder, by their names.
type Names = HashMap<String, u64>;

/// The files of an XFS file system.
pub(crate) struct Xfs {
    reader: Bounded,
    window: Window,
    files: RefCell<lamxfs::Xfs<Bounded>>,
    geometry: Geometry,
    /// The parser reads a whole folder to find a name in it, so folders are remembered.
    folders: RefCell<HashMap<String, Rc<Names>>>,
}

/// What the place of an inode is computed from.
struct Geometry {
    block_size: u64,
    blocks_of_group: u64,
    inode_size: u64,
    /// Bits of the inode's number within a block, and of the block's within a group.
    inode_bits: u32,
    block_bits: u32,
}

impl Geometry {
    fn read(window: &Window) -> io::Result<Self> {
        let mut bytes = [0; 512];
        window.read_exact_at(&mut bytes, 0)?;
        Ok(Self {
            block_size: u64::from(BigEndian::read_u32(&bytes[4..])),
            blocks_of_group: u64::from(BigEndian::read_u32(&bytes[84..])),
            inode_size: u64::from(BigEndian::read_u16(&bytes[104..])),
            inode_bits: u32::from(bytes[123]),
            block_bits: u32::from(bytes[124]),
        })
    }

    /// Where an inode lies, in bytes.
    fn place(&self, inode: u64) -> Option<u64> {
        let below = |bits: u32| 1_u64.checked_shl(bits)?.checked_sub(1);
        let index = inode & below(self.inode_bits)?;
        let block = inode.checked_shr(self.inode_bits)? & below(self.block_bits)?;
        let group = inode.checked_shr(self.inode_bits.checked_add(self.block_bits)?)?;
        let block = group
            .checked_mul(self.blocks_of_group)?
            .checked_add(block)?;
        let inside = index.checked_mul(self.inode_size)?;
        block.checked_mul(self.block_size)?.checked_add(inside)
    }
}

impl Xfs {
    /// Opens the file system in a part of a disk. A log with changes is replayed in memory.
    pub(crate) fn open(window: Window) -> Result<Self, Unread> {
        let reader = Bounded::new(window.clone());
        reader.begin_opening(MAX_OPENING);
        let files = lamxfs::Xfs::open(reader.clone(), window.size())?;
        Ok(Self {
            reader,
            geometry: Geometry::read(&window)?,
            window,
            files: RefCell::new(files),
            folders: RefCell::default(),
        })
    }

    /// The names in a folder that is there.
    fn folder(&self, path: &str) -> Result<Rc<Names>, Unread> {
        if let Some(names) = self.folders.borrow().get(path) {
            return Ok(Rc::clone(names));
        }
        self.reader.begin(0);
        let entries = self
            .files
            .borrow_mut()
            .read_dir(Path::new(path.as_bytes()))?;
        let name = |entry: lamxfs::DirEntry| {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            (name, entry.inode_number)
        };
        let names: Rc<Names> = Rc::new(entries.into_iter().map(name).collect());
        let mut folders = self.folders.borrow_mut();
        let remembered: usize = folders.values().map(|names| names.len() + 1).sum();
        if remembered + names.len() > MAX_REMEMBERED {
            folders.clear();
        }
        folders.insert(path.to_owned(), Rc::clone(&names));
        Ok(names)
    }

    /// The inode at a path; `None` where there is nothing.
    fn inode(&self, path: &str) -> Result<Option<Inode>, Unread> {
        let path = path.trim_end_matches('/');
        let Some((parent, name)) = path.rsplit_once('/') else {
            self.reader.begin(0);
            let root = self.files.borrow_mut().resolve(Path::new(b"/"))?;
            return Ok(Some(root));
        };
        let is_folder = |meta: Option<Meta>| meta.is_some_and(|meta| meta.is_folder());
        if !self.folders.borrow().contains_key(parent) && !is_folder(self.meta(parent)?) {
            return Ok(None);
        }
        let found = self.folder(parent)?.get(name).copied();
        Ok(found.map(|ino| Inode { ino }))
    }

    /// The owner of an inode, which the parser does not give; 0 where it cannot be read.
    fn owner(&self, inode: Inode) -> u32 {
        let mut head = [0; INODE_HEAD];
        let read = |at| self.window.read_exact_at(&mut head, at).ok();
        match self.geometry.place(inode.ino).and_then(read) {
            Some(()) => BigEndian::read_u32(&head[8..]),
            None => 0,
        }
    }

    fn size_of(&self, path: &str) -> Result<u64, Unread> {
        Ok(self.meta(path)?.ok_or(Unread::Missing)?.size)
    }
}

impl Files for Xfs {
    fn meta(&self, path: &str) -> Result<Option<Meta>, Unread> {
        let Some(inode) = self.inode(path)? else {
            return Ok(None);
        };
        self.reader.begin(0);
        let found = self.files.borrow_mut().metadata(&inode)?;
        let kind = match () {
            () if found.is_file() => Kind::File,
            () if found.is_dir() => Kind::Folder,
            () if found.is_symlink() => Kind::Link,
            () => Kind::Other,
        };
        Ok(Some(Meta {
            kind,
            size: found.size(),
            mode: found.mode() & 0o7777,
            uid: self.owner(inode),
        }))
    }

    fn link(&self, path: &str) -> Result<String, Unread> {
        let size = self.size_of(path)?;
        if size > MAX_LINK {
            return Err(Unread::FileSize {
                path: path.to_owned(),
                size,
                limit: MAX_LINK,
            });
        }
        self.reader.begin(0);
        let target = self
            .files
            .borrow_mut()
            .read_link(Path::new(path.as_bytes()))?;
        Ok(String::from_utf8_lossy(&target).into_owned())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Unread> {
        if !self.meta(path)?.is_some_and(|meta| meta.is_folder()) {
            return Ok(Vec::new());
        }
        let names = self.folder(path.trim_end_matches('/'))?;
        let mut names: Vec<_> = names.keys().cloned().collect();
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
    files: &'f Xfs,
    inode: Inode,
    position: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.files.reader.begin(buffer.len());
        let mut files = self.files.files.borrow_mut();
        let read = files.read_file_at(&self.inode, self.position, buffer);
        let count = read.map_err(|error| io::Error::other(error.to_string()))?;
        self.position += count as u64;
        Ok(count)
    }
}
