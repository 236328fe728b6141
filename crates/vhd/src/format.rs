//! Which format a file is in, told from its first and last bytes.

use std::fmt;

use crate::footer::{
    COOKIE, DISK_TYPE_DIFFERENCING, DISK_TYPE_DYNAMIC, FOOTER_SIZE, Footer, FooterError, checksum,
};

/// Number of bytes at the beginning of a file that [`Format::detect`] looks at.
pub const HEAD_SIZE: usize = 512;
/// Number of bytes at the end of a file that [`Format::detect`] looks at.
pub const TAIL_SIZE: usize = FOOTER_SIZE;

/// The format of a file that may be a disk image.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Format {
    /// No container: the bytes are the disk.
    Raw,
    /// A valid fixed VHD.
    FixedVhd,
    /// Ends with a VHD footer that does not describe the file.
    DamagedVhd,
    /// Dynamic VHD.
    DynamicVhd,
    /// Differencing VHD.
    DifferencingVhd,
    /// VHDX.
    Vhdx,
    /// QEMU copy-on-write, any version.
    Qcow2,
    /// QEMU enhanced disk.
    Qed,
    /// VMware disk: sparse extent, stream-optimised, or a descriptor in text.
    Vmdk,
    /// VirtualBox disk.
    Vdi,
    /// Gzip.
    Gzip,
    /// Xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// Bzip2.
    Bzip2,
    /// Zip, also OVA-like bundles in it.
    Zip,
}

impl Format {
    /// Tells the format of a file of `file_size` bytes from its first [`HEAD_SIZE`] and last
    /// [`TAIL_SIZE`] bytes (each shorter where the file is).
    pub fn detect(head: &[u8], tail: &[u8], file_size: u64) -> Self {
        Self::of_tail(tail, file_size)
            .or_else(|| Self::of_head(head))
            .unwrap_or(Self::Raw)
    }

    /// What a footer at the end makes of the file; nothing where there is no cookie.
    fn of_tail(tail: &[u8], file_size: u64) -> Option<Self> {
        let bytes: &[u8; FOOTER_SIZE] = tail.try_into().ok()?;
        match Footer::decode_fixed(bytes, file_size) {
            Ok(_) => Some(Self::FixedVhd),
            Err(FooterError::Cookie) => None,
            Err(FooterError::DiskType(DISK_TYPE_DYNAMIC)) => Some(Self::DynamicVhd),
            Err(FooterError::DiskType(DISK_TYPE_DIFFERENCING)) => Some(Self::DifferencingVhd),
            Err(_) => Some(Self::DamagedVhd),
        }
    }

    fn of_head(head: &[u8]) -> Option<Self> {
        let magic =
            |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
        let byte = |at: usize| head.get(at).copied().unwrap_or(0);
        Some(match () {
            // A dynamic or differencing VHD begins with a copy of its footer.
            () if magic(0, &COOKIE) => return Self::of_footer_copy(head),
            () if magic(0, b"vhdxfile") => Self::Vhdx,
            () if magic(0, b"QFI\xfb") => Self::Qcow2,
            () if magic(0, b"QED\0") => Self::Qed,
            () if magic(0, b"KDMV") || magic(0, b"COWD") || magic(0, b"# Disk DescriptorFile") => {
                Self::Vmdk
            }
            () if magic(0x40, &[0x7f, 0x10, 0xda, 0xbe]) => Self::Vdi,
            // RFC 1952: method 8 is deflate, the upper three flag bits are reserved.
            () if magic(0, &[0x1f, 0x8b, 8]) && byte(3) & 0xe0 == 0 => Self::Gzip,
            () if magic(0, b"\xfd7zXZ\0") => Self::Xz,
            () if magic(0, &[0x28, 0xb5, 0x2f, 0xfd]) => Self::Zstd,
            () if magic(0, b"BZh") && (b'1'..=b'9').contains(&byte(3)) && magic(4, b"1AY&SY") => {
                Self::Bzip2
            }
            () if magic(0, b"PK\x03\x04") => Self::Zip,
            () => return None,
        })
    }

    fn of_footer_copy(head: &[u8]) -> Option<Self> {
        let bytes: &[u8; FOOTER_SIZE] = head.get(..FOOTER_SIZE)?.try_into().ok()?;
        let footer = Footer::decode(bytes).ok()?;
        Some(match footer.disk_type {
            _ if footer.checksum != checksum(bytes) => Self::DamagedVhd,
            DISK_TYPE_DYNAMIC => Self::DynamicVhd,
            DISK_TYPE_DIFFERENCING => Self::DifferencingVhd,
            _ => Self::DamagedVhd,
        })
    }

    /// Whether a file in this format appears in the mount.
    pub fn is_presentable(self) -> bool {
        matches!(self, Self::Raw | Self::FixedVhd)
    }

