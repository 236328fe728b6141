//! Standard output as a place for disks: copies without passing the bytes through this process
//! if that is possible, and with holes if it is a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use disk::ByteRange;
use sys;

/// What the output is, as far as copying into it goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// A regular file with nothing behind the current position.
    File {
        /// Where the output began.
        start: u64,
    },
    /// A pipe.
    Pipe,
    /// Something that only takes bytes, or a file that already has bytes there.
    Stream,
}

/// Standard output while a view is written to it.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    kind: Kind,
    /// Whether the kernel copies for us; not asked again after one refusal.
    kernel_copies: bool,
    /// Whether the file system shares blocks between files; not asked again after one refusal.
    clones: bool,
}

impl Output {
    /// Looks at what `file` is.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let appends = rustix::fs::fcntl_getfl(&file)?.contains(OFlags::APPEND);
        let kind = if metadata.is_file() && !appends {
            // Skipping leaves what is there: only behind the end that is a hole.
            let start = (&file).stream_position()?;
            if start >= metadata.len() {
                Kind::File { start }
            } else {
                Kind::Stream
            }
        } else if metadata.file_type().is_fifo() {
            Kind::Pipe
        } else {
            Kind::Stream
        };
        Ok(Self {
            file,
            kind,
            kernel_copies: true,
            clones: true,
        })
    }

    /// Goes on behind `length` zeros.
    pub(super) fn skip(&mut self, length: u64) -> io::Result<()> {
        if let Kind::File { .. } = self.kind {
            // A view is no larger than the largest off_t.
            return self.file.seek(SeekFrom::Current(length as i64)).map(drop);
        }
        io::copy(&mut io::repeat(0).take(length), &mut self.file).map(drop)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Lets the kernel copy some bytes of `range` of `source`, from its start on; returns how
    /// many, and `None` if it cannot do that here. `is_frozen` says that nothing changes the
    /// source: pages in a pipe are shared with it until they are read.
    pub(super) fn copy_from(
        &mut self,
        source: BorrowedFd<'_>,
        range: ByteRange,
        is_frozen: bool,
    ) -> io::Result<Option<u64>> {
        if !self.kernel_copies {
            return Ok(None);
        }
        if let Some(count) = self.clone_from(source, range)? {
            return Ok(Some(count));
        }
        let mut offset = range.start();
        let length = usize::try_from(range.len()).unwrap_or(usize::MAX);
        let copied = match self.kind {
            Kind::File { .. } => {
                rustix::fs::copy_file_range(source, Some(&mut offset), &self.file, None, length)
            }
            Kind::Pipe if is_frozen => {
                let flags = SpliceFlags::empty();
                rustix::pipe::splice(
                    source,
                    Some(&mut offset),
                    self.file.as_fd(),
                    None,
                    length,
                    flags,
                )
            }
            _ => return Ok(None),
        };
        match copied {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => Ok(Some(count as u64)),
            Err(Errno::INTR) => Ok(Some(0)),
            // Another file system, or one that cannot: read and write instead.
            Err(
                Errno::XDEV
                | Errno::INVAL
                | Errno::OPNOTSUPP
                | Errno::NOSYS
                | Errno::PERM
                | Errno::BADF,
            ) => {
                self.kernel_copies = false;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Shares the whole blocks of `range` with the source instead of copying them; returns how many
    /// bytes, and `None` if that is not done here.
    fn clone_from(&mut self, source: BorrowedFd<'_>, range: ByteRange) -> io::Result<Option<u64>> {
        if !self.clones || !matches!(self.kind, Kind::File { .. }) {
            return Ok(None);
        }
        let at = self.file.stream_position()?;
        let block = self.file.metadata()?.blksize().max(1);
        let length = range.len() / block * block;
        let aligned = at.is_multiple_of(block) && range.start().is_multiple_of(block);
        if !aligned || length == 0 {
            return Ok(None);
        }
        match sys::clone_range(source, range.start(), length, &self.file, at) {
            Ok(()) => {
                self.file.seek(SeekFrom::Start(at + length))?;
                Ok(Some(length))
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => Err(error),
            // Another file system, or one that cannot; or a file that is not to be shared.
            Err(_) => {
                self.clones = false;
                Ok(None)
            }
        }
    }

    /// Makes a file as long as it is meant to be, also if it ends in a hole.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Kind::File { .. } = self.kind {
            let end = self.file.stream_position()?;
            if end > self.file.metadata()?.len() {
                self.file.set_len(end)?;
            }
        }
        Ok(())
    }

    /// Removes what was written, if that is possible, so that no half of an image stays.
    pub(super) fn discard(&mut self) {
        if let Kind::File { start } = self.kind {
            // The command fails with the reason for discarding, whatever comes of this.
            let _ = self.file.set_len(start);
        }
    }
}
