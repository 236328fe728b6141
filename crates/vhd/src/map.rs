//! Which ranges of a view hold data, in whole sectors: what an uploader has to send.

use std::io;

use crate::footer::SECTOR_SIZE;
use crate::view::{Run, View};
use disk::{ByteRange, Disk};

/// A range of a view, in whole sectors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MapRange {
    /// Its place in the view.
    pub range: ByteRange,
    /// Whether all of its bytes are known to be zero.
    pub zero: bool,
}

/// Makes sectors of runs, and one range of neighbours of the same kind.
///
/// A sector in which data begins or ends is data.
#[derive(Debug)]
struct Merger<F> {
    size: u64,
    open: Option<MapRange>,
    visit: F,
}

impl<F: FnMut(MapRange) -> io::Result<()>> Merger<F> {
    /// Hands the ranges of a view of `size` bytes, a multiple of the sector size, to `visit`.
    fn new(size: u64, visit: F) -> Self {
        Self {
            size,
            open: None,
            visit,
        }
    }

    /// Takes the next run; runs come in order and without gaps.
    ///
    /// # Errors
    ///
    /// What `visit` returns.
    fn push(&mut self, range: ByteRange, zero: bool) -> io::Result<()> {
        let at = self.open.map_or(0, |open| open.range.end());
        // Data takes the sectors that it touches, zeros have those that nothing else takes: what is
        // before the start of this run was taken, or waits for its sector to become whole.
        let end = match zero {
            true => range.end() / SECTOR_SIZE * SECTOR_SIZE,
            false => range.end().next_multiple_of(SECTOR_SIZE).min(self.size),
        };
        match range.is_empty() || end <= at {
            true => Ok(()),
            false => self.add(ByteRange::new(at, end), zero),
        }
    }

    /// Hands the last range over.
    ///
    /// # Errors
    ///
    /// What `visit` returns.
    fn finish(mut self) -> io::Result<()> {
        let at = self.open.map_or(0, |open| open.range.end());
        if at < self.size {
            self.add(ByteRange::new(at, self.size), true)?;
        }
        match self.open {
            Some(open) => (self.visit)(open),
            None => Ok(()),
        }
    }

    fn add(&mut self, range: ByteRange, zero: bool) -> io::Result<()> {
        match &mut self.open {
            Some(open) if open.zero == zero => {
                open.range = ByteRange::new(open.range.start(), range.end());
                Ok(())
            }
            open => {
                let done = open.replace(MapRange { range, zero });
                done.map_or(Ok(()), &mut self.visit)
            }
        }
    }
}

/// Hands the ranges of `view` to `visit`, merged, in order and without gaps, as the disk below it
/// reports them: no data is read.
///
/// # Errors
///
/// The disk's own, or the first that `visit` returns.
pub fn map<D: Disk>(
    view: &View<D>,
    visit: impl FnMut(MapRange) -> io::Result<()>,
) -> io::Result<()> {
    let size = view.layout().view_size();
    let mut merger = Merger::new(size, visit);
    view.for_each_run(ByteRange::new(0, size), |run| {
        merger.push(run.range(), matches!(run, Run::Zeros(_)))
    })?;
    merger.finish()
}

/// As [`map`], with all data read: blocks of `granularity` bytes that hold zeros only are zeros,
/// however the disk stores them.
///
/// `granularity` is a multiple of the sector size, and blocks begin at its multiples. `check` is
/// called after each read and before what was read counts.
///
/// # Errors
///
/// As for [`map`], and what `check` returns.
pub fn probe<D: Disk>(
    view: &View<D>,
    granularity: u64,
    mut check: impl FnMut(u64) -> io::Result<()>,
    visit: impl FnMut(MapRange) -> io::Result<()>,
) -> io::Result<()> {
    let size = view.layout().view_size();
    let chunk = (CHUNK_SIZE / granularity)
        .max(1)
        .saturating_mul(granularity);
    let mut buffer = vec![0; usize::try_from(chunk.min(size)).unwrap_or(usize::MAX)];
    let mut merger = Merger::new(size, visit);
    let mut found = Vec::new();
    map(view, |part| {
        if part.zero {
            return merger.push(part.range, true);
        }
        let mut at = part.range.start();
        while at < part.range.end() {
            let end = (at / chunk + 1).saturating_mul(chunk).min(part.range.end());
            let bytes = &mut buffer[..(end - at) as usize];
            view.read_exact_at(bytes, at)?;
            zeros_in(bytes, at, granularity, &mut found);
            check(bytes.len() as u64)?;
            for part in found.drain(..) {
                merger.push(part.range, part.zero)?;
            }
            at = end;
        }
        Ok(())
    })?;
    merger.finish()
}

/// Bytes that are read at once.
const CHUNK_SIZE: u64 = 1 << 20;

/// Which blocks of `bytes`, which stand at `offset`, hold zeros only.
fn zeros_in(bytes: &[u8], offset: u64, granularity: u64, found: &mut Vec<MapRange>) {
    let end = offset + bytes.len() as u64;
    let mut at = offset;
    while at < end {
        let block_end = (at / granularity + 1).saturating_mul(granularity).min(end);
        // In bounds: both lie between `offset` and `end`.
        let block = &bytes[(at - offset) as usize..(block_end - offset) as usize];
        found.push(MapRange {
            range: ByteRange::new(at, block_end),
            zero: is_zero(block),
        });
        at = block_end;
    }
}