    /// Name of the format in JSON output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::FixedVhd => "fixed_vhd",
            Self::DamagedVhd => "damaged_vhd",
            Self::DynamicVhd => "dynamic_vhd",
            Self::DifferencingVhd => "differencing_vhd",
            Self::Vhdx => "vhdx",
            Self::Qcow2 => "qcow2",
            Self::Qed => "qed",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Zip => "zip",
        }
    }

    /// What to do with a file that does not appear because of its format; empty for those that do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Raw | Self::FixedVhd => "",
            Self::DamagedVhd => {
                "restore it, or cut the 512-byte footer off to use the disk before it"
            }
            Self::DifferencingVhd => {
                "merge it into its parent, then convert that with `qemu-img convert -O raw`"
            }
            Self::Gzip => "decompress it with `gunzip`",
            Self::Xz => "decompress it with `unxz`",
            Self::Zstd => "decompress it with `unzstd`",
            Self::Bzip2 => "decompress it with `bunzip2`",
            Self::Zip => "extract the image with `unzip`",
            _ => "convert it with `qemu-img convert -O raw`",
        }
    }
}

impl fmt::Display for Format {
    /// The format as a person would name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw disk image",
            Self::FixedVhd => "fixed VHD",
            Self::DamagedVhd => "damaged VHD",
            Self::DynamicVhd => "dynamic VHD",
            Self::DifferencingVhd => "differencing VHD",
            Self::Vhdx => "VHDX",
            Self::Qcow2 => "qcow2",
            Self::Qed => "QED",
            Self::Vmdk => "VMDK",
            Self::Vdi => "VDI",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Zip => "zip",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footer::Identity;
    use proptest::prelude::*;

    fn head(magic: &[u8]) -> Vec<u8> {
        let mut head = magic.to_vec();
        head.resize(HEAD_SIZE, 0);
        head
    }

    fn detect_head(magic: &[u8]) -> Format {
        Format::detect(&head(magic), &[0; TAIL_SIZE], 1 << 20)
    }

    fn footer(virtual_size: u64, disk_type: u32) -> [u8; FOOTER_SIZE] {
        let identity = Identity {
            base_name: b"x",
            source_size: virtual_size,
            mtime_seconds: 0,
        };
        let footer = Footer {
            disk_type,
            ..Footer::fixed(identity, virtual_size)
        };
        Footer {
            checksum: checksum(&footer.encode()),
            ..footer
        }
        .encode()
    }

    #[test]
    fn containers_are_told_by_their_magic() {
        for (magic, format) in [
            (&b"QFI\xfb\0\0\0\x03"[..], Format::Qcow2),
            (b"QED\0", Format::Qed),
            (b"KDMV\x01\0\0\0", Format::Vmdk),
            (b"COWD", Format::Vmdk),
            (b"# Disk DescriptorFile\n", Format::Vmdk),
            (b"vhdxfile", Format::Vhdx),
            (b"\x1f\x8b\x08\x08", Format::Gzip),
            (b"\xfd7zXZ\0\0\x04", Format::Xz),
            (b"\x28\xb5\x2f\xfd", Format::Zstd),
            (b"BZh91AY&SY", Format::Bzip2),
            (b"PK\x03\x04", Format::Zip),
            (&footer(1 << 20, 3), Format::DynamicVhd),
            (&footer(1 << 20, 4), Format::DifferencingVhd),
            (&COOKIE, Format::DamagedVhd),
        ] {
            assert_eq!(detect_head(magic), format);
            assert!(!format.is_presentable());
            assert!(!format.remedy().is_empty());
        }
        let mut vdi = [0; HEAD_SIZE];
        vdi[0x40..0x44].copy_from_slice(&0xbeda_107f_u32.to_le_bytes());
        assert_eq!(detect_head(&vdi), Format::Vdi);
    }

    #[test]
    fn what_only_looks_like_a_container_is_raw() {
        for magic in [
            &b""[..],
            b"\x1f\x8b\x07",
            b"\x1f\x8b\x08\xff",
            b"BZh9",
            b"BZh0",
            b"PK",
            b"qfi\xfb",
        ] {
            assert_eq!(detect_head(magic), Format::Raw, "{magic:?}");
        }
        assert_eq!(Format::detect(b"", b"", 0), Format::Raw);
        assert_eq!(Format::detect(b"Q", b"Q", 1), Format::Raw);
    }

    #[test]
    fn footers_at_the_end() {
        let detect = |tail: &[u8], size| Format::detect(&head(b""), tail, size);
        let size = (1 << 20) + 512;
        assert_eq!(detect(&footer(1 << 20, 2), size), Format::FixedVhd);
        assert_eq!(detect(&footer(1 << 20, 2), size + 1), Format::DamagedVhd);
        assert_eq!(detect(&footer(1 << 20, 3), size), Format::DynamicVhd);
        assert_eq!(detect(&footer(1 << 20, 4), size), Format::DifferencingVhd);
        let mut damaged = footer(1 << 20, 2);
        damaged[100] = 1;
        assert_eq!(detect(&damaged, size), Format::DamagedVhd);
        assert_eq!(detect(&damaged[1..], size), Format::Raw);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_format(head: Vec<u8>, tail: Vec<u8>, size: u64) {
            let _ = Format::detect(&head, &tail, size);
        }
    }
}
