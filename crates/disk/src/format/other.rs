//! Formats that are recognised and not read: no disk in them, no random access to it, or long out of use.

use super::{Kind, Probe, Reading};

const fn refused(
    name: &'static str,
    title: &'static str,
    recognise: fn(&Probe<'_>) -> bool,
    reason: &'static str,
) -> Kind {
    Kind {
        name,
        title,
        qemu_name: None,
        extensions: &[],
        recognise,
        reading: Reading::Refuse(reason),
    }
}

const CONVERT: &str = "not read; convert it with `qemu-img convert -O qcow2`";

pub(super) const QCOW1: Kind = refused(
    "qcow",
    "qcow version 1",
    |probe| probe.has(0, b"QFI\xfb\0\0\0\x01"),
    CONVERT,
);
pub(super) const QED: Kind = refused("qed", "QED", |probe| probe.has(0, b"QED\0"), CONVERT);
pub(super) const PARALLELS: Kind = refused(
    "parallels",
    "Parallels disk",
    |probe| probe.has(0, b"WithoutFreeSpace") || probe.has(0, b"WithouFreSpacExt"),
    CONVERT,
);
pub(super) const DMG: Kind = refused(
    "dmg",
    "Apple disk image",
    |probe| probe.tail.starts_with(b"koly\0\0\0\x04"),
    "not read; convert it with `qemu-img convert -O qcow2`",
);
pub(super) const EWF: Kind = refused(
    "ewf",
    "EWF (EnCase) image",
    |probe| probe.has(0, b"EVF\x09\x0d\x0a\xff\0"),
    "not read; export it as raw with `ewfexport`",
);
// RFC 1952: method 8 is deflate, the upper three flag bits are reserved.
pub(super) const GZIP: Kind = refused(
    "gzip",
    "gzip",
    |probe| probe.has(0, &[0x1f, 0x8b, 8]) && probe.byte(3) & 0xe0 == 0,
    "can only be read from its beginning; decompress it with `gunzip`",
);
pub(super) const ZSTD: Kind = refused(
    "zstd",
    "Zstandard",
    |probe| probe.has(0, &[0x28, 0xb5, 0x2f, 0xfd]),
    "can only be read from its beginning; decompress it with `unzstd`",
);
pub(super) const BZIP2: Kind = refused(
    "bzip2",
    "bzip2",
    |probe| {
        probe.has(0, b"BZh") && (b'1'..=b'9').contains(&probe.byte(3)) && probe.has(4, b"1AY&SY")
    },
    "can only be read from its beginning; decompress it with `bunzip2`",
);
pub(super) const LZ4: Kind = refused(
    "lz4",
    "LZ4",
    |probe| probe.has(0, &[0x04, 0x22, 0x4d, 0x18]) && probe.byte(4) >> 6 == 1,
    "can only be read from its beginning; decompress it with `unlz4`",
);
pub(super) const ZIP: Kind = refused(
    "zip",
    "zip archive",
    |probe| probe.has(0, b"PK\x03\x04"),
    "an archive; extract the image with `unzip`",
);
pub(super) const SEVEN_ZIP: Kind = refused(
    "7z",
    "7z archive",
    |probe| probe.has(0, &[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c]),
    "an archive; extract the image with `7z x`",
);
// ECMA-119, 8.1. A disk with a partition table may hold an old descriptor before its first
// partition, and an image that is both is a disk, too.
pub(super) const ISO9660: Kind = refused(
    "iso9660",
    "ISO 9660 image",
    |probe| probe.volume == b"\x01CD001" && !probe.has(510, &[0x55, 0xaa]),
    "an optical disc, from which no virtual machine of Azure starts; install from it to a disk image",
);
