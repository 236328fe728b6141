//! What the tests of formats that divide a disk into blocks share: disks, and what must hold of every image of them.

use proptest::prelude::*;
use proptest::sample::Index;

use super::testing::{ALL, Folder, check_runs, open, read_all};
use super::{Container, Damage};
use crate::{ByteRange, Disk};

/// Bytes that compress, differ from place to place and are never zero.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.rotate_left(13).wrapping_mul(0x2545_f491_4f6c_dd1d) | 1;
        (state >> 32) as u8 | 1
    };
    let mut bytes: Vec<u8> = (0..length.min(512)).map(|_| next()).collect();
    while bytes.len() < length {
        // Sectors that differ at their beginnings.
        let start = bytes.len();
        bytes.extend_from_within(..bytes.len().min(512).min(length - start));
        for byte in bytes[start..].iter_mut().take(8) {
            *byte = next();
        }
    }
    bytes
}

/// The blocks of a disk: `None` if they are zeros that no file holds. The last one may be cut to the disk's end.
pub(crate) type Blocks = Vec<Option<Vec<u8>>>;

/// Up to `count` blocks of `size` bytes, together with an order in which to write them.
pub(crate) fn blocks(size: usize, count: usize) -> impl Strategy<Value = (Blocks, Vec<usize>)> {
    let block = proptest::option::weighted(0.6, any::<u64>());
    proptest::collection::vec(block, 1..=count).prop_flat_map(move |seeds| {
        let blocks: Blocks = seeds
            .into_iter()
            .map(|seed| seed.map(|seed| bytes(seed, size)))
            .collect();
        let order: Vec<_> = (0..blocks.len()).collect();
        (Just(blocks), Just(order).prop_shuffle())
    })
}

/// The disk of `size` bytes that consists of these blocks.
pub(crate) fn disk(blocks: &Blocks, block_size: usize, size: u64) -> Vec<u8> {
    let zeros = vec![0; block_size];
    let mut disk: Vec<u8> = blocks
        .iter()
        .flat_map(|block| block.as_ref().unwrap_or(&zeros))
        .copied()
        .collect();
    disk.truncate(size as usize);
    disk
}

/// A part of an image's file, and the part of the disk that depends on it and on nothing else.
pub(crate) type Claim = (ByteRange, ByteRange);

/// An image as a writer of a test made it.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// The file.
    pub(crate) file: Vec<u8>,
    /// The entries and data of all blocks. On what no claim names, all of the disk may depend.
    pub(crate) claims: Vec<Claim>,
}

/// Checks that the first file of `folder` holds the disk `want`, also where parts of it are read.
pub(crate) fn check(folder: Folder<'_>, want: &[u8], requests: &[(Index, Index)]) {
    let disk = open(folder, ALL).unwrap();
    assert_eq!(disk.size(), want.len() as u64);
    for (start, end) in requests {
        let (start, end) = (start.index(want.len() + 1), end.index(want.len() + 1));
        let range = start.min(end)..start.max(end);
        let mut found = vec![0xa5; range.len()];
        disk.read_exact_at(&mut found, range.start as u64).unwrap();
        assert!(found == want[range.clone()], "wrong bytes in {range:?}");
    }
    assert!(read_all(&disk) == want);
    check_runs(&disk, want);
}

/// Where to read from.
pub(crate) fn requests() -> impl Strategy<Value = Vec<(Index, Index)>> {
    proptest::collection::vec((any::<Index>(), any::<Index>()), 1..10)
}

/// How much of a disk is read at once, in bytes.
const STEP: usize = 4096;

/// Changes a byte of a file of `folder`, and checks that what is delivered without an error is right unless it depends on
/// that byte.
pub(crate) fn check_flip(name: &str, written: &Written, want: &[u8], at: Index, flip: u8) {
    let mut file = written.file.clone();
    let at = at.index(file.len());
    file[at] ^= flip;
    let claims = written.claims.iter();
    let mut touched = claims
        .filter(|(file, _)| file.contains(at as u64))
        .map(|(_, disk)| *disk)
        .peekable();
    let anywhere = touched.peek().is_none();
    let touched: Vec<_> = touched.collect();
    let disk = match open(&[(name, file)], ALL) {
        Ok(disk) => disk,
        Err(error) if anywhere => return drop(error.to_string()),
        Err(error) => panic!("a block at {at} keeps the image from being opened: {error}"),
    };
    if anywhere {
        return survives(&disk);
    }
    assert_eq!(disk.size(), want.len() as u64);
    let mut sector = [0; STEP];
    for start in (0..want.len()).step_by(STEP) {
        let range =
            ByteRange::at(start as u64, STEP as u64).intersect(ByteRange::new(0, disk.size()));
        let part = &mut sector[..range.len() as usize];
        let depends = touched.iter().any(|disk| !disk.intersect(range).is_empty());
        match disk.read_exact_at(part, range.start()) {
            Ok(()) if depends => {}
            Ok(()) => assert!(*part == want[start..start + part.len()], "{range} is wrong"),
            Err(error) => assert!(depends && Damage::of(&error).is_some(), "{range}: {error}"),
        }
    }
}

/// Reads all over a disk that may be damaged in any way.
pub(crate) fn survives(disk: &Container) {
    let mut sector = [0; STEP];
    let mut at = 0;
    for _ in 0..500 {
        for start in [at, disk.size().saturating_sub(at + 512)] {
            let rest = disk.size().saturating_sub(start).min(512) as usize;
            let _ = disk.read_exact_at(&mut sector[..rest], start);
        }
        at += 4096;
    }
    let mut at = 0;
    for _ in 0..500 {
        match disk.next_data(at) {
            Ok(Some(data)) => at = data.end(),
            Ok(None) | Err(_) => break,
        }
    }
    let _ = disk.runs(ByteRange::new(0, u64::MAX)).take(500).count();
}

/// Checks that nothing of a file that is cut off at `end` is delivered as zeros: each sector is right, or damage.
pub(crate) fn check_cut(name: &str, written: &Written, want: &[u8], end: Index) {
    let end = end.index(written.file.len());
    let file = written.file[..end].to_vec();
    let Ok(disk) = open(&[(name, file)], ALL) else {
        return;
    };
    if disk.details().format.name() == "raw" {
        return;
    }
    assert_eq!(disk.size(), want.len() as u64);
    let mut sector = [0; STEP];
    for start in (0..want.len()).step_by(STEP) {
        let part = &mut sector[..(want.len() - start).min(STEP)];
        match disk.read_exact_at(part, start as u64) {
            Ok(()) => assert!(*part == want[start..start + part.len()], "{start} is wrong"),
            Err(error) => assert!(Damage::of(&error).is_some(), "{start}: {error}"),
        }
    }
}
