//! Reading a view: a [`Layout`] over a disk.

use std::io;

use crate::layout::{Layout, Origin, Piece};
use disk::ByteRange;
use disk::Disk;

/// What a read found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Filled {
    /// The buffer holds the bytes.
    Data,
    /// Every byte is zero; neither the source nor the buffer was touched.
    Zeros,
}

/// A run of a view as a reader that skips holes sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Run<'a> {
    /// A hole, or padding.
    Zeros(ByteRange),
    /// Bytes that the source holds at the same offset.
    Source(ByteRange),
    /// Synthesized bytes that stand at this offset.
    Bytes(u64, &'a [u8]),
}

impl Run<'_> {
    /// Its place in the view.
    pub(crate) fn range(&self) -> ByteRange {
        match *self {
            Self::Zeros(range) | Self::Source(range) => range,
            Self::Bytes(at, bytes) => ByteRange::at(at, bytes.len() as u64),
        }
    }
}

/// The bytes of one view.
#[derive(Debug)]
pub struct View<D> {
    layout: Layout,
    source: D,
}

impl<D: Disk> View<D> {
    /// The view that `layout` makes of `source`.
    pub fn new(layout: Layout, source: D) -> Self {
        Self { layout, source }
    }

    /// The regions of the view.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The disk below the view.
    pub fn source(&self) -> &D {
        &self.source
    }

    /// Reads the bytes of the view that begin at `offset` into the whole of `buffer`.
    ///
    /// Holes and padding are never read from the source. If nothing but those is asked for,
    /// `buffer` stays untouched.
    ///
    /// # Errors
    ///
    /// The source's error, or [`io::ErrorKind::UnexpectedEof`] if the range is not wholly
    /// inside of the view. The content of `buffer` is undefined then.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<Filled> {
        let range = ByteRange::of_read(offset, buffer.len(), self.layout.view_size())?;
        let mut filled = Filled::Zeros;
        self.for_each_run(range, |run| {
            let start = (run.range().start() - offset) as usize;
            let place = start..start + run.range().len() as usize;
            if let Run::Zeros(_) = run {
                // Before the first data, filling may turn out to be needless.
                if filled == Filled::Data {
                    buffer[place].fill(0);
                }
                return Ok(());
            }
            if filled == Filled::Zeros {
                buffer[..start].fill(0);
                filled = Filled::Data;
            }
            match run {
                Run::Bytes(_, bytes) => buffer[place].copy_from_slice(bytes),
                _ => self
                    .source
                    .read_exact_at(&mut buffer[place], run.range().start())?,
            }
            Ok(())
        })?;
        Ok(filled)
    }

    /// Hands every run of `range` to `visit`, in order and without gaps.
    ///
    /// # Errors
    ///
    /// The source's error, or the first that `visit` returns.
    pub(crate) fn for_each_run(
        &self,
        range: ByteRange,
        mut visit: impl FnMut(Run<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        for piece in self.layout.pieces(range) {
            match piece.origin {
                Origin::Zero => visit(Run::Zeros(piece.range))?,
                Origin::Bytes(bytes) => visit(Run::Bytes(piece.range.start(), bytes))?,
                Origin::Source => self.for_each_extent(piece.range, &mut visit)?,
            }
        }
        Ok(())
    }

    fn for_each_extent(
        &self,
        range: ByteRange,
        visit: &mut impl FnMut(Run<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut at = range.start();
        while at < range.end() {
            let rest = ByteRange::new(at, range.end());
            let data = match self.source.next_data(at)? {
                Some(data) => data.intersect(rest),
                None => ByteRange::new(rest.end(), rest.end()),
            };
            let hole = ByteRange::new(
                at,
                if data.is_empty() {
                    rest.end()
                } else {
                    data.start()
                },
            );
            if !hole.is_empty() {
                visit(Run::Zeros(hole))?;
            }
            if !data.is_empty() {
                visit(Run::Source(data))?;
            }
            at = hole.end().max(data.end());
        }
        Ok(())
    }

    /// Offset of the first byte at or behind `offset` that is not in a hole (`SEEK_DATA`).
    ///
    /// Padding is a hole, synthesized bytes are data. Returns `None` if only a hole follows or
    /// `offset` is not inside of the view, as in lseek(2) (`ENXIO`).
    ///
    /// # Errors
    ///
    /// The source's error.
    pub fn seek_data(&self, offset: u64) -> io::Result<Option<u64>> {
        for piece in self.pieces_from(offset) {
            let data = match piece.origin {
                Origin::Zero => None,
                Origin::Bytes(_) => Some(piece.range.start()),
                Origin::Source => self
                    .source
                    .next_data(piece.range.start())?
                    .map(|data| data.start())
                    .filter(|start| piece.range.contains(*start)),
            };
            if data.is_some() {
                return Ok(data);
            }
        }
        Ok(None)
    }

    /// Offset of the first byte at or behind `offset` that is in a hole (`SEEK_HOLE`), or the
    /// view's size: every file ends with a hole. Returns `None` if `offset` is not inside of the view.
    ///
    /// # Errors
    ///
    /// The source's error.
    pub fn seek_hole(&self, offset: u64) -> io::Result<Option<u64>> {
        for piece in self.pieces_from(offset) {
            let hole = match piece.origin {
                Origin::Zero => Some(piece.range.start()),
                Origin::Bytes(_) => None,
                Origin::Source => self.hole_within(piece.range)?,
            };
            if hole.is_some() {
                return Ok(hole);
            }
        }
        let size = self.layout.view_size();
        Ok((offset < size).then_some(size))
    }

    /// First byte of `range`, which the source holds, that is in a hole of the source.
    fn hole_within(&self, range: ByteRange) -> io::Result<Option<u64>> {
        let mut at = range.start();
        while at < range.end() {
            match self.source.next_data(at)? {
                Some(data) if data.start() == at => at = data.end(),
                _ => return Ok(Some(at)),
            }
        }
        Ok(None)
    }

    fn pieces_from(&self, offset: u64) -> impl Iterator<Item = Piece<'_>> {
        self.layout.pieces(ByteRange::new(offset, u64::MAX))
    }
}

