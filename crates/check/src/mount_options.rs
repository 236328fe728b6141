//! Options of a mount that the file system refuses, so that nothing is mounted.
//!
//! Source: the kernel's documentation of ext4, XFS, btrfs and vfat; each refuses what it does not know.

use crate::content::Content;

/// Options that only btrfs has.
const BTRFS: [&str; 6] = [
    "subvol",
    "subvolid",
    "compress",
    "compress-force",
    "space_cache",
    "degraded",
];
/// Options that only file systems without owners and rights have.
const FAT: [&str; 7] = [
    "umask",
    "fmask",
    "dmask",
    "shortname",
    "iocharset",
    "codepage",
    "utf8",
];
/// Options that only XFS has.
const XFS: [&str; 3] = ["logbufs", "logbsize", "allocsize"];
/// Options that only ext3 and ext4 have.
const EXT: [&str; 4] = ["data", "journal_checksum", "errors", "stripe"];

/// The first of some options that a file system of this kind refuses. `None` where there is none,
/// or none that is known here.
pub(crate) fn refused<'o>(
    content: Content,
    options: impl IntoIterator<Item = &'o str>,
) -> Option<&'o str> {
    let foreign: &[&[&str]] = match content {
        Content::Ext => &[&BTRFS, &FAT, &XFS],
        Content::Xfs => &[&BTRFS, &FAT, &EXT],
        Content::Btrfs => &[&FAT, &XFS, &EXT],
        // It has an option `errors` too.
        Content::Fat => &[&BTRFS, &XFS, &["data", "journal_checksum"]],
        _ => &[],
    };
    options.into_iter().find(|option| {
        let name = option.split('=').next().unwrap_or_default();
        foreign.iter().any(|list| list.contains(&name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refuses_what_only_others_have() {
        let refused = |content, options: &'static str| refused(content, options.split(','));
        assert_eq!(refused(Content::Ext, "noatime,subvol=@"), Some("subvol=@"));
        assert_eq!(refused(Content::Ext, "defaults,errors=remount-ro"), None);
        assert_eq!(refused(Content::Fat, "umask=0077,errors=continue"), None);
        assert_eq!(refused(Content::Fat, "compress"), Some("compress"));
        assert_eq!(refused(Content::Xfs, "data=ordered"), Some("data=ordered"));
        assert_eq!(refused(Content::Btrfs, "subvol=root,compress=zstd"), None);
        assert_eq!(refused(Content::Unknown, "subvol=@"), None);
    }
}
