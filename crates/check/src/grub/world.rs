//! What GRUB sees of a disk: devices by their names, and files on them.

use crate::unread::Unread;

/// A file on a device.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    /// Device as GRUB names it, such as `hd0,gpt3`.
    pub(crate) device: String,
    /// Absolute path there.
    pub(crate) path: String,
    /// Whether the path begins in the default subvolume of a btrfs, as openSUSE's GRUB takes it
    /// where `btrfs_relative_path` is set, and not in the topmost one.
    pub(crate) is_relative: bool,
}

/// What is known of a file or folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stat {
    /// Whether it is a folder.
    pub(crate) is_folder: bool,
    /// Size in bytes.
    pub(crate) size: u64,
}

/// What a file system is searched by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SearchBy {
    /// Identifier of the file system.
    Uuid,
    /// Label of the file system.
    Label,
    /// A file on it.
    File,
}

/// Devices and their files.
pub(crate) trait World {
    /// What is at a place; `None` where there is no such device or file.
    fn stat(&self, place: &Place) -> Result<Option<Stat>, Unread>;
    /// The text of a file; `None` where there is none.
    fn text(&self, place: &Place) -> Result<Option<String>, Unread>;
    /// Names in a folder, sorted.
    fn list(&self, place: &Place) -> Result<Vec<String>, Unread>;
    /// The device that a search finds.
    fn search(&self, by: SearchBy, wanted: &str) -> Result<Option<String>, Unread>;
    /// The name of a device as this GRUB gives it; `None` where there is no such device.
    fn device(&self, name: &str) -> Option<String>;
    /// How a place is shown to people.
    fn shown(&self, place: &Place) -> String;
}
