//! `/etc/fstab`: what is mounted, and what keeps the boot from going on.
//!
//! Source: the manuals of fstab, systemd.mount and systemd-fstab-generator: a device of a line
//! that is required and does not appear ends the boot in the emergency shell.

mod judge;

pub(crate) use judge::judge;

use crate::cmdline::{has_word, last};
use crate::files::{Mount, Tree};
use crate::unread::Unread;
use crate::volumes::{Named, Volumes};

pub(crate) const PATH: &str = "/etc/fstab";
/// File systems on other machines, which the boot does not wait for.
const REMOTE: [&str; 10] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ceph",
    "glusterfs",
    "fuse.sshfs",
    "9p",
    "davfs",
];
/// A line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Line {
    /// Number of the line, from 1.
    pub(crate) number: u32,
    /// The device.
    pub(crate) device: String,
    /// The folder.
    pub(crate) folder: String,
    /// The type of the file system.
    pub(crate) kind: String,
    /// The options.
    pub(crate) options: Vec<String>,
}

impl Line {
    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|found| found == option)
    }

    /// Whether the boot does not go on without it.
    fn is_required(&self) -> bool {
        let later = [
            "noauto",
            "nofail",
            "_netdev",
            "x-systemd.automount",
            "comment=systemd.automount",
        ];
        !later.iter().any(|option| self.has(option))
            && self.kind != "swap"
            && !REMOTE.contains(&self.kind.as_str())
            && !self.kind.starts_with("fuse")
    }

    fn is_bind(&self) -> bool {
        self.has("bind") || self.has("rbind") || self.kind == "bind"
    }
}

/// The lines of a text; a number stands for each that has too few fields.
pub(crate) fn parse(text: &str) -> Vec<Result<Line, u32>> {
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines().take(4096)) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut fields = line.split_whitespace();
        let (device, folder) = (fields.next(), fields.next());
        let (Some(device), Some(folder)) = (device, folder) else {
            lines.push(Err(number));
            continue;
        };
        lines.push(Ok(Line {
            number,
            device: unescaped(device),
            folder: unescaped(folder),
            kind: fields.next().unwrap_or("auto").to_owned(),
            options: fields
                .next()
                .unwrap_or_default()
                .split(',')
                .map(str::to_owned)
                .collect(),
        }));
    }
    lines
}

/// A field with `\040` for a blank.
fn unescaped(field: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(field.to_owned(), |text, (code, letter)| {
        text.replace(code, letter)
    })
}

/// The folder without slashes at its end, and empty for the root.
fn normal(folder: &str) -> String {
    let mut normal = String::new();
    for part in folder.split('/').filter(|part| !part.is_empty()) {
        normal.push('/');
        normal.push_str(part);
    }
    normal
}

/// The file systems of the system, as the lines mount them on the root.
pub(crate) fn mounts(lines: &[Result<Line, u32>], volumes: &Volumes) -> Vec<Mount> {
    let mut mounts = Vec::new();
    for line in lines.iter().flatten().take(256) {
        let folder = normal(&line.folder);
        if folder.is_empty() || !line.folder.starts_with('/') || line.has("noauto") {
            continue;
        }
        let options = line.options.iter().map(String::as_str);
        if let Named::Found(volume) = volumes.named(&line.device)
            && let Ok(mount) = volume.mounted(&folder, options)
        {
            mounts.push(mount);
        }
    }
    mounts
}

/// The text of the file; `None` if there is none, or the command line has systemd leave it out.
pub(crate) fn text(tree: &Tree, cmdline: &str) -> Result<Option<String>, Unread> {
    match last(cmdline, "fstab") {
        Some("no" | "0" | "off" | "false") => Ok(None),
        _ => tree.text(PATH),
    }
}

/// Whether the kernel mounts the root read-only, so that something has to make it writable.
pub(crate) fn starts_read_only(cmdline: &str) -> bool {
    has_word(cmdline, "ro") && !has_word(cmdline, "rw")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines() {
        let text = "# x\nUUID=1 / ext4 defaults 0 1\n\nLABEL=a\\040b /data xfs nofail,x 0 0\nbad\n";
        let lines = parse(text);
        let second = lines[1].as_ref().unwrap();
        assert_eq!((second.device.as_str(), second.number), ("LABEL=a b", 4));
        assert!(!second.is_required());
        assert!(lines[0].as_ref().unwrap().is_required());
        assert_eq!(lines[2], Err(5));
        assert_eq!(normal("//boot/efi/"), "/boot/efi");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            let _ = parse(&text);
        }
    }
}
