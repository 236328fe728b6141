//! Snapshots: reflink clones of sources, without a name, deleted with their last user.
//!
//! A clone holds the whole view, so that the kernel can serve it without us, and what happens to
//! the source afterwards does not touch it.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::{debug, info};
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use thiserror::Error;

use super::assemble::{AssembleError, Plan};
use crate::folder::opened::Source;
use crate::folder::source::Freshness;
use disk::ByteRange;
use disk::format::Format;
use sys;
use vhd::layout::{Layout, Origin};

/// A clone of a file in more extents than this is not cheap: XFS takes some 50 µs for each.
const CHEAP_EXTENTS: u32 = 200;

/// A clone first writes what is in memory only. More than this takes noticeably long.
const CHEAP_UNWRITTEN: u64 = 16 << 20;

/// What statfs(2) calls btrfs.
const BTRFS_SUPER_MAGIC: rustix::fs::FsWord = 0x9123_683e;

/// When a view becomes a snapshot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Policy {
    /// If that is cheap, and harmless to the writers of the source.
    #[default]
    Auto,
    /// Always; a view that cannot is not opened.
    Always,
    /// Never.
    Never,
}

/// Why there is no snapshot of a source.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The source changed while it was cloned.
    #[error("it changed at the same moment")]
    Changed,
    /// It is being written, and a clone would fragment it for good.
    #[error("it is open for writing")]
    Written,
    /// It may be being written.
    #[error("it is unknown whether it is being written")]
    Unsettled,
    /// Cloning it would take long.
    #[error("it is kept in {0} extents")]
    Fragmented(u32),
    /// Cloning it would take long.
    #[error("{0} bytes of it are not yet on disk")]
    Unwritten(u64),
    /// Its parts are cloned one after the other, and they are written to meanwhile.
    #[error("it is a {0}, of which there is no clone of one moment while it is written")]
    Container(Format),
    /// Its clone cannot be put together.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// Only regular files can be cloned.
    #[error("it is a block device")]
    Device,
    /// No unnamed file can be made beside it, or where the user said.
    #[error("no unnamed file can be made in {}: {}", .0.display(), .1)]
    Folder(PathBuf, #[source] io::Error),
    /// The user's folder for snapshots is on another file system than the sources.
    #[error("{} is on another file system than the images", .0.display())]
    Elsewhere(PathBuf),
    /// The file system cannot clone.
    #[error("its file system cannot clone it: {0}")]
    Clone(#[source] io::Error),
    /// The clone could not be finished.
    #[error("its clone cannot be finished: {0}")]
    Finish(#[source] io::Error),
}

impl SnapshotError {
    /// The system's own error, if that is the reason.
    pub fn into_io(self) -> Option<io::Error> {
        match self {
            Self::Folder(_, error)
            | Self::Clone(error)
            | Self::Finish(error)
            | Self::Assemble(AssembleError::Read(error) | AssembleError::Clone(error)) => {
                Some(error)
            }
            _ => None,
        }
    }

    /// Whether space or descriptors ran out, so that freeing some could help.
    pub(super) fn is_shortage(&self) -> bool {
        match self {
            Self::Folder(_, error)
            | Self::Clone(error)
            | Self::Finish(error)
            | Self::Assemble(AssembleError::Read(error) | AssembleError::Clone(error)) => {
                is_shortage(error)
            }
            _ => false,
        }
    }

    /// Whether all files of the file system share the reason.
    fn concerns_all(&self) -> bool {
        matches!(self, Self::Folder(..) | Self::Clone(_))
    }
}

/// Whether an error says that space or descriptors ran out.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE)
    )
}

