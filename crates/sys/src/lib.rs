//! System calls that no safe wrapper exists for. The only crate of the workspace with `unsafe` code.
//!
//! ```
//! use std::io::Write;
//!
//! let mut file = tempfile::tempfile()?;
//! file.write_all(&[7; 4096])?;
//! // EOPNOTSUPP where the file system keeps its files in no extents, such as tmpfs.
//! match sys::extent_count(&file) {
//!     Ok(count) => assert!(count <= 1),
//!     Err(error) => assert!(error.raw_os_error().is_some()),
//! }
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod lease;
pub mod memory;
mod stacks;

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `FS_IOC_FIEMAP` (`linux/fs.h`): `_IOWR('f', 11, struct fiemap)`.
const FS_IOC_FIEMAP: libc::Ioctl = 0xc020_660b_u32 as libc::Ioctl;
/// `FUSE_DEV_IOC_BACKING_OPEN` (`linux/fuse.h`): `_IOW(229, 1, struct fuse_backing_map)`.
const FUSE_DEV_IOC_BACKING_OPEN: libc::Ioctl = 0x4010_e501_u32 as libc::Ioctl;
/// `FUSE_DEV_IOC_BACKING_CLOSE` (`linux/fuse.h`): `_IOW(229, 2, uint32_t)`.
const FUSE_DEV_IOC_BACKING_CLOSE: libc::Ioctl = 0x4004_e502_u32 as libc::Ioctl;
/// `cachestat` has the same number on all architectures that got their numbers together (Linux 6.5).
const SYS_CACHESTAT: libc::c_long = 451;

/// `FICLONERANGE` (`linux/fs.h`): `_IOW(0x94, 13, struct file_clone_range)`.
const FICLONERANGE: libc::Ioctl = 0x4020_940d_u32 as libc::Ioctl;

/// `struct file_clone_range` (`linux/fs.h`).
#[repr(C)]
struct FileCloneRange {
    source: i64,
    source_offset: u64,
    source_length: u64,
    target_offset: u64,
}

/// `struct fiemap` (`linux/fiemap.h`) without room for extents.
#[repr(C)]
#[derive(Default)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
}

/// `struct fuse_backing_map` (`linux/fuse.h`).
#[repr(C)]
struct FuseBackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

/// `struct cachestat_range` (`linux/mman.h`); a length of 0 means to the end.
#[repr(C)]
#[derive(Default)]
struct CachestatRange {
    offset: u64,
    length: u64,
}

/// `struct cachestat` (`linux/mman.h`), in pages.
#[repr(C)]
#[derive(Default)]
struct Cachestat {
    cache: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

const _: () = assert!(size_of::<FileCloneRange>() == 32);
const _: () = assert!(size_of::<Fiemap>() == 32);
const _: () = assert!(size_of::<FuseBackingMap>() == 16);
const _: () = assert!(size_of::<CachestatRange>() == 16);
const _: () = assert!(size_of::<Cachestat>() == 40);

fn checked(result: i64) -> io::Result<i64> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Number of extents that the file system keeps the file in.
///
/// # Errors
///
/// If the file system does not report them (`EOPNOTSUPP`).
pub fn extent_count(file: impl AsFd) -> io::Result<u32> {
    let mut map = Fiemap {
        length: u64::MAX,
        ..Fiemap::default()
    };
    // SAFETY: the descriptor is open for the whole call, and with an extent count of 0 the kernel
    // reads and writes nothing but the fixed-size structure.
    checked(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), FS_IOC_FIEMAP, &raw mut map) }.into())?;
    Ok(map.mapped_extents)
}

/// Makes the `length` bytes of `target` at `target_offset` the same blocks as those of `source` at
/// `source_offset` (ioctl_ficlonerange(2)). All three numbers are whole blocks of the file system; a `length` of
/// 0 means to the end.
///
/// # Errors
///
/// If the file system cannot, both files are not on one, or the numbers are not aligned (`EINVAL`).
pub fn clone_range(
    source: impl AsFd,
    source_offset: u64,
    length: u64,
    target: impl AsFd,
    target_offset: u64,
) -> io::Result<()> {
    let range = FileCloneRange {
        source: source.as_fd().as_raw_fd().into(),
        source_offset,
        source_length: length,
        target_offset,
    };
    let target = target.as_fd().as_raw_fd();
    // SAFETY: both descriptors are open for the whole call, and the structure has the layout that the
    // kernel expects.
    checked(unsafe { libc::ioctl(target, FICLONERANGE, &raw const range) }.into()).map(drop)
}

/// Number of bytes of the file that are in memory only and not yet on disk.
///
/// # Errors
///
/// If the kernel is older than 6.5, or does not report it to this user.
pub fn unwritten_bytes(file: impl AsFd) -> io::Result<u64> {
    let range = CachestatRange::default();
    let mut stat = Cachestat::default();
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: both structures have the layout that the kernel expects and live through the call.
    checked(unsafe { libc::syscall(SYS_CACHESTAT, fd, &raw const range, &raw mut stat, 0) })?;
    let pages = stat.dirty.saturating_add(stat.writeback);
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Keeps the programs that this process starts from inheriting any descriptor but standard input,
/// output and error.
///
/// # Errors
///
/// If the kernel is older than 5.11.
pub fn close_on_exec() -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: takes plain integers, and with this flag closes nothing in this process.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, flags) };
    checked(result).map(drop)
}

/// Finds out whether the kernel lets this process register `file` as the backing of a FUSE file,
/// by doing so and taking it back.
///
/// # Errors
///
/// The kernel's reason, such as `EPERM` without `CAP_SYS_ADMIN`.
pub fn probe_passthrough(fuse: impl AsFd, file: impl AsFd) -> io::Result<()> {
    let map = FuseBackingMap {
        fd: file.as_fd().as_raw_fd(),
        flags: 0,
        padding: 0,
    };
    let fuse = fuse.as_fd().as_raw_fd();
    // SAFETY: both descriptors are open, and the structure has the layout that the kernel expects.
    let id =
        checked(unsafe { libc::ioctl(fuse, FUSE_DEV_IOC_BACKING_OPEN, &raw const map) }.into())?;
    let id = id as u32;
    // SAFETY: the identifier is the one that the kernel just gave out, and no other code has it.
    checked(unsafe { libc::ioctl(fuse, FUSE_DEV_IOC_BACKING_CLOSE, &raw const id) }.into())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_fuse_device_cannot_have_backings() {
        let file = tempfile::tempfile().unwrap();
        assert!(probe_passthrough(&file, &file).is_err());
    }
}
