//! What stands where in a view: an ordered list of regions without gaps.
//!
//! Pure: sizes in, regions out. Reading, seeking holes and writing a snapshot's tail are all loops
//! over the same list.

use std::sync::Arc;

use thiserror::Error;

use crate::footer::FOOTER_SIZE;
use crate::size::MAX_FILE_SIZE;

pub use crate::size::{ALIGNMENT, MAX_VIRTUAL_SIZE, virtual_size};
use disk::{ByteRange, Patch};

/// Why there is no view of a source.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum LayoutError {
    /// The source holds no byte.
    #[error("it is empty")]
    Empty,
    /// The view would be larger than a file can be.
    #[error("its {0} bytes leave no room for a footer in the largest file size")]
    TooLarge(u64),
    /// The disk cannot be shown with this virtual size: it is larger, or the size is no whole MiB.
    #[error("a virtual size of {0} bytes does not fit the disk")]
    VirtualSize(u64),
    /// A replaced piece is not wholly inside the virtual disk, or not behind the piece before.
    #[error("the replaced bytes {0} are outside of the disk or overlap others")]
    Patch(ByteRange),
}

/// Where the bytes of a region come from.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Content {
    /// The source, at the same offset.
    Source,
    /// Nowhere: all of them are zero.
    Zero,
    /// These bytes: the footer, or pieces of a relocated partition table.
    Bytes(Arc<[u8]>),
}

/// A part of a view with one origin.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Region {
    range: ByteRange,
    content: Content,
}

/// The part of a region that a request touches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Piece<'a> {
    /// Its place in the view.
    pub range: ByteRange,
    /// Its origin.
    pub origin: Origin<'a>,
}

/// Where the bytes of a piece come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin<'a> {
    /// The source, at the same offset.
    Source,
    /// All of them are zero.
    Zero,
    /// Exactly these bytes.
    Bytes(&'a [u8]),
}

/// The regions of one view, in order and without gaps from 0 to its size.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layout {
    regions: Vec<Region>,
    virtual_size: u64,
    source_size: u64,
}

impl Layout {
    /// The view of a raw source: its body with `patches` laid over it, padding, footer.
    ///
    /// # Errors
    ///
    /// If the source is empty or too large, or `patches` are not sorted, disjoint and inside
    /// the virtual disk.
    pub fn fixed_vhd(
        source_size: u64,
        footer: [u8; FOOTER_SIZE],
        patches: Vec<Patch>,
    ) -> Result<Self, LayoutError> {
        let virtual_size = Self::checked_virtual_size(source_size)?;
        Self::grown_vhd(source_size, virtual_size, footer, patches)
    }

    /// The view of a disk of `source_size` bytes as one of `virtual_size` bytes, a whole MiB: its
    /// body with `patches` laid over it, zeros, footer.
    ///
    /// # Errors
    ///
    /// As for [`Layout::fixed_vhd`], and if `virtual_size` is below the disk's size or no whole
    /// MiB.
    pub fn grown_vhd(
        source_size: u64,
        virtual_size: u64,
        footer: [u8; FOOTER_SIZE],
        patches: Vec<Patch>,
    ) -> Result<Self, LayoutError> {
        if virtual_size < Self::checked_virtual_size(source_size)?
            || virtual_size > MAX_VIRTUAL_SIZE
            || !virtual_size.is_multiple_of(ALIGNMENT)
        {
            return Err(LayoutError::VirtualSize(virtual_size));
        }
        let mut layout = Self {
            regions: Vec::with_capacity(3 + 2 * patches.len()),
            virtual_size,
            source_size,
        };
        for patch in patches {
            let range = ByteRange::at(patch.offset, patch.bytes.len() as u64);
            if range.start() < layout.end() || range.end() > virtual_size {
                return Err(LayoutError::Patch(range));
            }
            layout.fill_up_to(range.start(), source_size);
            layout.push(range, Content::Bytes(patch.bytes.into()));
        }
        layout.fill_up_to(virtual_size, source_size);
        let footer_range = ByteRange::at(virtual_size, FOOTER_SIZE as u64);
        layout.push(footer_range, Content::Bytes(footer.as_slice().into()));
        Ok(layout)
    }

