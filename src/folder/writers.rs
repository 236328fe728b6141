//! Who has a file open for writing, as far as `/proc` shows it (proc(5)).

use std::fmt;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, StatxFlags};

use super::source::SourceFile;

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

/// Who has the source open for writing, or mapped so; the first few of whom this process may know.
pub fn of(source: &SourceFile) -> Vec<Writer> {
    let Ok(identity) = Identity::of(source) else {
        return Vec::new();
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let folder = entry.path();
            let writes = identity.is_open_in(&folder) || identity.is_mapped_in(&folder);
            writes.then(|| {
                let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
                let name = name.trim_end().to_owned();
                Writer { pid, name }
            })
        })
        .take(SHOWN)
        .collect()
}

/// What `/proc` knows a file by. Asking the files themselves might wait for others that hang.
struct Identity {
    mount: u64,
    device: String,
    inode: u64,
}

impl Identity {
    fn of(source: &SourceFile) -> rustix::io::Result<Self> {
        let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
        let found = rustix::fs::statx(source.as_fd(), c"", AtFlags::EMPTY_PATH, wanted)?;
        Ok(Self {
            mount: found.stx_mnt_id,
            device: format!("{:02x}:{:02x}", found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
        })
    }

    fn is_open_in(&self, process: &Path) -> bool {
        let descriptors = fs::read_dir(process.join("fdinfo")).into_iter().flatten();
        descriptors
            .flatten()
            .any(|info| self.is_written_by(&fs::read_to_string(info.path()).unwrap_or_default()))
    }

    /// Whether proc_pid_fdinfo(5) shows a descriptor that writes to this file.
    fn is_written_by(&self, info: &str) -> bool {
        let field = |name| {
            let mut lines = info.lines();
            lines
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let number = |name| field(name).and_then(|text| text.parse().ok());
        let flags = field("flags:").and_then(|flags| u32::from_str_radix(flags, 8).ok());
        number("ino:") == Some(self.inode)
            && number("mnt_id:") == Some(self.mount)
            && flags.is_some_and(|flags| flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32)
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
                && device == Some(&self.device)
                && inode.and_then(|inode| inode.parse().ok()) == Some(self.inode)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_descriptor_for_writing_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        fs::write(&path, "disk").unwrap();
        let source = SourceFile::new(File::open(&path).unwrap().into(), &path).unwrap();
        assert_eq!(of(&source), []);
        let writer = File::options().append(true).open(&path).unwrap();
        let found = of(&source);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].pid, std::process::id());
        drop(writer);
        assert_eq!(of(&source), []);
    }
}
