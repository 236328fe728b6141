//! The disk in an image, read through the maps of its formats.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::input::Input;
use super::map::{Map, Packed, Place};
use super::sequence::Sequence;
use super::{Defect, Format};
use crate::cache::{Caches, Job};
use crate::{ByteRange, Disk};

/// What to say about an image beside its size.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Details {
    /// Its format.
    pub format: Format,
    /// Which kind of it, as the format's own tools call it ("3", "streamOptimized").
    pub variant: Option<String>,
    /// Size of the units in which it allocates, in bytes.
    pub block_size: Option<u64>,
    /// How data is compressed, if any is or may be.
    pub compression: Option<&'static str>,
    /// Number of disks in the file.
    pub disks: usize,
    /// The image inside of it.
    pub inner: Option<Box<Details>>,
}

impl Details {
    /// An image of one disk, of which nothing else is known.
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            variant: None,
            block_size: None,
            compression: None,
            disks: 1,
            inner: None,
        }
    }

    /// Hangs `details` under the innermost image.
    pub(crate) fn add_inner(&mut self, details: Self) {
        match &mut self.inner {
            None => self.inner = Some(Box::new(details)),
            Some(inner) => inner.add_inner(details),
        }
    }
}

/// One image of a chain.
#[derive(Debug)]
pub(crate) struct Layer {
    map: Box<dyn Map>,
    inputs: Vec<Input>,
}

impl Layer {
    pub(crate) fn new(map: Box<dyn Map>, inputs: Vec<Input>) -> Self {
        Self { map, inputs }
    }
}

/// The disk in an image: reading, holes, decompression and damage, the same for all formats.
///
/// May be read by any number of threads; no lock is held around reads of files.
#[derive(Debug)]
pub struct Container {
    /// The image itself, then what it is based on.
    layers: Vec<Layer>,
    details: Details,
    caches: Arc<Caches>,
    sequence: Sequence,
}

/// Where the bytes at the beginning of a range lie, over all layers.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// Number of bytes that lie there.
    pub(super) length: u64,
    pub(super) place: At<'a>,
}

#[derive(Debug)]
pub(super) enum At<'a> {
    Zeros,
    Plain {
        input: &'a Input,
        offset: u64,
        flat: bool,
    },
    Packed {
        input: &'a Input,
        packed: Packed,
    },
}

impl Container {
    pub(super) fn new(layers: Vec<Layer>, details: Details, caches: Arc<Caches>) -> Self {
        Self {
            layers,
            details,
            caches,
            sequence: Sequence::default(),
        }
    }

    /// What is to be said about the image.
    pub fn details(&self) -> &Details {
        &self.details
    }

    /// Number of bytes that its images take, their tables included: those of files, or of their parts of an
    /// archive. What the disk's own data takes is less, and its tables would have to be read to tell it.
    pub fn stored_size(&self) -> u64 {
        let inputs = self.layers.iter().flat_map(|layer| &layer.inputs);
        inputs.fold(0, |sum: u64, input| sum.saturating_add(input.size()))
    }

    /// Number of the file, in the order in which the caller gave them, whose first bytes are the disk's as
    /// they are; `None` if there is no such file.
    pub fn flat_file(&self) -> Option<usize> {
        let whole = ByteRange::new(0, self.size());
        let found = match &self.layers[..] {
            [layer] if layer.map.is_flat() => self.find(whole).ok()?,
            _ => return None,
        };
        match found.place {
            At::Plain { input, offset, .. } if found.length == whole.len() => input
                .origin(offset)
                .filter(|(_, offset)| *offset == 0)
                .map(|(file, _)| file),
            _ => None,
        }
    }

