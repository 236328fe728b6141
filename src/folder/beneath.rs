//! The source folder: everything is opened below it, whatever links and races try.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::folder::acl;
use crate::folder::metadata::{Kind, Metadata};
use crate::folder::patient::openat2;

/// Longest path in bytes that is handed to the kernel at once, well below `PATH_MAX`.
const MAX_STEP: usize = 3072;

/// Resolution that follows no link at all and cannot leave the folder.
const NO_LINKS: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// `O_NONBLOCK` so that a FIFO swapped in cannot hang the open; without effect on regular files.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY)
    .union(OFlags::NONBLOCK);

/// An open source folder.
#[derive(Debug)]
pub struct SourceFolder {
    root: OwnedFd,
    path: PathBuf,
}

/// Where a symbolic link leads.
#[derive(Debug)]
pub enum Target {
    /// To this path below the source folder, which is free of links.
    Inside(PathBuf, Metadata),
    /// To a place outside of the source folder.
    Outside,
    /// Nowhere, or around in a circle.
    Broken,
}

impl SourceFolder {
    /// Opens the folder at `path`.
    ///
    /// # Errors
    ///
    /// If it does not exist, is no folder or cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let root = rustix::fs::open(&path, READ | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self { root, path })
    }

    /// The folder's canonical path when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the folder at `path`, which is relative to the source folder and free of links.
    ///
    /// # Errors
    ///
    /// If it is gone, is no folder any more or cannot be read.
    pub fn open_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = READ | OFlags::DIRECTORY;
        if path.as_os_str().is_empty() {
            return open_for_reading(self.root.as_fd(), Path::new("."), flags);
        }
        self.open_file(path, flags)
    }

    /// Opens the file at `path`, which is relative to the source folder and free of links.
    ///
    /// # Errors
    ///
    /// If it is gone or cannot be read.
    pub fn open_image(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_file(path, READ)
    }

    /// Attributes of the folder at `path`.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        if path.as_os_str().is_empty() {
            return Metadata::of(self.root.as_fd());
        }
        let file = self.open_in_steps(path, |at, rest| {
            openat2(at, rest, OFlags::PATH | OFlags::CLOEXEC, NO_LINKS)
        })?;
        Metadata::of(file.as_fd())
    }

    /// The access control list of the file or folder at `path`; `None` if it has none.
    ///
    /// # Errors
    ///
    /// If it is gone, or its list cannot be read.
    pub fn acl(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = match path.as_os_str().is_empty() {
            true => self.root.try_clone()?,
            false => self.open_in_steps(path, |at, rest| {
                openat2(at, rest, OFlags::PATH | OFlags::CLOEXEC, NO_LINKS)
            })?,
        };
        // The link is followed: it is the kernel's own, to exactly this file.
        path_acl(&descriptor_path(file.as_fd()))
    }

    /// Finds out where the link at `path`, relative to the source folder, leads in the end.
    ///
    /// # Errors
    ///
    /// If the file system fails; a link that leads nowhere is no error.
    pub fn follow(&self, path: &Path) -> io::Result<Target> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let target = match openat2(self.root.as_fd(), path, flags, beneath) {
            // An absolute target may lead back inside: find out with all links followed.
            Err(Errno::XDEV) => {
                openat2(self.root.as_fd(), path, flags, ResolveFlags::NO_MAGICLINKS)
            }
            other => other,
        };
        let target = match target {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NAMETOOLONG) => {
                return Ok(Target::Broken);
            }
            Err(Errno::ACCESS | Errno::PERM) => return Ok(Target::Outside),
            Err(error) => return Err(error.into()),
        };
        let metadata = Metadata::of_node(target.as_fd())?;
        // The kernel's own names for both, so that links in the way to the folder do not matter.
        let (root, place) = (
            kernel_path(self.root.as_fd())?,
            kernel_path(target.as_fd())?,
        );
        if metadata.kind == Kind::BlockDevice {
            return Ok(Target::Inside(place, metadata));
        }
        let Ok(inside) = place.strip_prefix(&root) else {
            return Ok(Target::Outside);
        };
        match self.metadata(inside) {
            Ok(found) if same_file(&found, &metadata) => {
                Ok(Target::Inside(inside.to_owned(), found))
            }
            _ => Ok(Target::Broken),
        }
    }

    /// Space and limits of the file system that holds the folder.
    ///
    /// # Errors
    ///
    /// The file system's own.
    pub fn statvfs(&self) -> io::Result<rustix::fs::StatVfs> {
        Ok(rustix::fs::fstatvfs(&self.root)?)
    }

    fn open_file(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        self.open_in_steps(path, |at, rest| open_for_reading_raw(at, rest, flags))
    }

    /// Calls `open` for `path`, walking in steps if it is longer than the kernel takes.
    fn open_in_steps(
        &self,
        path: &Path,
        open: impl Fn(BorrowedFd<'_>, &Path) -> rustix::io::Result<OwnedFd>,
    ) -> io::Result<OwnedFd> {
        if path.as_os_str().len() <= MAX_STEP {
            return Ok(open(self.root.as_fd(), path)?);
        }
        let mut at = self.root.try_clone()?;
        let mut step = PathBuf::new();
        for component in path.components() {
            let Component::Normal(name) = component else {
                return Err(Errno::XDEV.into());
            };
            if step.as_os_str().len() + name.len() > MAX_STEP {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                at = openat2(at.as_fd(), &step, flags, NO_LINKS)?;
                step.clear();
            }
            step.push(name);
        }
        Ok(open(at.as_fd(), &step)?)
    }
}

