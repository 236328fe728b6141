//! The EFI system partition: which boot loaders are in it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fatfs::{FileSystem, FsOptions};

use super::metered::{Cursor, Window};

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
    /// A text that says why it cannot be read. The parser is another project's and not made for
    /// hostile bytes, so a panic in it is one of the reasons.
    pub(super) fn read(window: Window) -> Result<Self, String> {
        let read = AssertUnwindSafe(|| Self::read_inner(window));
        catch_unwind(read).unwrap_or_else(|_| Err("its structure is damaged".to_owned()))
    }

    fn read_inner(window: Window) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let options = FsOptions::new().update_accessed_date(false);
        let files = FileSystem::new(Cursor::new(window), options).map_err(text)?;
        let root = files.root_dir();
        let mut has_fallback = false;
        for path in FALLBACK_PATHS {
            let loader = root.open_file(path.trim_start_matches('/'));
            has_fallback |= match loader {
                Ok(_) => true,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
                Err(error) => return Err(text(error)),
            };
        }
        let mut vendors = Vec::new();
        if let Ok(folder) = root.open_dir("EFI") {
            for entry in folder.iter().take(MAX_ENTRIES) {
                let name = entry.map_err(text)?.file_name();
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
