//! Who has a file open for writing, as far as `/proc` shows it (proc(5)).

use std::fmt;
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, StatxFlags};
use rustix::io::Errno;

/// More are not named in a message.
const SHOWN: usize = 4;

/// A process that can write to a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Writer {
    /// Its number.
    pub pid: u32,
    /// Its short name.
    pub name: String,
}

impl fmt::Display for Writer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, process {}", self.name, self.pid)
    }
}

/// Finds out who has files open for writing.
pub trait FindWriters: fmt::Debug + Send + Sync {
    /// Who has the file open for writing, or mapped so; the first few who can be known of.
    fn writers_of(&self, file: BorrowedFd<'_>) -> Vec<Writer>;
}

/// Who has a regular file or a block device open for writing, or else mapped so; the first few of whom
/// this process may know, one by one as they are found.
pub fn of(file: BorrowedFd<'_>) -> impl Iterator<Item = Writer> {
    let identity = Identity::of(file).ok();
    identity.into_iter().flat_map(|identity| {
        let identity = Rc::new(identity);
        let of_mappings = identity.clone();
        let mut by_descriptor = processes()
            .filter(move |process| identity.is_open_in(process))
            .peekable();
        // To look at mappings may take long.
        let by_mapping = match by_descriptor.peek() {
            Some(_) => None,
            None => Some(processes().filter(move |process| of_mappings.is_mapped_in(process))),
        };
        let found = by_descriptor.chain(by_mapping.into_iter().flatten());
        found.filter_map(|process| Writer::of(&process)).take(SHOWN)
    })
}

/// The folders in `/proc` of all processes.
fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let _: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some(entry.path())
    })
}

impl Writer {
    fn of(process: &Path) -> Option<Self> {
        let name = fs::read(process.join("comm")).unwrap_or_default();
        Some(Self {
            pid: process.file_name()?.to_str()?.parse().ok()?,
            name: String::from_utf8_lossy(&name).trim_end().to_owned(),
        })
    }
}

/// What `/proc` knows a file by. Asking the files themselves might wait for others that hang.
struct Identity {
    mount: u64,
    /// The file system's number, as all of its mounts have it: `8:1`.
    file_system: Option<String>,
    /// The same as maps have it: `08:01`.
    mapped: Option<String>,
    inode: u64,
}

impl Identity {
    fn of(file: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::MNT_ID;
        let found = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, wanted)?;
        let kind = FileType::from_raw_mode(found.stx_mode.into());
        if !matches!(kind, FileType::RegularFile | FileType::BlockDevice) {
            return Err(Errno::INVAL);
        }
        let file_system = file_system_of(Path::new("/proc/self"), found.stx_mnt_id);
        let mapped = file_system.as_ref().and_then(|number| {
            let (major, minor) = number.split_once(':')?;
            let (major, minor) = (major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?);
            Some(format!("{major:02x}:{minor:02x}"))
        });
        Ok(Self {
            mount: found.stx_mnt_id,
            file_system,
            mapped,
            inode: found.stx_ino,
        })
    }

    fn is_open_in(&self, process: &Path) -> bool {
        let descriptors = fs::read_dir(process.join("fdinfo")).into_iter().flatten();
        descriptors.flatten().any(|info| {
            let info = fs::read_to_string(info.path()).unwrap_or_default();
            self.mount_of_writer(&info)
                .is_some_and(|mount| self.is_on(mount, process))
        })
    }

    /// The mount through which a descriptor, described by `info` (proc_pid_fdinfo(5)), writes to a file
    /// of the same inode number.
    fn mount_of_writer(&self, info: &str) -> Option<u64> {
        let field = |name| {
            let mut lines = info.lines();
            lines
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let number = |name| field(name).and_then(|text| text.parse().ok());
        let flags = u32::from_str_radix(field("flags:")?, 8).ok()?;
        let writes = flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32;
        (writes && number("ino:") == Some(self.inode)).then(|| number("mnt_id:"))?
    }

    /// Whether a mount that a process has is of the same file system; containers have mounts of their own.
    fn is_on(&self, mount: u64, process: &Path) -> bool {
        let is_same = |found: String| self.file_system.as_ref() == Some(&found);
        mount == self.mount || file_system_of(process, mount).is_some_and(is_same)
    }

    /// Whether one of a process's mappings writes to the file.
    fn is_mapped_in(&self, process: &Path) -> bool {
        let maps = fs::read(process.join("maps")).unwrap_or_default();
        String::from_utf8_lossy(&maps).lines().any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let access = fields.next().unwrap_or_default();
            let (device, inode) = (fields.nth(1), fields.next());
            access.contains('w')
                && access.ends_with('s')
                && device.is_some()
                && device == self.mapped.as_deref()
                && inode.and_then(|inode| inode.parse().ok()) == Some(self.inode)
        })
    }
}

/// The number of the file system that is mounted as `mount`, as a process tells it in
/// proc_pid_mountinfo(5).
fn file_system_of(process: &Path, mount: u64) -> Option<String> {
    let table = fs::read(process.join("mountinfo")).ok()?;
    String::from_utf8_lossy(&table).lines().find_map(|line| {
        let mut fields = line.split(' ');
        let is_this = fields.next()?.parse() == Ok(mount);
        is_this.then(|| fields.nth(1).map(str::to_owned))?
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_descriptor_for_writing_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        fs::write(&path, "disk").unwrap();
        let source = File::open(&path).unwrap();
        let of = |file: &File| of(file.as_fd()).collect::<Vec<_>>();
        assert_eq!(of(&source), []);
        let writer = File::options().append(true).open(&path).unwrap();
        let found = of(&source);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].pid, std::process::id());
        drop(writer);
        assert_eq!(of(&source), []);
        // Nobody is told who has a pipe or a folder.
        assert_eq!(of(&File::open(folder.path()).unwrap()), []);
    }
}
