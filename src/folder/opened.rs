//! Opened sources: the files of an image in one version, and the disk in them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::folder::source::{Freshness, SourceFile};
use disk::format::{Container, Details, Origin};
use disk::{ByteRange, Disk};

/// An image that was opened: the disk that it holds, and every file that it is read from.
#[derive(Debug)]
pub struct Source {
    /// The image itself, then the further files.
    files: Vec<Arc<SourceFile>>,
    body: Body,
    size: u64,
}

/// Where the bytes of the disk are.
#[derive(Debug)]
enum Body {
    /// At the same offsets of the file of this number.
    Flat(usize),
    /// Where the formats of the files say.
    Container(Container),
}

/// Bytes of a disk that lie in a file as they are.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// The file.
    pub file: BorrowedFd<'a>,
    /// Their place in it.
    pub range: ByteRange,
}

impl Source {
    /// The first `size` bytes of a file.
    pub fn flat(file: SourceFile, size: u64) -> Self {
        Self {
            files: vec![Arc::new(file)],
            body: Body::Flat(0),
            size,
        }
    }

    /// A disk that is read from `files`, the first of which is the image itself.
    pub(super) fn of_files(files: Vec<Arc<SourceFile>>, disk: Container) -> Self {
        Self {
            size: disk.size(),
            body: match disk.flat_file() {
                Some(number) if number < files.len() => Body::Flat(number),
                _ => Body::Container(disk),
            },
            files,
        }
    }

    /// The files that the disk is read from: the image itself, then its further files.
    pub fn files(&self) -> &[Arc<SourceFile>] {
        &self.files
    }

    /// The image's name for messages.
    pub fn path(&self) -> &Path {
        self.files[0].path()
    }

    /// The file whose bytes from the first on are the disk's; `None` if there is no such file.
    pub fn flat_file(&self) -> Option<&SourceFile> {
        match self.body {
            Body::Flat(number) => Some(&self.files[number]),
            Body::Container(_) => None,
        }
    }

    /// Where the bytes at the beginning of `range` lie as they are, and how many; `None` if they are
    /// decoded or zeros.
    ///
    /// # Errors
    ///
    /// As for reading them.
    pub fn stored_at(&self, range: ByteRange) -> io::Result<Option<Stored<'_>>> {
        let (file, range) = match &self.body {
            Body::Flat(number) => (*number, range),
            Body::Container(container) => match container.runs(range).next().transpose()? {
                Some(run) => match run.origin {
                    Origin::File { file, offset } => (file, ByteRange::at(offset, run.range.len())),
                    Origin::Zeros | Origin::Decoded => return Ok(None),
                },
                None => return Ok(None),
            },
        };
        let file = self.files.get(file).map(|file| file.as_fd());
        Ok(file.map(|file| Stored { file, range }))
    }

    /// The disk in its container; `None` if its bytes lie in a file as they are.
    pub fn container(&self) -> Option<&Container> {
        match &self.body {
            Body::Flat(_) => None,
            Body::Container(container) => Some(container),
        }
    }

    /// What the container says of itself beside its size.
    pub fn details(&self) -> Option<&Details> {
        self.container().map(Container::details)
    }

    /// The file that was open for writing when it was to be settled, if one was.
    pub fn written_file(&self) -> Option<&SourceFile> {
        let mut files = self.files.iter().map(|file| &**file);
        files.find(|file| file.is_written())
    }

    /// Whether it is proven that what is read from now on, up to a successful [`Source::check`], is
    /// of one version.
    pub fn is_settled(&self) -> bool {
        self.files.iter().all(|file| file.is_settled())
    }

    /// Whether any of the files has no name any more, so that it takes space only as long as it is open.
    pub fn is_deleted(&self) -> bool {
        let is_deleted =
            |file: &SourceFile| rustix::fs::fstat(file).map_or(true, |found| found.st_nlink == 0);
        self.files.iter().any(|file| is_deleted(file))
    }

    /// Whether a write to any of the files from `now` on, even after it was closed here, makes
    /// another version of it.
    pub fn keeps_its_version(&self, now: SystemTime) -> bool {
        self.files.iter().all(|file| file.keeps_its_version(now))
    }

    /// Whether the bytes read until now are all of the versions that were opened; the first file that
    /// is not says why.
    ///
    /// # Errors
    ///
    /// If the attributes of a file cannot be had.
    pub fn check(&self) -> io::Result<Freshness> {
        for file in &self.files {
            match file.check()? {
                Freshness::Current => {}
                other => return Ok(other),
            }
        }
        Ok(Freshness::Current)
    }
}

impl Disk for Source {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        ByteRange::of_read(offset, buffer.len(), self.size)?;
        match &self.body {
            Body::Flat(number) => self.files[*number].read_exact_at(buffer, offset),
            Body::Container(container) => container.read_exact_at(buffer, offset),
        }
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<ByteRange>> {
        let data = match &self.body {
            Body::Flat(number) => self.files[*number].next_data(offset)?,
            Body::Container(container) => container.next_data(offset)?,
        };
        let inside = ByteRange::new(0, self.size);
        let data = data.map(|data| data.intersect(inside));
        Ok(data.filter(|data| !data.is_empty()))
    }
}