/// Makes the files that become snapshots.
pub trait UnnamedFiles: fmt::Debug + Send + Sync {
    /// Makes a file in an open folder that has no name and goes away when it is closed.
    ///
    /// # Errors
    ///
    /// The file system's own; if the folder cannot be written.
    fn unnamed_file(&self, folder: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd>;
}

/// Makes them in this process.
#[derive(Debug)]
struct Here;

impl UnnamedFiles for Here {
    fn unnamed_file(&self, folder: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::openat(folder, ".", flags, Mode::RUSR | Mode::WUSR)
    }
}

/// Makes snapshots, as the user wants them.
#[derive(Debug, Default)]
pub struct Snapshots {
    policy: Policy,
    /// Makes the files, if this process does not.
    files: Option<Arc<dyn UnnamedFiles>>,
    folder: Option<(OwnedFd, PathBuf)>,
    /// Devices whose file systems were found unable: not tried again, and logged once.
    unable: Mutex<HashSet<u64>>,
}

impl Snapshots {
    /// Makes snapshots by `policy`, beside the sources or in `folder`, which has to be on the file
    /// system that holds `source_folder`.
    ///
    /// # Errors
    ///
    /// If `folder` is elsewhere, or no unnamed file can be made in it.
    pub fn new(
        policy: Policy,
        folder: Option<&Path>,
        source_folder: &Path,
    ) -> Result<Self, SnapshotError> {
        let folder = folder.map(|path| {
            let failed = |error: Errno| SnapshotError::Folder(path.to_owned(), error.into());
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
            if !share_file_system(folder.as_fd(), source_folder).map_err(failed)? {
                return Err(SnapshotError::Elsewhere(path.to_owned()));
            }
            Here.unnamed_file(folder.as_fd()).map_err(failed)?;
            Ok((folder, path.to_owned()))
        });
        Ok(Self {
            policy,
            files: None,
            folder: folder.transpose()?,
            unable: Mutex::default(),
        })
    }

    /// Makes snapshots by `policy`, beside the sources.
    pub fn by_policy(policy: Policy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// Lets `files` make the files, because this process will not be able to.
    pub fn with_files_by(mut self, files: Arc<dyn UnnamedFiles>) -> Self {
        self.files = Some(files);
        self
    }

    /// When views become snapshots.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The folder that the user chose for snapshots.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(|(_, path)| path.as_path())
    }

