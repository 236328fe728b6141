//! How far ahead of readers the kernel reads.

use std::fs;
use std::io;
use std::path::Path;

use log::debug;

use crate::mount::table;

/// In KiB: as much as one request of FUSE asks for by default (`fs.fuse.max_pages_limit`). One
/// reader then gets up to twice as much as with the 128 KiB that the kernel offers when it mounts;
/// more gains nothing (docs/BENCHMARKS.md).
const READ_AHEAD: u32 = 1024;

/// Raises it for the mount at `mountpoint`. INIT cannot ask for more than the kernel offers, only
/// sysfs can, and only root may write it; every other mount reads ahead as it did.
pub(super) fn raise(mountpoint: &Path) {
    if let Err(error) = try_to_raise(mountpoint) {
        debug!("the kernel reads ahead as it does by default: {error}");
    }
}

fn try_to_raise(mountpoint: &Path) -> io::Result<()> {
    let entry = table::find(mountpoint)?.ok_or(io::ErrorKind::NotFound)?;
    let (major, minor) = entry.device;
    let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    fs::write(setting, READ_AHEAD.to_string())
}