impl<D: Disk> Disk for View<D> {
    fn size(&self) -> u64 {
        self.layout.view_size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read(buffer, offset)? == Filled::Zeros {
            buffer.fill(0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;
    use crate::footer::FOOTER_SIZE;
    use crate::layout::ALIGNMENT;
    use disk::Patch;

    /// Bytes with holes in units of `UNIT`, which remembers what was read of it.
    #[derive(Debug)]
    struct Model {
        bytes: Vec<u8>,
        reads: RefCell<Vec<ByteRange>>,
        fail_at: Option<u64>,
    }

    const UNIT: usize = 4096;
    /// Most units, bytes of a request, requests, and the first byte of a walk: few under Miri.
    const MOST: (usize, usize, usize, u64) = match cfg!(miri) {
        true => (4, 9_000, 4, ALIGNMENT - 9_000),
        false => (200, 300_000, 40, 0),
    };
    const FOOTER: [u8; FOOTER_SIZE] = [0xf0; FOOTER_SIZE];

    impl Model {
        fn new(units: &[u8], tail: usize) -> Self {
            let mut bytes: Vec<u8> = units.iter().flat_map(|&fill| [fill; UNIT]).collect();
            bytes.extend(std::iter::repeat_n(0xee, tail));
            Self {
                bytes,
                reads: RefCell::default(),
                fail_at: None,
            }
        }

        fn is_hole(&self, at: usize) -> bool {
            self.bytes[at / UNIT * UNIT] == 0
        }
    }

    impl Disk for Model {
        fn size(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            let range = ByteRange::at(offset, buffer.len() as u64);
            self.reads.borrow_mut().push(range);
            if self.fail_at.is_some_and(|at| range.contains(at)) {
                return Err(io::Error::from_raw_os_error(5));
            }
            self.bytes.as_slice().read_exact_at(buffer, offset)
        }

        fn next_data(&self, offset: u64) -> io::Result<Option<ByteRange>> {
            let len = self.bytes.len();
            let Some(start) = (offset as usize..len).find(|&at| !self.is_hole(at)) else {
                return Ok(None);
            };
            let end = (start..len).find(|&at| self.is_hole(at)).unwrap_or(len);
            Ok(Some(ByteRange::new(start as u64, end as u64)))
        }
    }

    /// The whole view as plain bytes, made without the code under test.
    fn expected(model: &Model, patches: &[Patch]) -> Vec<u8> {
        let length = model.bytes.len();
        let mut view = vec![0; length.next_multiple_of(ALIGNMENT as usize)];
        view[..length].copy_from_slice(&model.bytes);
        for patch in patches {
            let at = patch.offset as usize;
            view[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
        }
        view.extend(FOOTER);
        view
    }

    fn view(model: Model, patches: Vec<Patch>) -> View<Model> {
        let layout = Layout::fixed_vhd(model.size(), FOOTER, patches).unwrap();
        View::new(layout, model)
    }

    fn patches() -> impl Strategy<Value = Vec<Patch>> {
        let head = (0_u64..3, any::<u8>()).prop_map(|(sectors, fill)| Patch {
            offset: 0,
            bytes: vec![fill; sectors as usize * 512],
        });
        let end = (1_u64..40, any::<u8>()).prop_map(|(sectors, fill)| Patch {
            offset: ALIGNMENT - sectors * 512,
            bytes: vec![fill; 512],
        });
        proptest::option::of((head, end))
            .prop_map(|pair| pair.map_or(vec![], |(head, end)| vec![head, end]))
    }

    proptest! {
        #[test]
        fn reads_equal_the_model(
            units in proptest::collection::vec(0_u8..3, 1..MOST.0),
            tail in 0_usize..600,
            patches in patches(),
            requests in proptest::collection::vec((any::<prop::sample::Index>(), 0..MOST.1), 1..MOST.2),
        ) {
            let model = Model::new(&units, tail);
            let want = expected(&model, &patches);
            let view = view(model, patches);
            prop_assert_eq!(view.size(), want.len() as u64);
            for (start, length) in requests {
                let start = start.index(want.len());
                let end = (start + length).min(want.len());
                let mut got = vec![0xaa; end - start];
                view.read_exact_at(&mut got, start as u64).unwrap();
                prop_assert!(got == want[start..end], "{start}..{end}");
            }
            for read in view.source().reads.borrow().iter() {
                for at in [read.start(), read.end() - 1] {
                    prop_assert!(!view.source().is_hole(at as usize), "a hole was read at {at}");
                }
            }
        }

        #[test]
        fn seeks_agree_with_a_walk_over_every_byte(
            units in proptest::collection::vec(0_u8..3, 1..20),
            tail in 0_usize..600,
            offset in MOST.3..(ALIGNMENT + 1000),
        ) {
            let view = view(Model::new(&units, tail), vec![]);
            let size = view.size();
            let is_data = |at: u64| {
                at >= ALIGNMENT || (at < view.source().size() && !view.source().is_hole(at as usize))
            };
            let data = (offset..size).find(|&at| is_data(at));
            let hole = (offset < size).then(|| (offset..size).find(|&at| !is_data(at)).unwrap_or(size));
            prop_assert_eq!(view.seek_data(offset).unwrap(), data);
            prop_assert_eq!(view.seek_hole(offset).unwrap(), hole);
        }
    }

    #[test]
    fn reads_beyond_the_end_are_errors_and_never_short() {
        let view = view(Model::new(&[1], 1), vec![]);
        for (offset, length) in [(ALIGNMENT, 513), (ALIGNMENT + 512, 1), (u64::MAX, 2)] {
            let error = view.read(&mut vec![0; length], offset).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        assert_eq!(view.read(&mut [], ALIGNMENT + 512).unwrap(), Filled::Zeros);
    }

    #[test]
    fn an_error_of_the_source_passes_and_spares_the_rest() {
        let mut model = Model::new(&[1, 1, 1], 0);
        model.fail_at = Some(5000);
        let view = view(model, vec![]);
        let errno = |offset, length| {
            let mut buffer = vec![0; length];
            view.read(&mut buffer, offset)
                .map_err(|error| error.raw_os_error())
        };
        assert_eq!(errno(4999, 2), Err(Some(5)));
        assert_eq!(errno(5001, 100), Ok(Filled::Data));
        assert_eq!(errno(3 * 4096, 100), Ok(Filled::Zeros));
        assert_eq!(errno(ALIGNMENT, 512), Ok(Filled::Data));
    }
}
