//! Reads of one operation of a parser, within bounds.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use disk::Disk;

use crate::metered::Window;

/// Most bytes of metadata that one look-up or listing may take: a folder of a hundred thousand
/// names, and no circle of nodes that lead to each other.
const MAX_METADATA: u64 = 64 << 20;

/// A part of a disk of which each operation reads a limited number of bytes.
#[derive(Clone)]
pub(super) struct Bounded {
    window: Window,
    left: Rc<Cell<u64>>,
}

impl Bounded {
    /// Whole operations begin with [`Self::begin`].
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            left: Rc::new(Cell::new(MAX_METADATA)),
        }
    }

    /// Begins an operation that reads `content` bytes beside metadata.
    pub(super) fn begin(&self, content: usize) {
        self.left.set(MAX_METADATA + content as u64);
    }

    /// Begins opening, which may read a journal.
    pub(super) fn begin_opening(&self, bytes: u64) {
        self.left.set(bytes);
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let left = self.left.get().checked_sub(buffer.len() as u64);
        let left = left.ok_or_else(|| io::Error::other("its structure runs in a circle"))?;
        self.left.set(left);
        self.window.read_exact_at(buffer, offset)
    }
}

impl lamxfs::BlockRead for Bounded {
    type Error = io::Error;

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read(buffer, offset)
    }
}

impl lambutter::BlockRead for Bounded {
    type Error = io::Error;

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read(buffer, offset)
    }
}
