//! What is known of file systems by their kind.

use std::io;
use std::os::fd::AsFd;

/// How the folders of a file system compare names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Names {
    /// Byte by byte.
    Exact,
    /// Without regard to case, always or as they are mounted.
    IgnoringCase,
    /// As a flag of each folder says (`FS_CASEFOLD_FL`).
    ByFlag,
    /// Its kind does not tell.
    Unknown,
}

/// The kind of a file system, as statfs(2) numbers it (`linux/magic.h`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FileSystemKind(u64);

impl FileSystemKind {
    /// ext2, ext3 and ext4.
    const EXT: Self = Self(0xef53);
    const XFS: Self = Self(0x5846_5342);
    const BTRFS: Self = Self(0x9123_683e);
    const F2FS: Self = Self(0xf2f5_2010);
    const TMPFS: Self = Self(0x0102_1994);
    const SQUASHFS: Self = Self(0x7371_7368);
    const EROFS: Self = Self(0xe0f5_e1e2);
    const ISO9660: Self = Self(0x9660);
    const OVERLAY: Self = Self(0x794c_7630);
    const NFS: Self = Self(0x6969);
    const CIFS: Self = Self(0xff53_4d42);
    const SMB2: Self = Self(0xfe53_4d42);
    const FUSE: Self = Self(0x6573_5546);
    const V9FS: Self = Self(0x0102_1997);
    const CEPH: Self = Self(0x00c3_6400);
    const AFS: Self = Self(0x6b41_4653);
    const OCFS2: Self = Self(0x7461_636f);
    const GFS2: Self = Self(0x0116_1970);
    const FAT: Self = Self(0x4d44);
    const EXFAT: Self = Self(0x2011_bab0);
    const NTFS: Self = Self(0x5346_544e);
    const NTFS3: Self = Self(0x7366_746e);
    const HFS: Self = Self(0x4244);
    const HFS_PLUS: Self = Self(0x482b);
    const BCACHEFS: Self = Self(0xca45_1a4e);

    /// Asks about the file system that holds an open file.
    ///
    /// # Errors
    ///
    /// The file system's own.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        let kind = rustix::fs::fstatfs(file)?.f_type;
        // Signed, and of 32 or 64 bits, depending on the architecture; the numbers have 32.
        Ok(Self(kind as u64 & 0xffff_ffff))
    }

    /// Whether others may write without this kernel knowing: then its leases prove nothing.
    pub fn is_shared(self) -> bool {
        [
            Self::NFS,
            Self::CIFS,
            Self::SMB2,
            Self::FUSE,
            Self::V9FS,
            Self::CEPH,
            Self::AFS,
            Self::OCFS2,
            Self::GFS2,
        ]
        .contains(&self)
    }

    /// Whether it is overlayfs, whose leases do not see writable mappings: those are of the file
    /// below.
    pub fn is_overlay(self) -> bool {
        self == Self::OVERLAY
    }

    /// How its folders compare names.
    pub(super) fn names(self) -> Names {
        match self {
            Self::EXT | Self::F2FS | Self::TMPFS | Self::BCACHEFS => Names::ByFlag,
            Self::BTRFS | Self::SQUASHFS | Self::EROFS => Names::Exact,
            Self::FAT
            | Self::EXFAT
            | Self::NTFS
            | Self::NTFS3
            | Self::HFS
            | Self::HFS_PLUS
            | Self::CIFS
            | Self::SMB2 => Names::IgnoringCase,
            _ => Names::Unknown,
        }
    }

    /// Whether every change of a file moves a time that no process can set back. FAT keeps no time of
    /// the last change of status, so that setting the modification time back leaves no trace.
    /// Of file systems that are not known, it is not assumed.
    pub fn keeps_times(self) -> bool {
        [
            Self::EXT,
            Self::XFS,
            Self::BTRFS,
            Self::F2FS,
            Self::TMPFS,
            Self::SQUASHFS,
            Self::EROFS,
            Self::ISO9660,
        ]
        .contains(&self)
    }
}