    /// A snapshot of the view that `layout` makes of `source`, whose folder is `beside`; `None`
    /// if the policy does not demand one, and the source is read itself. What is being written is
    /// cloned only on demand.
    ///
    /// # Errors
    ///
    /// If the policy demands one and it cannot be had, or the source has changed.
    pub fn take(
        &self,
        source: &Source,
        layout: &Layout,
        beside: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> Result<Option<OwnedFd>, SnapshotError> {
        let device = source.files()[0].metadata().version.device;
        let taken = match self.policy {
            Policy::Never => return Ok(None),
            Policy::Auto if self.unable().contains(&device) => return Ok(None),
            Policy::Auto => {
                check_cheap(source).and_then(|()| self.clone_view(source, layout, true, beside))
            }
            Policy::Always => self.clone_view(source, layout, false, beside),
        };
        match taken {
            Ok(clone) => Ok(Some(clone)),
            Err(error @ SnapshotError::Changed) => Err(error),
            Err(error) if self.policy == Policy::Always => Err(error),
            Err(error) => {
                let path = source.path().display();
                if error.concerns_all() && self.unable().insert(device) {
                    info!("{path}: read directly, as all on its file system: {error}");
                } else {
                    debug!("{path}: read directly: {error}");
                }
                Ok(None)
            }
        }
    }

    /// A snapshot, whatever the policy is; also of a source that is being written.
    ///
    /// # Errors
    ///
    /// If it cannot be had.
    pub fn demand(
        &self,
        source: &Source,
        layout: &Layout,
        beside: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> Result<OwnedFd, SnapshotError> {
        if let Some(details) = source.details() {
            return Err(SnapshotError::Container(details.format));
        }
        self.clone_view(source, layout, false, beside)
    }

    fn clone_view(
        &self,
        source: &Source,
        layout: &Layout,
        only_cheap: bool,
        beside: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> Result<OwnedFd, SnapshotError> {
        if source.files().iter().any(|file| file.is_device()) {
            return Err(SnapshotError::Device);
        }
        let clone = File::from(self.empty_file(source.path(), beside)?);
        match (source.flat_file(), source.container()) {
            (Some(file), _) => rustix::fs::ioctl_ficlone(&clone, file)
                .map_err(|error| SnapshotError::Clone(error.into()))?,
            (None, Some(container)) => {
                let block = clone.metadata().map_err(SnapshotError::Finish)?.blksize();
                let files: Vec<_> = source.files().iter().map(|file| file.as_fd()).collect();
                Plan::of(container, block, only_cheap)?
                    .carry_out(&clone, container, &files)
                    .map_err(|error| match error {
                        AssembleError::Clone(error)
                            if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) =>
                        {
                            SnapshotError::Clone(error)
                        }
                        error => error.into(),
                    })?;
            }
            (None, None) => return Err(SnapshotError::Device),
        }
        // The clone is of one moment, or all of it was taken before this; this shows that it was
        // before any change. What is being written changes all the time.
        let is_written = source.files().iter().any(|file| file.is_written());
        if !is_written && source.check().map_err(SnapshotError::Finish)? != Freshness::Current {
            return Err(SnapshotError::Changed);
        }
        if clone.metadata().map_err(SnapshotError::Finish)?.len() < layout.source_size() {
            return Err(SnapshotError::Changed);
        }
        complete(&clone, layout).map_err(SnapshotError::Finish)?;
        Ok(clone.into())
    }

    /// An unnamed file in the user's folder for snapshots, or beside the source.
    fn empty_file(
        &self,
        source: &Path,
        beside: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> Result<OwnedFd, SnapshotError> {
        if let Some((folder, path)) = &self.folder {
            return self
                .unnamed_file(folder.as_fd())
                .map_err(|error| SnapshotError::Folder(path.clone(), error.into()));
        }
        let failed = |error| {
            let folder = source.parent().unwrap_or(Path::new("")).to_owned();
            SnapshotError::Folder(folder, error)
        };
        let folder = beside().map_err(failed)?;
        self.unnamed_file(folder.as_fd())
            .map_err(|error| failed(error.into()))
    }

    fn unnamed_file(&self, folder: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
        match &self.files {
            Some(files) => files.unnamed_file(folder),
            None => Here.unnamed_file(folder),
        }
    }

    fn unable(&self) -> parking_lot::MutexGuard<'_, HashSet<u64>> {
        self.unable.lock()
    }
}

/// Grows the clone to the size of the view and writes what the layout synthesizes.
fn complete(clone: &File, layout: &Layout) -> io::Result<()> {
    if clone.metadata()?.len() > layout.source_size() {
        // What stands behind the disk, such as the footer of a VHD that grows, is no part of it.
        clone.set_len(layout.source_size())?;
    }
    let hole = last_block_if_hole(clone)?;
    clone.set_len(layout.view_size())?;
    if let Some(start) = hole {
        // btrfs has just put a block of zeros there. If it must stay, the bytes are right nevertheless.
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(clone, flags, start, layout.view_size() - start);
    }
    for piece in layout.pieces(ByteRange::new(0, layout.view_size())) {
        if let Origin::Bytes(bytes) = piece.origin {
            clone.write_all_at(bytes, piece.range.start())?;
        }
    }
    Ok(())
}

/// Where the last block of a file begins, if the file ends inside of it and it is a hole.
fn last_block_if_hole(file: &File) -> io::Result<Option<u64>> {
    let metadata = file.metadata()?;
    let start = metadata.len() - metadata.len() % metadata.blksize().max(1);
    let data = (start < metadata.len()).then(|| rustix::fs::seek(file, SeekFrom::Data(start)));
    Ok((data == Some(Err(Errno::NXIO))).then_some(start))
}

/// Whether a clone takes no noticeable time and does no harm, as far as the files show.
fn check_cheap(source: &Source) -> Result<(), SnapshotError> {
    let mut unwritten = 0_u64;
    for file in source.files() {
        if file.is_device() {
            return Err(SnapshotError::Device);
        }
        if file.is_written() {
            return Err(SnapshotError::Written);
        }
        if !file.is_settled() {
            return Err(SnapshotError::Unsettled);
        }
        // An old kernel does not say; a clone that waits for the disk is still right.
        unwritten = unwritten.saturating_add(sys::unwritten_bytes(&**file).unwrap_or(0));
    }
    if let Some(file) = source.flat_file() {
        match sys::extent_count(file) {
            Ok(count) if count > CHEAP_EXTENTS => return Err(SnapshotError::Fragmented(count)),
            Ok(_) => {}
            Err(error) => return Err(SnapshotError::Clone(error)),
        }
    }
    match unwritten > CHEAP_UNWRITTEN {
        true => Err(SnapshotError::Unwritten(unwritten)),
        false => Ok(()),
    }
}

/// Whether files can be cloned between both, by their device numbers. The subvolumes of one
/// btrfs have devices of their own.
fn share_file_system(folder: BorrowedFd<'_>, other: &Path) -> rustix::io::Result<bool> {
    let (one, two) = (rustix::fs::fstat(folder)?, rustix::fs::stat(other)?);
    let is_btrfs =
        || rustix::fs::fstatfs(folder).is_ok_and(|found| found.f_type == BTRFS_SUPER_MAGIC);
    Ok(one.st_dev == two.st_dev || is_btrfs())
}