    /// The view of a file that already is a fixed VHD of `file_size` bytes: the file as it is.
    ///
    /// # Errors
    ///
    /// If the file is too short to hold a footer.
    pub fn verbatim(file_size: u64) -> Result<Self, LayoutError> {
        let virtual_size = file_size
            .checked_sub(FOOTER_SIZE as u64)
            .ok_or(LayoutError::Empty)?;
        let mut layout = Self {
            regions: Vec::with_capacity(1),
            virtual_size,
            source_size: file_size,
        };
        layout.push(ByteRange::new(0, file_size), Content::Source);
        Ok(layout)
    }

    /// Virtual size in bytes of the view of a raw source of `source_size` bytes.
    ///
    /// # Errors
    ///
    /// If the source is empty, or too large to have a view.
    pub fn checked_virtual_size(source_size: u64) -> Result<u64, LayoutError> {
        if source_size == 0 {
            return Err(LayoutError::Empty);
        }
        virtual_size(source_size)
            .filter(|size| *size <= MAX_FILE_SIZE - FOOTER_SIZE as u64)
            .ok_or(LayoutError::TooLarge(source_size))
    }

    /// Size of the disk in bytes, without the footer.
    pub fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    /// Size in bytes of what the source holds of the view, from its beginning on.
    pub fn source_size(&self) -> u64 {
        self.source_size
    }

    /// Size of the whole view in bytes, with the footer.
    pub fn view_size(&self) -> u64 {
        self.end()
    }

    /// The pieces of the regions that `range` touches, in order; nothing beyond the view's end.
    pub fn pieces(&self, range: ByteRange) -> impl Iterator<Item = Piece<'_>> {
        let first = self
            .regions
            .partition_point(|region| region.range.end() <= range.start());
        self.regions[first..]
            .iter()
            .map(move |region| region.piece(range))
            .take_while(|piece| !piece.range.is_empty())
    }

    fn end(&self) -> u64 {
        self.regions.last().map_or(0, |region| region.range.end())
    }

    /// Body, then padding, from the end of the last region up to `end`.
    fn fill_up_to(&mut self, end: u64, source_size: u64) {
        self.push(
            ByteRange::new(self.end(), end.min(source_size)),
            Content::Source,
        );
        self.push(ByteRange::new(self.end(), end), Content::Zero);
    }

    fn push(&mut self, range: ByteRange, content: Content) {
        if !range.is_empty() {
            self.regions.push(Region { range, content });
        }
    }
}

