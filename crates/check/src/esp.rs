//! The EFI system partition: which boot loaders are in it.

use std::io;

use fatfs::{FileSystem, FsOptions};

use super::metered::{Cursor, Window};
use super::unread::{Unread, contained};

/// Where firmware without boot entries of its own looks for a loader (UEFI Specification 2.10,
/// section 3.5.1.1), on the two architectures that Azure has.
pub(super) const FALLBACK_PATHS: [&str; 2] = ["/EFI/BOOT/BOOTX64.EFI", "/EFI/BOOT/BOOTAA64.EFI"];

/// Most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 256;

/// What is known of an EFI system partition.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Esp {
    /// Whether a loader is where new machines look for it.
    pub(super) has_fallback: bool,
    /// Names of the folders of boot loaders.
    pub(super) vendors: Vec<String>,
}

impl Esp {
    /// Reads the folders of boot loaders.
    ///
    /// # Errors
    ///
    /// Why the file system cannot be read.
    pub(super) fn read(window: Window) -> Result<Self, Unread> {
        contained(|| Ok(Self::read_inner(window)?))
    }

    fn read_inner(window: Window) -> io::Result<Self> {
        let options = FsOptions::new().update_accessed_date(false);
        let files = FileSystem::new(Cursor::new(window), options)?;
        let root = files.root_dir();
        let mut has_fallback = false;
        for path in FALLBACK_PATHS {
            has_fallback |= match root.open_file(path.trim_start_matches('/')) {
                Ok(_) => true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(error),
            };
        }
        let mut vendors = Vec::new();
        if let Ok(folder) = root.open_dir("EFI") {
            for entry in folder.iter().take(MAX_ENTRIES) {
                let name = entry?.file_name();
                if !name.starts_with('.') {
                    vendors.push(name);
                }
            }
        }
        Ok(Self {
            has_fallback,
            vendors,
        })
    }

    /// The folders of boot loaders in words.
    pub(super) fn vendors_text(&self) -> String {
        if self.vendors.is_empty() {
            return "no folder below `/EFI`".to_owned();
        }
        format!("the folders {}", self.vendors.join(", "))
    }
}
