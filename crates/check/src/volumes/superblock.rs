//! What the superblock of a file system says of it: names, and space.

use byteorder::{BigEndian, ByteOrder, LittleEndian};
use disk::Disk;

use crate::content::Content;
use crate::metered::Window;

/// What is left of the space of a file system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Space {
    /// Bytes that are free for everybody, without those kept for the administrator.
    pub(crate) free: u64,
    /// Bytes that are free for the administrator.
    pub(crate) free_with_reserve: u64,
    /// Inodes that are free.
    pub(crate) free_inodes: u64,
}

/// Names and space of a file system.
#[derive(Default)]
pub(super) struct Names {
    pub(super) uuid: Option<String>,
    pub(super) label: Option<String>,
    pub(super) space: Option<Space>,
}

/// Identifier and label in a superblock.
pub(super) fn names(content: Content, window: &Window) -> std::io::Result<Names> {
    let head = |at: u64, size: usize| -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        window.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    };
    let uuid = |bytes: &[u8]| {
        let bytes: [u8; 16] = bytes.try_into().ok()?;
        Some(uuid::Uuid::from_bytes(bytes).to_string())
    };
    let (uuid_at, label_at, label_size) = match content {
        Content::Ext => (0x468, 0x478, 16),
        Content::Xfs => (32, 108, 12),
        Content::Btrfs => (0x10020, 0x1012b, 256),
        Content::Swap => (0x40c, 0x41c, 16),
        Content::Fat => return fat_names(&head(0, 512)?),
        Content::Luks => {
            let text = head(168, 40)?;
            return Ok(Names {
                uuid: text_of(&text),
                ..Names::default()
            });
        }
        _ => return Ok(Names::default()),
    };
    let space = match content {
        Content::Ext => Some(ext_space(&head(1024, 1024)?)),
        Content::Xfs => Some(xfs_space(&head(0, 512)?)),
        Content::Btrfs => Some(btrfs_space(&head(0x10000, 512)?)),
        _ => None,
    };
    Ok(Names {
        uuid: uuid(&head(uuid_at, 16)?),
        label: text_of(&head(label_at, label_size)?),
        space,
    })
}

fn text_of(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|&byte| byte == 0).next()?;
    let text = String::from_utf8_lossy(text).trim_end().to_owned();
    (!text.is_empty()).then_some(text)
}

fn fat_names(sector: &[u8]) -> std::io::Result<Names> {
    // FAT32 has its fields further behind, as it has 32-bit sizes of its tables before them.
    let is_fat32 = LittleEndian::read_u16(&sector[0x16..]) == 0;
    let (id, label) = if is_fat32 { (0x43, 0x47) } else { (0x27, 0x2b) };
    let id = LittleEndian::read_u32(&sector[id..]);
    let label = text_of(&sector[label..label + 11]).filter(|label| label != "NO NAME");
    Ok(Names {
        uuid: Some(format!("{:04X}-{:04X}", id >> 16, id & 0xffff)),
        label,
        space: None,
    })
}

fn ext_space(superblock: &[u8]) -> Space {
    let u32_at = |at: usize| u64::from(LittleEndian::read_u32(&superblock[at..]));
    let block = 1_u64
        .checked_shl(10 + (u32_at(0x18).min(6)) as u32)
        .unwrap_or(1024);
    let is_64_bit = u32_at(0x60) & 0x80 != 0;
    let high = |at: usize| if is_64_bit { u32_at(at) << 32 } else { 0 };
    let (free, kept) = (u32_at(0x0c) | high(0x158), u32_at(0x08) | high(0x154));
    Space {
        free: free.saturating_sub(kept).saturating_mul(block),
        free_with_reserve: free.saturating_mul(block),
        free_inodes: u32_at(0x10),
    }
}

/// XFS makes inodes as they are needed.
fn xfs_space(superblock: &[u8]) -> Space {
    let block = u64::from(BigEndian::read_u32(&superblock[4..]));
    let free = BigEndian::read_u64(&superblock[144..]).saturating_mul(block);
    Space {
        free,
        free_with_reserve: free,
        free_inodes: u64::MAX,
    }
}

/// Space of btrfs that no block group has yet cannot be told from what they have free.
fn btrfs_space(superblock: &[u8]) -> Space {
    let total = LittleEndian::read_u64(&superblock[0x70..]);
    let free = total.saturating_sub(LittleEndian::read_u64(&superblock[0x78..]));
    Space {
        free,
        free_with_reserve: free,
        free_inodes: u64::MAX,
    }
}