impl Region {
    fn piece(&self, within: ByteRange) -> Piece<'_> {
        let range = self.range.intersect(within);
        let origin = match &self.content {
            Content::Source => Origin::Source,
            Content::Zero => Origin::Zero,
            Content::Bytes(bytes) => {
                // In bounds: `range` lies inside of the region, whose length is that of `bytes`.
                let start = (range.start() - self.range.start()) as usize;
                Origin::Bytes(&bytes[start..start + range.len() as usize])
            }
        };
        Piece { range, origin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOOTER: [u8; FOOTER_SIZE] = [7; FOOTER_SIZE];
    const MIB: u64 = ALIGNMENT;

    fn ranges(layout: &Layout) -> Vec<(u64, u64, char)> {
        layout
            .regions
            .iter()
            .map(|region| {
                let kind = match region.content {
                    Content::Source => 's',
                    Content::Zero => 'z',
                    Content::Bytes(_) => 'b',
                };
                (region.range.start(), region.range.end(), kind)
            })
            .collect()
    }

    #[test]
    fn an_aligned_source_gets_no_padding() {
        let layout = Layout::fixed_vhd(2 * MIB, FOOTER, vec![]).unwrap();
        assert_eq!(layout.virtual_size(), 2 * MIB);
        let end = 2 * MIB + 512;
        assert_eq!(ranges(&layout), [(0, 2 * MIB, 's'), (2 * MIB, end, 'b')]);
    }

    #[test]
    fn an_unaligned_source_is_padded_to_a_whole_mib() {
        let layout = Layout::fixed_vhd(MIB + 1, FOOTER, vec![]).unwrap();
        assert_eq!(
            ranges(&layout),
            [
                (0, MIB + 1, 's'),
                (MIB + 1, 2 * MIB, 'z'),
                (2 * MIB, 2 * MIB + 512, 'b')
            ]
        );
        assert_eq!(layout.view_size(), 2 * MIB + 512);
    }

    #[test]
    fn patches_replace_body_and_padding() {
        let patch = |offset, length| Patch {
            offset,
            bytes: vec![1; length],
        };
        let patches = vec![
            patch(0, 1024),
            patch(MIB - 512, 512),
            patch(2 * MIB - 512, 512),
        ];
        let layout = Layout::fixed_vhd(MIB + 100, FOOTER, patches).unwrap();
        assert_eq!(
            ranges(&layout),
            [
                (0, 1024, 'b'),
                (1024, MIB - 512, 's'),
                (MIB - 512, MIB, 'b'),
                (MIB, MIB + 100, 's'),
                (MIB + 100, 2 * MIB - 512, 'z'),
                (2 * MIB - 512, 2 * MIB, 'b'),
                (2 * MIB, 2 * MIB + 512, 'b'),
            ]
        );
        for wrong in [
            vec![patch(2 * MIB - 511, 512)],
            vec![patch(512, 512), patch(1000, 8)],
            vec![patch(u64::MAX, 1)],
        ] {
            let refused = Layout::fixed_vhd(MIB + 100, FOOTER, wrong);
            assert!(matches!(refused, Err(LayoutError::Patch(_))));
        }
    }

    #[test]
    fn sizes_without_a_view_are_refused() {
        let refusal = |size| Layout::fixed_vhd(size, FOOTER, vec![]).unwrap_err();
        assert_eq!(refusal(0), LayoutError::Empty);
        for size in [u64::MAX, MAX_FILE_SIZE, MAX_FILE_SIZE - 512] {
            assert_eq!(refusal(size), LayoutError::TooLarge(size));
        }
        assert!(Layout::fixed_vhd(MAX_FILE_SIZE - 2 * MIB, FOOTER, vec![]).is_ok());
        assert_eq!(Layout::verbatim(511), Err(LayoutError::Empty));
    }

    #[test]
    fn a_disk_grows_by_zeros_and_never_shrinks() {
        let layout = Layout::grown_vhd(MIB + 1, 5 * MIB, FOOTER, vec![]).unwrap();
        let end = 5 * MIB + 512;
        assert_eq!(
            ranges(&layout),
            [
                (0, MIB + 1, 's'),
                (MIB + 1, 5 * MIB, 'z'),
                (5 * MIB, end, 'b')
            ]
        );
        assert_eq!((layout.source_size(), layout.view_size()), (MIB + 1, end));
        for wrong in [0, MIB, 2 * MIB + 512, MAX_VIRTUAL_SIZE + MIB, u64::MAX] {
            let refused = Layout::grown_vhd(MIB + 1, wrong, FOOTER, vec![]);
            assert_eq!(refused, Err(LayoutError::VirtualSize(wrong)), "{wrong}");
        }
        assert!(Layout::grown_vhd(1, MAX_VIRTUAL_SIZE, FOOTER, vec![]).is_ok());
    }

    #[test]
    fn pieces_are_clipped_to_the_request() {
        let layout = Layout::fixed_vhd(10, FOOTER, vec![]).unwrap();
        let pieces: Vec<_> = layout.pieces(ByteRange::new(8, 12)).collect();
        assert_eq!(pieces[0].range, ByteRange::new(8, 10));
        assert_eq!(pieces[1].range, ByteRange::new(10, 12));
        assert_eq!(pieces.len(), 2);
        let tail: Vec<_> = layout.pieces(ByteRange::new(MIB + 500, u64::MAX)).collect();
        assert_eq!(tail[0].origin, Origin::Bytes(&[7; 12]));
        assert_eq!(
            layout.pieces(ByteRange::new(MIB + 512, u64::MAX)).count(),
            0
        );
        assert_eq!(layout.pieces(ByteRange::new(5, 5)).count(), 0);
    }
}