/// Whether all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; 4096] = [0; 4096];
    // Comparing is what the standard library does fastest.
    bytes
        .chunks(ZEROS.len())
        .all(|chunk| *chunk == ZEROS[..chunk.len()])
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;
    use crate::footer::FOOTER_SIZE;
    use crate::layout::{ALIGNMENT, Layout};

    /// Bytes with holes of any length.
    struct Model {
        bytes: Vec<u8>,
        data: Vec<ByteRange>,
        reads: RefCell<u64>,
    }

    impl Model {
        /// From the lengths of holes and runs in turn; a run may hold zeros.
        fn new(runs: &[(u16, u16, u8)]) -> Self {
            let (mut bytes, mut data) = (Vec::new(), Vec::new());
            for &(hole, run, fill) in runs {
                bytes.resize(bytes.len() + usize::from(hole), 0);
                data.push(ByteRange::at(bytes.len() as u64, u64::from(run)));
                bytes.resize(bytes.len() + usize::from(run), fill);
            }
            bytes.push(0);
            data.retain(|range| !range.is_empty());
            let reads = RefCell::new(0);
            Self { bytes, data, reads }
        }

        fn view(self) -> View<Self> {
            let layout = Layout::fixed_vhd(self.size(), [7; FOOTER_SIZE], vec![]).unwrap();
            View::new(layout, self)
        }
    }

    impl Disk for Model {
        fn size(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            *self.reads.borrow_mut() += 1;
            self.bytes.as_slice().read_exact_at(buffer, offset)
        }

        fn next_data(&self, offset: u64) -> io::Result<Option<ByteRange>> {
            let rest = ByteRange::new(offset, u64::MAX);
            let data = self.data.iter().map(|data| data.intersect(rest));
            Ok(data.into_iter().find(|data| !data.is_empty()))
        }
    }

    fn collect(walk: impl FnOnce(&mut dyn FnMut(MapRange) -> io::Result<()>)) -> Vec<MapRange> {
        let mut found = Vec::new();
        walk(&mut |range| {
            found.push(range);
            Ok(())
        });
        found
    }

    /// What must hold of every map: sectors, in order, no gaps, no two alike side by side.
    fn assert_form(found: &[MapRange], size: u64) {
        let mut at = 0;
        for (index, part) in found.iter().enumerate() {
            assert_eq!(part.range.start(), at);
            assert!(!part.range.is_empty() && part.range.end().is_multiple_of(SECTOR_SIZE));
            assert!(index == 0 || found[index - 1].zero != part.zero);
            at = part.range.end();
        }
        assert_eq!(at, size);
    }

    proptest! {
        #[test]
        fn sectors_are_zero_where_all_their_bytes_are_in_holes(
            runs in proptest::collection::vec((0_u16..3000, 0_u16..3000, 0_u8..3), 1..40),
            granularity in 1_u64..9,
        ) {
            let view = Model::new(&runs).view();
            let size = view.size();
            let mapped = collect(|visit| map(&view, visit).unwrap());
            prop_assert_eq!(*view.source().reads.borrow(), 0);
            assert_form(&mapped, size);
            let touched = |sector: u64| {
                let sector = ByteRange::at(sector, SECTOR_SIZE);
                sector.start() >= size - 512
                    || view.source().data.iter().any(|data| !data.intersect(sector).is_empty())
            };
            for part in &mapped {
                for sector in (part.range.start()..part.range.end()).step_by(512) {
                    prop_assert_eq!(!touched(sector), part.zero, "sector at {}", sector);
                }
            }
            let granularity = granularity * SECTOR_SIZE;
            let probed = collect(|visit| probe(&view, granularity, |_| Ok(()), visit).unwrap());
            assert_form(&probed, size);
            for part in &probed {
                let mut bytes = vec![0; part.range.len() as usize];
                view.read_exact_at(&mut bytes, part.range.start()).unwrap();
                if part.zero {
                    prop_assert!(is_zero(&bytes));
                }
            }
            // Nothing becomes data by looking, and no aligned block of zeros stays data.
            let is_data = |at: u64| !probed.iter().any(|part| part.zero && part.range.contains(at));
            for part in mapped.iter().filter(|part| part.zero) {
                for at in (part.range.start()..part.range.end()).step_by(512) {
                    prop_assert!(!is_data(at));
                }
            }
            for at in (0..size - granularity).step_by(granularity as usize) {
                let mut block = vec![0; granularity as usize];
                view.read_exact_at(&mut block, at).unwrap();
                prop_assert!(!is_zero(&block) || !is_data(at), "the block of zeros at {at}");
            }
        }
    }

    #[test]
    fn an_empty_disk_is_one_hole_and_a_footer() {
        let view = Model::new(&[(3000, 0, 0)]).view();
        let found = collect(|visit| map(&view, visit).unwrap());
        let zeros = ByteRange::new(0, ALIGNMENT);
        let footer = ByteRange::at(ALIGNMENT, 512);
        assert_eq!(
            found,
            [
                MapRange {
                    range: zeros,
                    zero: true
                },
                MapRange {
                    range: footer,
                    zero: false
                }
            ]
        );
    }

    #[test]
    fn the_first_error_ends_it() {
        let view = Model::new(&[(0, 600, 1)]).view();
        let fail = |_| Err(io::Error::from_raw_os_error(116));
        assert_eq!(map(&view, fail).unwrap_err().raw_os_error(), Some(116));
        let stale = |_| Err(io::Error::from_raw_os_error(116));
        let error = probe(&view, 4096, stale, |_| Ok(())).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(116));
    }
}
