//! What is in a partition, told by the signatures that its first and last bytes carry.

use std::io;

use byteorder::{ByteOrder, LittleEndian};

use disk::Disk;

/// What a partition, or a disk without a partition table, holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Content {
    Ext,
    Xfs,
    Btrfs,
    Fat,
    Ntfs,
    Squashfs,
    Erofs,
    F2fs,
    Iso9660,
    Swap,
    Lvm,
    Luks,
    Raid,
    Unknown,
}

impl Content {
    /// Name of the content where it is a file system or part of one.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext => "ext2/3/4",
            Self::Xfs => "XFS",
            Self::Btrfs => "btrfs",
            Self::Fat => "FAT",
            Self::Ntfs => "NTFS",
            Self::Squashfs => "squashfs",
            Self::Erofs => "EROFS",
            Self::F2fs => "F2FS",
            Self::Iso9660 => "ISO 9660",
            Self::Swap => "swap",
            Self::Lvm => "LVM",
            Self::Luks => "LUKS",
            Self::Raid => "RAID",
            Self::Unknown => "unknown",
        }
    }

    /// Why files that may be in it are not looked into; `None` where there are none, or they are.
    pub(crate) fn obstacle(self) -> Option<String> {
        let hides = matches!(
            self,
            Self::Squashfs | Self::Erofs | Self::F2fs | Self::Lvm | Self::Luks | Self::Raid
        );
        hides.then(|| format!("it holds {}, which is not looked into", self.name()))
    }

    /// Reads the signatures of a part of a disk; about 70 KiB.
    pub(crate) fn probe(part: &dyn Disk) -> io::Result<Self> {
        let head = read(part, 0, HEAD)?;
        let at_head = SIGNATURES
            .iter()
            .find(|(at, magic, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
        if let Some(&(_, _, content)) = at_head {
            return Ok(content);
        }
        // Members of an old RAID 1 look like the file system in it, but for their end.
        if is_raid_at_end(part)? {
            return Ok(Self::Raid);
        }
        Ok(Self::of_file_system(&head))
    }

    fn of_file_system(head: &[u8]) -> Self {
        let has =
            |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
        match () {
            () if has(0x438, &[0x53, 0xef]) => Self::Ext,
            () if has(3, b"NTFS    ") => Self::Ntfs,
            () if is_fat(head) => Self::Fat,
            () => Self::Unknown,
        }
    }
}

/// Bytes at the beginning that signatures are looked for in: to the superblock of btrfs.
const HEAD: usize = 0x10048;

/// Offset, bytes and meaning of the signatures near the beginning.
const SIGNATURES: &[(usize, &[u8], Content)] = &[
    (0, b"LUKS\xba\xbe", Content::Luks),
    (0x018, b"LVM2 001", Content::Lvm),
    (0x218, b"LVM2 001", Content::Lvm),
    (0x418, b"LVM2 001", Content::Lvm),
    (0x618, b"LVM2 001", Content::Lvm),
    (0, &RAID_MAGIC, Content::Raid),
    (0x1000, &RAID_MAGIC, Content::Raid),
    // Swap areas carry it at the end of the first page, of whatever size.
    (0x0ff6, b"SWAPSPACE2", Content::Swap),
    (0x1ff6, b"SWAPSPACE2", Content::Swap),
    (0x3ff6, b"SWAPSPACE2", Content::Swap),
    (0xfff6, b"SWAPSPACE2", Content::Swap),
    (0x0ff6, b"SWAP-SPACE", Content::Swap),
    (0, b"XFSB", Content::Xfs),
    (0x10040, b"_BHRfS_M", Content::Btrfs),
    (0, b"hsqs", Content::Squashfs),
    (0x400, &0xe0f5_e1e2_u32.to_le_bytes(), Content::Erofs),
    (0x400, &0xf2f5_2010_u32.to_le_bytes(), Content::F2fs),
    (0x8001, b"CD001", Content::Iso9660),
];

/// The superblock of Linux software RAID.
const RAID_MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();

/// Metadata 1.0 stands 8 to 12 KiB before the end, 0.90 in the last whole 64 KiB.
fn is_raid_at_end(part: &dyn Disk) -> io::Result<bool> {
    let size = part.size();
    let version_1 = (size & !511).checked_sub(8 << 10).map(|at| at & !4095);
    let version_0 = (size & !0xffff).checked_sub(0x1_0000);
    for at in [version_1, version_0].into_iter().flatten() {
        if read(part, at, RAID_MAGIC.len())? == RAID_MAGIC {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a boot sector describes a FAT file system in a possible way.
fn is_fat(head: &[u8]) -> bool {
    if head.len() < 512 || head[510..512] != [0x55, 0xaa] {
        return false;
    }
    let sector_size = LittleEndian::read_u16(&head[11..]);
    let named = head[0x36..].starts_with(b"FAT") || head[0x52..].starts_with(b"FAT32");
    let jump = head[0] == 0xeb || head[0] == 0xe9;
    // Firmware and kernels do not go by the name; without it, the other fields must be right.
    let (cluster, reserved) = (head[13], LittleEndian::read_u16(&head[14..]));
    let plausible = cluster.is_power_of_two()
        && reserved > 0
        && matches!(head[16], 1 | 2)
        && matches!(head[21], 0xf0 | 0xf8..);
    jump && matches!(sector_size, 512 | 1024 | 2048 | 4096) && (named || plausible)
}

/// At most `size` bytes from `offset` on, fewer where the part ends.
fn read(part: &dyn Disk, offset: u64, size: usize) -> io::Result<Vec<u8>> {
    let rest = part.size().saturating_sub(offset);
    let size = usize::try_from(rest).map_or(size, |rest| rest.min(size));
    let mut bytes = vec![0; size];
    part.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fat_is_known_without_its_name() {
        let mut head = vec![0; 512];
        head[..3].copy_from_slice(&[0xeb, 0x58, 0x90]);
        head[11..17].copy_from_slice(&[0, 2, 1, 32, 0, 2]);
        head[21] = 0xf8;
        head[510..].copy_from_slice(&[0x55, 0xaa]);
        assert!(is_fat(&head));
        head[13] = 3;
        assert!(!is_fat(&head));
        head[0x52..0x57].copy_from_slice(b"FAT32");
        assert!(is_fat(&head));
    }
}