/// Attributes of the entry `name` of an open folder; of a link, those of the link itself.
///
/// # Errors
///
/// If it does not exist, or the file system fails.
pub fn entry_metadata(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Metadata> {
    Metadata::of_entry(directory, name)
}

/// Opens the entry `name` of an open folder for reading; never through a link.
///
/// # Errors
///
/// If it does not exist, is a link or cannot be read.
pub fn open_entry(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    open_for_reading(directory, Path::new(name), READ)
}

/// Names of all entries of an open folder, without `.` and `..`.
///
/// # Errors
///
/// If the folder cannot be read to its end.
pub fn entry_names(directory: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    let mut entries = rustix::fs::Dir::new(directory.try_clone()?)?;
    entries.rewind();
    while let Some(entry) = entries.read() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            // As many as the folder has may be more than there is memory for.
            names.try_reserve(1).map_err(|_| Errno::NOMEM)?;
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

/// Opens a file that the user named, wherever it is, for reading.
///
/// # Errors
///
/// If it cannot be opened.
pub fn open_path(path: &Path) -> io::Result<OwnedFd> {
    match openat2(CWD, path, READ | OFlags::NOATIME, ResolveFlags::empty()) {
        Err(Errno::PERM) => Ok(openat2(CWD, path, READ, ResolveFlags::empty())?),
        result => Ok(result?),
    }
}

/// The access control list of the entry `name` of an open folder; `None` if it has none.
///
/// # Errors
///
/// If it is gone, or its list cannot be read.
pub fn entry_acl(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    let path = descriptor_path(directory).join(name);
    read_acl(|list| rustix::fs::lgetxattr(&path, acl::ATTRIBUTE, list))
}

/// The access control list of the file at `path`; `None` if it has none.
///
/// # Errors
///
/// If it is gone, or its list cannot be read.
pub fn path_acl(path: &Path) -> io::Result<Option<Vec<u8>>> {
    read_acl(|list| rustix::fs::getxattr(path, acl::ATTRIBUTE, list))
}

fn read_acl(get: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Option<Vec<u8>>> {
    // Few lists are longer than the first; none is longer than the second.
    for capacity in [256, 1 << 16] {
        let mut list = vec![0; capacity];
        match get(&mut list) {
            Ok(length) => {
                list.truncate(length);
                return Ok(Some(list));
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(Errno::RANGE) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::RANGE.into())
}

/// Whether both are attributes of one file, whatever its version.
pub fn same_file(one: &Metadata, other: &Metadata) -> bool {
    (one.version.device, one.version.inode) == (other.version.device, other.version.inode)
}

fn open_for_reading(at: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(open_for_reading_raw(at, path, flags)?)
}

/// Opens without touching the access time if that is permitted: to the owner and to root.
fn open_for_reading_raw(
    at: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    match openat2(at, path, flags | OFlags::NOATIME, NO_LINKS) {
        Err(Errno::PERM) => openat2(at, path, flags, NO_LINKS),
        result => result,
    }
}

/// The path that the kernel knows an open file by.
fn kernel_path(file: BorrowedFd<'_>) -> io::Result<PathBuf> {
    std::fs::read_link(descriptor_path(file))
}

/// A path that leads to an open file itself, for calls that take no descriptor.
fn descriptor_path(file: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    fn fixture() -> (tempfile::TempDir, SourceFolder) {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir_all(source.join("sub")).unwrap();
        File::create(source.join("sub/disk.raw")).unwrap();
        File::create(folder.path().join("secret.raw")).unwrap();
        let opened = SourceFolder::open(&source).unwrap();
        (folder, opened)
    }

    #[test]
    fn links_are_followed_only_inside() {
        let (folder, source) = fixture();
        let link = |target: &Path, name: &str| symlink(target, source.path().join(name)).unwrap();
        link(Path::new("sub/disk.raw"), "relative");
        link(&source.path().join("sub/disk.raw"), "absolute");
        link(Path::new("relative"), "twice");
        link(Path::new("../secret.raw"), "up");
        link(&folder.path().join("secret.raw"), "out");
        link(Path::new("/proc/self/root"), "magic");
        link(Path::new("circle"), "circle");
        link(Path::new("nothing"), "nowhere");
        for name in ["relative", "absolute", "twice"] {
            let target = source.follow(Path::new(name)).unwrap();
            assert!(matches!(target, Target::Inside(path, _) if path == Path::new("sub/disk.raw")));
        }
        for name in ["up", "out"] {
            assert!(
                matches!(source.follow(Path::new(name)).unwrap(), Target::Outside),
                "{name}"
            );
        }
        for name in ["circle", "nowhere", "magic"] {
            assert!(
                matches!(source.follow(Path::new(name)).unwrap(), Target::Broken),
                "{name}"
            );
        }
    }

    #[test]
    fn opening_never_goes_through_a_link() {
        let (folder, source) = fixture();
        symlink(folder.path(), source.path().join("escape")).unwrap();
        symlink("sub", source.path().join("inner")).unwrap();
        for path in [
            "escape/secret.raw",
            "inner/disk.raw",
            "../secret.raw",
            "/etc/passwd",
        ] {
            assert!(source.open_image(Path::new(path)).is_err(), "{path}");
        }
        assert!(source.open_image(Path::new("sub/disk.raw")).is_ok());
    }

    #[test]
    fn paths_longer_than_the_kernel_takes() {
        let (_folder, source) = fixture();
        let name = OsString::from("d".repeat(200));
        let mut at = source.open_directory(Path::new("")).unwrap();
        let mut path = PathBuf::new();
        for _ in 0..40 {
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, &name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
                .unwrap();
            path.push(&name);
        }
        rustix::fs::openat(&at, "disk.raw", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
        assert!(path.as_os_str().len() > 4096);
        assert!(source.open_image(&path.join("disk.raw")).is_ok());
        assert_eq!(source.metadata(&path).unwrap().kind, Kind::Directory);
        let listed = entry_names(&source.open_directory(&path).unwrap()).unwrap();
        assert_eq!(listed, ["disk.raw"]);
    }
}
