//! Reading of an image within a budget.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use disk::Disk;

use crate::blocks::Blocks;
use crate::deadline::{Cut, Deadline};
use crate::lvm::Mapping;

/// Most that a check reads from an image, in bytes.
///
/// The largest part is the initrd of the default kernel; the tables of a file system of 32 TiB
/// take a few tens of MiB.
pub(crate) const BUDGET: u64 = 1 << 30;
/// Most bytes that parsers ask for, most of which were read before: what ends those that go in
/// circles.
const REQUESTED: u64 = 64 << 30;

/// The disk in an image as it would be presented: the body, then zeros to the virtual size.
pub(crate) struct Metered {
    image: Rc<dyn Disk>,
    body_size: u64,
    virtual_size: u64,
    read: Cell<u64>,
    requested: Cell<u64>,
    blocks: RefCell<Blocks>,
    deadline: Rc<dyn Deadline>,
    cut: Cell<Option<Cut>>,
    failure: RefCell<Option<io::Error>>,
}

impl Metered {
    pub(crate) fn new(
        image: Rc<dyn Disk>,
        body_size: u64,
        virtual_size: u64,
        deadline: Rc<dyn Deadline>,
    ) -> Self {
        Self {
            body_size: body_size.min(image.size()),
            image,
            virtual_size,
            read: Cell::new(0),
            requested: Cell::new(0),
            blocks: RefCell::default(),
            deadline,
            cut: Cell::new(None),
            failure: RefCell::new(None),
        }
    }

    /// Bytes read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    /// Why something was not read; `None` where everything was.
    ///
    /// What is concluded afterwards may come from what was not read.
    pub(crate) fn was_cut(&self) -> Option<Cut> {
        self.cut.get()
    }

    fn cut(&self) -> Option<Cut> {
        if self.cut.get().is_none() && self.deadline.has_passed() {
            self.cut.set(Some(Cut::Time(self.deadline.limit())));
        }
        self.cut.get()
    }

    /// The first error of the image itself, which parsers of other people may have swallowed.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.failure.borrow_mut().take()
    }

    fn go_on(&self) -> io::Result<()> {
        self.cut().map_or(Ok(()), |cut| Err(cut_error(cut)))
    }

    fn spend(&self, counter: &Cell<u64>, bytes: usize, limit: u64) -> io::Result<()> {
        let spent = counter.get().saturating_add(bytes as u64);
        if spent > limit {
            let cut = Cut::Bytes(limit);
            self.cut.set(Some(cut));
            return Err(cut_error(cut));
        }
        counter.set(spent);
        Ok(())
    }

    /// Reads past the cache, and remembers where that fails.
    fn read_through(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let result = self.read_body(buffer, offset);
        if let Err(error) = &result
            && self.cut.get().is_none()
        {
            let copy = io::Error::new(error.kind(), error.to_string());
            self.failure.borrow_mut().get_or_insert(copy);
        }
        result
    }

    fn read_body(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.spend(&self.read, buffer.len(), BUDGET)?;
        let in_body = self.body_size.saturating_sub(offset);
        let split = usize::try_from(in_body).map_or(buffer.len(), |n| n.min(buffer.len()));
        let (body, padding) = buffer.split_at_mut(split);
        padding.fill(0);
        if body.is_empty() {
            return Ok(());
        }
        self.image.read_exact_at(body, offset)
    }
}

/// The error of a read after the end of a check. It is of a kind that no parser takes for "there
/// is no such file".
fn cut_error(cut: Cut) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, cut.to_string())
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
        self.go_on()?;
        self.spend(&self.requested, buffer.len(), REQUESTED)?;
        if !Blocks::take(buffer.len()) {
            return self.read_through(buffer, offset);
        }
        let read = |buffer: &mut [u8], offset| self.read_body(buffer, offset);
        let copied = self
            .blocks
            .borrow_mut()
            .copy(buffer, offset, self.virtual_size, &read);
        // What cannot be read of a block may be beside what was asked for.
        copied.or_else(|_| self.read_through(buffer, offset))
    }
}

/// A part of a disk, such as a partition or a logical volume, as a disk of its own.
#[derive(Clone)]
pub(crate) struct Window {
    disk: Rc<Metered>,
    size: u64,
    place: Place,
}

#[derive(Clone)]
enum Place {
    /// One range of the disk that begins here, in bytes.
    At(u64),
    /// Pieces of it.
    Mapped(Rc<Mapping>),
}

impl Window {
    /// The part from `start` on, of at most `size` bytes and never beyond the end of the disk.
    pub(crate) fn new(disk: &Rc<Metered>, start: u64, size: u64) -> Self {
        Self {
            disk: Rc::clone(disk),
            size: size.min(disk.size().saturating_sub(start)),
            place: Place::At(start),
        }
    }

    /// A logical volume.
    pub(crate) fn mapped(disk: &Rc<Metered>, mapping: Mapping) -> Self {
        Self {
            disk: Rc::clone(disk),
            size: mapping.size(),
            place: Place::Mapped(Rc::new(mapping)),
        }
    }

    /// Whether a byte of the disk is in it; `false` for logical volumes.
    pub(crate) fn contains(&self, at: u64) -> bool {
        match self.place {
            Place::At(start) => at >= start && at - start < self.size,
            Place::Mapped(_) => false,
        }
    }

    /// Where it begins on the disk, in bytes; `None` for logical volumes.
    pub(crate) fn start(&self) -> Option<u64> {
        match self.place {
            Place::At(start) => Some(start),
            Place::Mapped(_) => None,
        }
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
        let mapping = match &self.place {
            Place::At(start) => return self.disk.read_exact_at(buffer, start + offset),
            Place::Mapped(mapping) => mapping,
        };
        let (mut rest, mut at) = (buffer, offset);
        while !rest.is_empty() {
            let run = mapping.locate(at).ok_or(io::ErrorKind::UnexpectedEof)?;
            let count = usize::try_from(run.length).map_or(rest.len(), |n| n.min(rest.len()));
            let (piece, behind) = rest.split_at_mut(count);
            self.disk.read_exact_at(piece, run.start)?;
            (rest, at) = (behind, at + count as u64);
        }
        Ok(())
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
