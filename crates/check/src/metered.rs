//! Reading of an image within a budget.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use disk::Disk;

/// Most that a check reads from an image, in bytes.
///
/// The largest part is the initrd of the default kernel; the tables of a file system of 32 TiB
/// take a few tens of MiB.
pub(crate) const BUDGET: u64 = 1 << 30;

/// The disk in an image as it would be presented: the body, then zeros to the virtual size.
pub(crate) struct Metered {
    image: Rc<dyn Disk>,
    body_size: u64,
    virtual_size: u64,
    read: Cell<u64>,
    failure: RefCell<Option<io::Error>>,
}

impl Metered {
    pub(crate) fn new(image: Rc<dyn Disk>, body_size: u64, virtual_size: u64) -> Self {
        Self {
            body_size: body_size.min(image.size()),
            image,
            virtual_size,
            read: Cell::new(0),
            failure: RefCell::new(None),
        }
    }

    /// Bytes read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    /// The first error of the image itself, which parsers of other people may have swallowed.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.failure.borrow_mut().take()
    }

    fn spend(&self, bytes: usize) -> io::Result<()> {
        let read = self.read.get().saturating_add(bytes as u64);
        if read > BUDGET {
            return Err(io::Error::other(format!(
                "more than {BUDGET} bytes would have to be read"
            )));
        }
        self.read.set(read);
        Ok(())
    }

    fn read_body(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let result = self.image.read_exact_at(buffer, offset);
        if let Err(error) = &result {
            let copy = io::Error::new(error.kind(), error.to_string());
            self.failure.borrow_mut().get_or_insert(copy);
        }
        result
    }
}

impl Disk for Metered {
    fn size(&self) -> u64 {
        self.virtual_size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.virtual_size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.spend(buffer.len())?;
        let in_body = self.body_size.saturating_sub(offset);
        let split = usize::try_from(in_body).map_or(buffer.len(), |n| n.min(buffer.len()));
        let (body, padding) = buffer.split_at_mut(split);
        padding.fill(0);
        if body.is_empty() {
            return Ok(());
        }
        self.read_body(body, offset)
    }
}

/// A part of a disk, such as a partition, as a disk of its own.
#[derive(Clone)]
pub(crate) struct Window {
    disk: Rc<Metered>,
    start: u64,
    size: u64,
}

impl Window {
    /// The part from `start` on, of at most `size` bytes and never beyond the end of the disk.
    pub(crate) fn new(disk: &Rc<Metered>, start: u64, size: u64) -> Self {
        Self {
            disk: Rc::clone(disk),
            start,
            size: size.min(disk.size().saturating_sub(start)),
        }
    }
}

impl Window {
    /// Where it begins on the disk, in bytes.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }
}

impl Disk for Window {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.disk.read_exact_at(buffer, self.start + offset)
    }
}

impl ext4_view::Ext4Read for Window {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(self.read_exact_at(dst, start_byte)?)
    }
}

/// A position in a part of a disk, for parsers that read as from a file. Writing fails.
pub(crate) struct Cursor {
    window: Window,
    position: u64,
}

impl Cursor {
    pub(crate) fn new(window: Window) -> Self {
        let position = 0;
        Self { window, position }
    }
}

impl io::Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.window.size().saturating_sub(self.position);
        let count = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        self.window
            .read_exact_at(&mut buffer[..count], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl io::Seek for Cursor {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let position = match to {
            io::SeekFrom::Start(position) => Some(position),
            io::SeekFrom::Current(by) => self.position.checked_add_signed(by),
            io::SeekFrom::End(by) => self.window.size().checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl io::Write for Cursor {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
