//! Attributes of files, and what distinguishes one version of a file from another.

use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, SeekFrom, Statx, StatxAttributes, StatxFlags};

/// What is asked about every file. `STATX_MNT_ID_UNIQUE` (Linux 6.8) names a mount by a number that is
/// never used again; older kernels name it by one that is unique at a time.
const WANTED: StatxFlags = StatxFlags::BASIC_STATS
    .union(StatxFlags::MNT_ID)
    .union(StatxFlags::from_bits_retain(0x4000));

/// The longest tick of a file system's clock: FAT counts modification times in two seconds.
const LONGEST_TICK: Duration = Duration::from_secs(2);

/// The shortest tick that is relied on: that of a kernel whose clock advances 100 times a second.
const SHORTEST_TICK: Duration = Duration::from_millis(10);

/// A point in time as file systems store it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp {
    /// Whole seconds since 1970-01-01T00:00:00Z, rounded towards the past.
    pub seconds: i64,
    /// The rest, 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// What distinguishes one state of a file's content from another.
///
/// The status-change time is part of it because a writer can set the modification time back.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Version {
    /// The mount through which the file was found: another file system in its place is another
    /// mount, even if all else is the same.
    pub file_system: u64,
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
    /// Whether the file system lets no process change its content: it is immutable (chattr(1)), or
    /// sealed by fs-verity.
    pub is_sealed: bool,
}

impl From<&Statx> for Metadata {
    fn from(found: &Statx) -> Self {
        let time = |time: rustix::fs::StatxTimestamp| Timestamp {
            seconds: time.tv_sec,
            nanoseconds: time.tv_nsec,
        };
        let sealed = StatxAttributes::IMMUTABLE | StatxAttributes::VERITY;
        Self {
            version: Version {
                file_system: found.stx_mnt_id,
                device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
                inode: found.stx_ino,
                size: found.stx_size,
                mtime: time(found.stx_mtime),
                ctime: time(found.stx_ctime),
            },
            kind: match FileType::from_raw_mode(found.stx_mode.into()) {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Directory,
                FileType::Symlink => Kind::Link,
                FileType::BlockDevice => Kind::BlockDevice,
                _ => Kind::Other,
            },
            mode: u32::from(found.stx_mode) & 0o7777,
            uid: found.stx_uid,
            gid: found.stx_gid,
            links: found.stx_nlink.into(),
            atime: time(found.stx_atime),
            blocks: found.stx_blocks,
            is_sealed: found.stx_attributes.intersects(sealed),
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
        let mut metadata = Self::of_node(file)?;
        if metadata.kind == Kind::BlockDevice {
            metadata.version.size = rustix::fs::seek(file, SeekFrom::End(0))?;
            metadata.blocks = metadata.version.size / 512;
        }
        Ok(metadata)
    }

    /// Asks the file system about an open file. The size of a block device is 0.
    ///
    /// # Errors
    ///
    /// The file system's own.
    pub fn of_node(file: BorrowedFd<'_>) -> io::Result<Self> {
        let found = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, WANTED)?;
        Ok(Self::from(&found))
    }

    /// Asks about the entry `name` of an open folder; of a link, about the link itself.
    ///
    /// # Errors
    ///
    /// The file system's own.
    pub fn of_entry(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        let found = rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, WANTED)?;
        Ok(Self::from(&found))
    }

    /// Asks about what a path leads to. The size of a block device is 0.
    ///
    /// # Errors
    ///
    /// The file system's own.
    pub fn of_path(path: &Path) -> io::Result<Self> {
        let found = rustix::fs::statx(CWD, path, AtFlags::empty(), WANTED)?;
        Ok(Self::from(&found))
    }
}

impl Timestamp {
    /// How long ago it was at `now`; `None` if it is ahead.
    fn age(&self, now: SystemTime) -> Option<Duration> {
        let now = now.duration_since(UNIX_EPOCH).ok()?;
        let now = i128::try_from(now.as_nanos()).ok()?;
        let then = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds);
        let age = u64::try_from(now - then).ok();
        // What is older than 584 years is old, too.
        age.or((now > then).then_some(u64::MAX))
            .map(Duration::from_nanos)
    }

    /// The longest tick of a clock that can have shown this.
    fn tick(&self) -> Duration {
        if self.nanoseconds == 0 {
            return LONGEST_TICK;
        }
        let mut unit = 1;
        while self.nanoseconds.is_multiple_of(unit * 10) {
            unit *= 10;
        }
        Duration::from_nanos(unit.into()).max(SHORTEST_TICK)
    }
}

impl Version {
    /// Whether a change from `now` on must show in its times: they are more than two ticks of the
    /// file system's clock old. The times themselves show how long its ticks are.
    pub fn is_older_than_its_clock(&self, now: SystemTime) -> bool {
        let tick = self.mtime.tick().min(self.ctime.tick());
        let is_old = |time: Timestamp| time.age(now).is_some_and(|age| age > 2 * tick);
        is_old(self.mtime) && is_old(self.ctime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanoseconds: u32) -> Timestamp {
        Timestamp {
            seconds,
            nanoseconds,
        }
    }

    #[test]
    fn times_tell_the_tick_of_their_clock() {
        let cases = [
            (0, 2_000),
            (500_000_000, 100),
            (120_000_000, 10),
            (4_000_000, 10),
            (123_456_789, 10),
        ];
        for (nanoseconds, tick) in cases {
            assert_eq!(at(5, nanoseconds).tick(), Duration::from_millis(tick));
        }
    }

    #[test]
    fn a_version_is_old_once_its_clock_has_moved_on() {
        let version = |mtime, ctime| Version {
            file_system: 0,
            device: 0,
            inode: 0,
            size: 0,
            mtime,
            ctime,
        };
        let now = |milliseconds| UNIX_EPOCH + Duration::from_millis(milliseconds);
        let coarse = version(at(100, 0), at(100, 0));
        assert!(!coarse.is_older_than_its_clock(now(104_000)));
        assert!(coarse.is_older_than_its_clock(now(104_001)));
        let fine = version(at(50, 0), at(100, 1));
        assert!(!fine.is_older_than_its_clock(now(100_020)));
        assert!(fine.is_older_than_its_clock(now(100_021)));
        let ahead = version(at(200, 1), at(100, 1));
        assert!(!ahead.is_older_than_its_clock(now(150_000)));
        for far in [i64::MIN, i64::MAX] {
            let expected = far < 0;
            let version = version(at(far, 1), at(1, 1));
            assert_eq!(version.is_older_than_its_clock(now(9_000)), expected);
        }
    }
}
