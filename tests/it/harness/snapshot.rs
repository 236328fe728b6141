//! Proof that nothing is written to a source.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hasher as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Everything that a write, a rename, a chmod or a link would change, of every file and folder.
#[derive(Debug, PartialEq)]
pub(crate) struct Snapshot(BTreeMap<PathBuf, Entry>);

#[derive(Debug, PartialEq)]
struct Entry {
    device_inode: (u64, u64),
    mode: u32,
    owner: (u32, u32),
    links: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    content: Content,
}

#[derive(Debug, PartialEq)]
enum Content {
    Hash(u64),
    Link(PathBuf),
    Other,
}

/// The state of a folder and all below it, or of one file. Reading it changes no access time
/// where the tests own the files.
pub(crate) fn snapshot_of(path: &Path) -> Snapshot {
    let mut entries = BTreeMap::new();
    collect(path, &mut entries);
    Snapshot(entries)
}

impl Snapshot {
    /// Panics, naming the file, where anything is no longer as it was.
    #[track_caller]
    pub(crate) fn assert_unchanged(&self, path: &Path) {
        let now = snapshot_of(path);
        for (name, before) in &self.0 {
            let after = now.0.get(name);
            assert_eq!(Some(before), after, "{} changed", name.display());
        }
        let new: Vec<_> = now.0.keys().filter(|n| !self.0.contains_key(*n)).collect();
        assert!(new.is_empty(), "appeared in the source: {new:?}");
    }
}

/// Access times of all regular files of a folder, in nanoseconds: only for tests in which nobody
/// but the program reads them.
pub(crate) fn access_times_of(folder: &Path) -> BTreeMap<PathBuf, (i64, i64)> {
    let mut entries = BTreeMap::new();
    collect(folder, &mut entries);
    entries.retain(|_, entry| matches!(entry.content, Content::Hash(_)));
    let stat = |path: &PathBuf| {
        let meta = metadata(path);
        (meta.atime(), meta.atime_nsec())
    };
    entries
        .keys()
        .map(|path| (path.clone(), stat(path)))
        .collect()
}

fn collect(path: &Path, entries: &mut BTreeMap<PathBuf, Entry>) {
    let meta = metadata(path);
    let content = if meta.is_file() {
        Content::Hash(hash(path))
    } else if meta.is_symlink() {
        Content::Link(fs::read_link(path).expect("read a link"))
    } else {
        Content::Other
    };
    let entry = Entry {
        device_inode: (meta.dev(), meta.ino()),
        mode: meta.mode(),
        owner: (meta.uid(), meta.gid()),
        links: meta.nlink(),
        size: meta.size(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        ctime: (meta.ctime(), meta.ctime_nsec()),
        xattrs: xattrs(path),
        content,
    };
    entries.insert(path.to_path_buf(), entry);
    if meta.is_dir() {
        for child in fs::read_dir(path).expect("read a folder") {
            collect(&child.expect("a folder's entry").path(), entries);
        }
    }
}

fn metadata(path: &Path) -> Metadata {
    path.symlink_metadata()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Hash of the blocks that are not zero, each with its place: the same however the file system
/// happens to lay out the holes.
fn hash(path: &Path) -> u64 {
    use rustix::fs::{SeekFrom, seek};
    const BLOCK: u64 = 4096;
    let file = open_quietly(path);
    let size = file.metadata().expect("size of a source").len();
    let mut hasher = DefaultHasher::new();
    let mut block = [0; BLOCK as usize];
    let mut end = 0;
    while let Ok(data) = seek(&file, SeekFrom::Data(end)) {
        let start = (data - data % BLOCK).max(end);
        end = seek(&file, SeekFrom::Hole(data)).expect("the end of the data");
        end = end.next_multiple_of(BLOCK).min(size);
        for offset in (start..end).step_by(BLOCK as usize) {
            let block = &mut block[..(end - offset).min(BLOCK) as usize];
            file.read_exact_at(block, offset).expect("read a source");
            if *block != [0; BLOCK as usize][..block.len()] {
                hasher.write_u64(offset);
                hasher.write(block);
            }
        }
    }
    hasher.finish()
}

fn open_quietly(path: &Path) -> fs::File {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    options
        .clone()
        .custom_flags(libc::O_NOATIME)
        .open(path)
        // Only its owner and root may ask for that.
        .or_else(|_| options.open(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    // A file system without attributes has none that could change.
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap_or(0);
            (name.to_vec(), value[..length].to_vec())
        })
        .collect()
}
