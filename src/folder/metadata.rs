//! Attributes of files, and what tells one version of a file from another.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, SeekFrom, Stat};

/// A point in time as file systems store it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp {
    /// Whole seconds since 1970-01-01T00:00:00Z, rounded towards the past.
    pub seconds: i64,
    /// The rest, 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// What tells one state of a file's content from another.
///
/// The status-change time is part of it because a writer can set the modification time back.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Version {
    /// Device that holds the file.
    pub device: u64,
    /// Inode number on that device.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time.
    pub mtime: Timestamp,
    /// Status-change time.
    pub ctime: Timestamp,
}

impl Version {
    /// What all versions of the file have in common: file system and inode.
    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Link,
    /// Block device.
    BlockDevice,
    /// Character device, FIFO or socket.
    Other,
}

/// The attributes of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Metadata {
    /// Which state of which file this is.
    pub version: Version,
    /// What it is.
    pub kind: Kind,
    /// Permission bits (`07777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of hard links.
    pub links: u64,
    /// Access time.
    pub atime: Timestamp,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
}

impl From<&Stat> for Metadata {
    #[allow(
        clippy::unnecessary_cast,
        reason = "the fields' types differ between architectures"
    )]
    fn from(stat: &Stat) -> Self {
        let time = |seconds: i64, nanoseconds: u64| Timestamp {
            seconds,
            nanoseconds: nanoseconds as u32,
        };
        Self {
            version: Version {
                device: stat.st_dev as u64,
                inode: stat.st_ino as u64,
                size: stat.st_size as u64,
                mtime: time(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
                ctime: time(stat.st_ctime as i64, stat.st_ctime_nsec as u64),
            },
            kind: match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Directory,
                FileType::Symlink => Kind::Link,
                FileType::BlockDevice => Kind::BlockDevice,
                _ => Kind::Other,
            },
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            links: stat.st_nlink as u64,
            atime: time(stat.st_atime as i64, stat.st_atime_nsec as u64),
            blocks: stat.st_blocks as u64,
        }
    }
}

impl Metadata {
    /// Asks the file system about an open file. The size of a block device is that of the device.
    ///
    /// # Errors
    ///
    /// The file system's own.
    pub fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        let mut metadata = Self::from(&rustix::fs::fstat(file)?);
        if metadata.kind == Kind::BlockDevice {
            metadata.version.size = rustix::fs::seek(file, SeekFrom::End(0))?;
            metadata.blocks = metadata.version.size / 512;
        }
        Ok(metadata)
    }
}
