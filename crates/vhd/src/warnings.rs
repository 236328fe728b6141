//! What Azure makes of a view, as far as a few sectors show it.

use std::io;

use crate::footer::FOOTER_SIZE;
use crate::size::{MAX_OS_DISK_SIZE, MAX_UPLOAD_SIZE, MIN_UPLOAD_SIZE};
use disk::gpt::Gpt;
use disk::{Disk, Prefix};

/// End of the warning about a partition table that can be relocated.
pub const RELOCATE_REMEDY: &str = "; `--gpt relocate` puts it there";

/// Bytes that end a boot record, at offset 510.
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// A warning about a disk of `virtual_size` bytes; `None` if Azure takes it as any kind of disk.
pub fn size_warning(virtual_size: u64) -> Option<&'static str> {
    match virtual_size {
        ..MIN_UPLOAD_SIZE => Some("smaller than 20 MiB, which Azure does not take"),
        size if size > MAX_UPLOAD_SIZE => Some("larger than 32,767 GiB, which Azure does not take"),
        size if size > MAX_OS_DISK_SIZE => {
            Some("larger than 4,095 GiB, which Azure takes as a data disk only")
        }
        _ => None,
    }
}

/// Warnings about the size of a view, its partition table, and the position of the table's backup.
/// `can_relocate` says whether the view could be opened with a relocated table.
///
/// # Errors
///
/// Those of reading `view`: at most 2 MiB and a few sectors.
pub fn warnings(view: &dyn Disk, can_relocate: bool) -> io::Result<Vec<String>> {
    let virtual_size = view.size().saturating_sub(FOOTER_SIZE as u64);
    let size = size_warning(virtual_size).map(str::to_owned);
    let table = table_warning(&Prefix::new(view, virtual_size), can_relocate)?;
    Ok(size.into_iter().chain(table).collect())
}

fn table_warning(disk: &Prefix<'_>, can_relocate: bool) -> io::Result<Option<String>> {
    let Some(gpt) = Gpt::read(disk)? else {
        let none = !is_signed(disk)?;
        return Ok(none.then(|| "no partition table".to_owned()));
    };
    Ok(match &gpt.primary {
        Err(damage) => Some(format!("primary GPT damaged: {damage}")),
        Ok(_) if !gpt.backup_is_at_end_of(disk.size()) => {
            let remedy = if can_relocate { RELOCATE_REMEDY } else { "" };
            Some(format!("backup GPT not at the end of the disk{remedy}"))
        }
        Ok(_) => (gpt.sector_size != 512).then(|| "GPT with sectors of 4,096 bytes".to_owned()),
    })
}

/// Whether the disk begins with a boot record.
fn is_signed(disk: &Prefix<'_>) -> io::Result<bool> {
    let mut bytes = [0; SIGNATURE.len()];
    if disk.size() < 512 {
        return Ok(false);
    }
    disk.read_exact_at(&mut bytes, 510)?;
    Ok(bytes == SIGNATURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_azure_does_not_take() {
        const GIB: u64 = 1 << 30;
        assert!(size_warning(MIN_UPLOAD_SIZE - 1).is_some_and(|text| text.contains("20 MiB")));
        assert_eq!(size_warning(MIN_UPLOAD_SIZE), None);
        assert_eq!(size_warning(4_095 * GIB), None);
        assert!(size_warning(4_096 * GIB).is_some_and(|text| text.contains("data disk")));
        assert!(size_warning(32_768 * GIB).is_some_and(|text| text.contains("32,767 GiB")));
    }

    #[test]
    fn a_view_without_a_table() {
        let mut view = vec![0; MIN_UPLOAD_SIZE as usize + FOOTER_SIZE];
        assert_eq!(warnings(&view, true).unwrap(), ["no partition table"]);
        view[510..512].copy_from_slice(&SIGNATURE);
        assert!(warnings(&view, true).unwrap().is_empty());
        view.truncate(FOOTER_SIZE);
        assert_eq!(warnings(&view, true).unwrap().len(), 2);
    }
}