    /// Where the bytes at the beginning of `range` lie, which is not empty and inside of the disk.
    ///
    /// # Errors
    ///
    /// [`Damage`](super::Damage) where they should lie outside of the file; the file's own error.
    pub(super) fn find(&self, range: ByteRange) -> io::Result<Found<'_>> {
        let mut length = range.len();
        for layer in &self.layers {
            let range = ByteRange::at(range.start(), length);
            // A disk may be based on a smaller one.
            let inside = range.intersect(ByteRange::new(0, layer.map.size()));
            if inside.is_empty() {
                break;
            }
            let extent = layer.map.locate(self.caches.tables(), inside)?;
            length = extent.length.min(inside.len()).max(1);
            let place = match extent.place {
                Place::Below => continue,
                Place::Zeros => At::Zeros,
                Place::Plain { input, offset } => {
                    let input = &layer.inputs[input];
                    let rest = input.size().saturating_sub(offset);
                    length = length.min(rest);
                    if length == 0 {
                        return Err(input.damage("the data", offset, Defect::PastEnd).into());
                    }
                    let flat = layer.map.is_flat();
                    At::Plain {
                        input,
                        offset,
                        flat,
                    }
                }
                Place::Packed(packed) => {
                    let input = &layer.inputs[packed.input];
                    length = length.min(packed.block.end() - range.start());
                    At::Packed { input, packed }
                }
            };
            return Ok(Found { length, place });
        }
        Ok(Found {
            length,
            place: At::Zeros,
        })
    }

    /// Calls `visit` for what lies at the beginning of each part of `range`, in order and without
    /// gaps, until it breaks.
    pub(super) fn visit<'a>(
        &'a self,
        range: ByteRange,
        mut visit: impl FnMut(ByteRange, &At<'a>) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<()> {
        let mut at = range.start();
        while at < range.end() {
            let found = self.find(ByteRange::new(at, range.end()))?;
            let part = ByteRange::at(at, found.length);
            if visit(part, &found.place)?.is_break() {
                break;
            }
            at = part.end();
        }
        Ok(())
    }

    /// Has the compressed blocks of this read and the next decoded, if it is one of a sequence.
    fn read_ahead(&self, range: ByteRange) {
        let threads = self.caches.pool().threads();
        if threads == 0 || !self.has_packed() {
            return;
        }
        let Some(ahead) = self.sequence.next(range, self.size(), threads) else {
            return;
        };
        let mut jobs = Vec::new();
        // What cannot be found is left to the read that needs it, and its error.
        let _ = self.visit(ahead, |part, place| {
            if let At::Packed { input, packed } = place {
                jobs.push(packed.job(input));
            }
            // If nothing is compressed, looking ahead is wasted.
            let useless = jobs.is_empty() && part.end() >= range.end();
            Ok(if useless || jobs.len() >= Sequence::MAX_BLOCKS {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        });
        self.caches.pool().decode_ahead(jobs);
    }

    fn has_packed(&self) -> bool {
        self.layers.iter().any(|layer| layer.map.has_packed())
    }
}

impl Packed {
    pub(super) fn job(&self, input: &Input) -> Job {
        Job {
            input: input.clone(),
            data: self.data,
            length: self.block.len() as usize,
            codec: self.codec,
        }
    }
}

impl Disk for Container {
    fn size(&self) -> u64 {
        self.layers.first().map_or(0, |layer| layer.map.size())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = ByteRange::of_read(offset, buffer.len(), self.size())?;
        self.read_ahead(range);
        self.visit(range, |part, place| {
            let start = (part.start() - offset) as usize;
            let buffer = &mut buffer[start..start + part.len() as usize];
            match place {
                At::Zeros => buffer.fill(0),
                At::Plain { input, offset, .. } => input.read_exact_at(buffer, *offset)?,
                At::Packed { input, packed } => {
                    let block = self.caches.blocks().get(&packed.job(input))?;
                    let start = (part.start() - packed.block.start()) as usize;
                    buffer.copy_from_slice(&block[start..start + buffer.len()]);
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<ByteRange>> {
        Ok(self.first_data(offset))
    }
}
