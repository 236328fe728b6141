//! Mount points of this process's namespace, without touching the mounts themselves: a stale or
//! hanging one must not hang us.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What the kernel calls a mount of ours.
pub const FILE_SYSTEM_TYPE: &str = "fuse.vhdfs";

/// Major and minor number of a device.
pub type DeviceNumber = (u32, u32);

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MountEntry {
    /// The mounted file system's device, which is that mount's alone if it is of FUSE.
    pub device: DeviceNumber,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// File system type, with a subtype behind a dot.
    pub file_system: String,
    /// What is mounted, by the name that it was mounted with.
    pub source: PathBuf,
    /// The user who mounted it, if it is a FUSE file system; root otherwise.
    pub user: u32,
}

impl MountEntry {
    /// Whether vhdfs mounted it.
    pub fn is_ours(&self) -> bool {
        self.file_system == FILE_SYSTEM_TYPE
    }

    /// Whether it is no file system yet, but asks for one at the first access (autofs).
    pub fn is_trigger(&self) -> bool {
        self.file_system == "autofs"
    }
}

/// All mounts of vhdfs, in the order of the table.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn ours() -> io::Result<Vec<MountEntry>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    let entries = table.split(|&byte| byte == b'\n').filter_map(parse);
    Ok(entries.filter(MountEntry::is_ours).collect())
}

/// The topmost mount at exactly `mountpoint`; `None` if there is none.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn find(mountpoint: &Path) -> io::Result<Option<MountEntry>> {
    Ok(all_at(mountpoint)?.into_iter().next())
}

/// All mounts at exactly `mountpoint`, the topmost first.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn all_at(mountpoint: &Path) -> io::Result<Vec<MountEntry>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    let entries = table.rsplit(|&byte| byte == b'\n').filter_map(parse);
    Ok(entries
        .filter(|entry| entry.mountpoint == mountpoint)
        .collect())
}

/// The absolute path of a mount point, without asking what is mounted there.
///
/// # Errors
///
/// If the folder above it does not exist.
pub fn absolute(mountpoint: &Path) -> io::Result<PathBuf> {
    match (mountpoint.parent(), mountpoint.file_name()) {
        (Some(parent), Some(name)) if !mountpoint.is_symlink() => {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            Ok(parent.canonicalize()?.join(name))
        }
        _ => mountpoint.canonicalize(),
    }
}

fn parse(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let mountpoint = unescape(fields.nth(1)?);
    let mut behind_the_dash = fields.skip_while(|field| *field != b"-").skip(1);
    let file_system = String::from_utf8_lossy(behind_the_dash.next()?).into_owned();
    let source = unescape(behind_the_dash.next()?);
    let options = String::from_utf8_lossy(behind_the_dash.next().unwrap_or_default());
    let user = options
        .split(',')
        .find_map(|option| option.strip_prefix("user_id="));
    Some(MountEntry {
        device: (major.parse().ok()?, minor.parse().ok()?),
        mountpoint: PathBuf::from(OsString::from_vec(mountpoint)),
        file_system,
        source: PathBuf::from(OsString::from_vec(source)),
        user: user.and_then(|user| user.parse().ok()).unwrap_or(0),
    })
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, behind)) = rest.split_first() {
        let code = behind.get(..3).filter(|_| first == b'\\');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo() {
        let line = br"36 35 0:52 / /mnt/a\040b\134c rw,nosuid shared:1 master:2 - fuse.vhdfs /srv ro,user_id=1000,group_id=0";
        let want = MountEntry {
            device: (0, 52),
            mountpoint: r"/mnt/a b\c".into(),
            file_system: "fuse.vhdfs".into(),
            source: "/srv".into(),
            user: 1000,
        };
        assert_eq!(parse(line), Some(want));
        for broken in [
            &b""[..],
            b"1 2 3",
            b"36 35 0:52 / /mnt rw shared:1",
            b"36 35 x / / rw - a b c",
        ] {
            assert_eq!(parse(broken), None);
        }
    }

    #[test]
    fn the_root_is_a_mount_point() {
        assert!(
            find(Path::new("/proc"))
                .unwrap()
                .is_some_and(|entry| entry.file_system == "proc")
        );
        assert_eq!(find(Path::new("/proc/self")).unwrap(), None);
    }
}
