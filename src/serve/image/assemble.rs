//! Clones that are put together by ranges: the allocated runs of a container, each cloned to the
//! place that it has in the disk.
//!
//! A range can be cloned if its offset in the file and its offset in the disk differ by whole
//! blocks of the file system (ioctl_ficlonerange(2)). What cannot is copied, as long as that is
//! little.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use disk::format::{Container, Origin, Run};
use disk::{ByteRange, Disk};
use thiserror::Error;

/// Number of runs up to which putting a clone together takes no noticeable time: some 10 ms.
const CHEAP_RUNS: usize = 500;

/// Most bytes that are copied into a clone.
const MOST_COPIED: u64 = 16 << 20;

/// Most bytes that are copied at a time.
const COPY_AT_ONCE: u64 = 1 << 20;

/// Number of allocation units of an image up to which looking at all of its tables takes no
/// noticeable time: 64 GiB in clusters of 64 KiB.
const CHEAP_UNITS: u64 = 1 << 20;

/// Why a clone of an image is not put together.
#[derive(Debug, Error)]
pub enum AssembleError {
    /// Looking at all of its tables would take long.
    #[error("its tables are large")]
    Units,
    /// It would take long.
    #[error("it lies in more than {CHEAP_RUNS} runs")]
    Runs,
    /// Too much would have to be copied.
    #[error(
        "more than {limit} MiB of it are compressed, or lie at offsets that are not aligned to blocks of {0} bytes",
        limit = MOST_COPIED >> 20
    )]
    Copied(u64),
    /// Its tables, or what has to be copied of it, cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The file system does not clone ranges of its files, or has no room.
    #[error("its ranges cannot be cloned: {0}")]
    Clone(#[source] io::Error),
}

/// A range of a file and its place in the disk, in whole blocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Cloned {
    file: usize,
    offset: u64,
    range: ByteRange,
}

/// How a clone is put together.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Plan {
    cloned: Vec<Cloned>,
    copied: Vec<ByteRange>,
}

impl Plan {
    /// Plans a clone of the disk in a container.
    pub(super) fn of(
        container: &Container,
        block: u64,
        only_cheap: bool,
    ) -> Result<Self, AssembleError> {
        let unit = container.details().block_size.unwrap_or(block).max(1);
        if only_cheap && container.size() / unit > CHEAP_UNITS {
            return Err(AssembleError::Units);
        }
        let all = ByteRange::new(0, container.size());
        Self::new(container.runs(all), block, only_cheap)
    }

    /// Plans a clone of the disk that `runs` describe, on a file system with blocks of `block` bytes;
    /// `only_cheap` if it may not take long.
    fn new(
        runs: impl Iterator<Item = io::Result<Run>>,
        block: u64,
        only_cheap: bool,
    ) -> Result<Self, AssembleError> {
        let mut plan = Self::default();
        let mut bytes = 0_u64;
        for run in runs {
            let Run { range, origin } = run.map_err(AssembleError::Read)?;
            let copied = match origin {
                Origin::Zeros => continue,
                Origin::File { file, offset } => plan.clone_blocks(file, offset, range, block),
                Origin::Decoded => [range, ByteRange::at(range.end(), 0)],
            };
            for range in copied.into_iter().filter(|range| !range.is_empty()) {
                bytes = bytes.saturating_add(range.len());
                plan.copied.push(range);
            }
            if bytes > MOST_COPIED {
                return Err(AssembleError::Copied(block));
            }
            if only_cheap && plan.cloned.len() + plan.copied.len() > CHEAP_RUNS {
                return Err(AssembleError::Runs);
            }
        }
        Ok(plan)
    }

    /// Clones the whole blocks of a run; returns what is left before and behind them.
    fn clone_blocks(
        &mut self,
        file: usize,
        offset: u64,
        range: ByteRange,
        block: u64,
    ) -> [ByteRange; 2] {
        let nothing = ByteRange::at(range.end(), 0);
        if offset % block != range.start() % block {
            return [range, nothing];
        }
        let (Some(start), end) = (
            range.start().checked_next_multiple_of(block),
            range.end() - range.end() % block,
        ) else {
            return [range, nothing];
        };
        if start >= end {
            return [range, nothing];
        }
        self.cloned.push(Cloned {
            file,
            offset: offset + (start - range.start()),
            range: ByteRange::new(start, end),
        });
        [
            ByteRange::new(range.start(), start),
            ByteRange::new(end, range.end()),
        ]
    }

    /// Puts the disk together in `target`, an empty file, from `files` in the order in which the disk
    /// was opened with them.
    pub(super) fn carry_out(
        &self,
        target: &File,
        disk: &impl Disk,
        files: &[BorrowedFd<'_>],
    ) -> Result<(), AssembleError> {
        target.set_len(disk.size()).map_err(AssembleError::Clone)?;
        for cloned in &self.cloned {
            let file = files.get(cloned.file);
            let file = file.ok_or_else(|| AssembleError::Read(io::ErrorKind::NotFound.into()))?;
            let (at, length) = (cloned.range.start(), cloned.range.len());
            sys::clone_range(file, cloned.offset, length, target, at)
                .map_err(AssembleError::Clone)?;
        }
        for copied in &self.copied {
            copy(disk, *copied, target)?;
        }
        Ok(())
    }
}

fn copy(disk: &impl Disk, range: ByteRange, target: &File) -> Result<(), AssembleError> {
    let mut buffer = vec![0; COPY_AT_ONCE.min(range.len()) as usize];
    let mut at = range.start();
    while at < range.end() {
        let length = COPY_AT_ONCE.min(range.end() - at);
        let bytes = &mut buffer[..length as usize];
        disk.read_exact_at(bytes, at).map_err(AssembleError::Read)?;
        target
            .write_all_at(bytes, at)
            .map_err(AssembleError::Clone)?;
        at += length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(start: u64, end: u64, offset: u64) -> io::Result<Run> {
        Ok(Run {
            range: ByteRange::new(start, end),
            origin: Origin::File { file: 0, offset },
        })
    }

    fn plan(runs: Vec<io::Result<Run>>, only_cheap: bool) -> Result<Plan, AssembleError> {
        Plan::new(runs.into_iter(), 4096, only_cheap)
    }

    #[test]
    fn whole_blocks_are_cloned_and_edges_copied() {
        let found = plan(vec![file(512, 12_800, 4096 + 512)], true).unwrap();
        let cloned = Cloned {
            file: 0,
            offset: 8192,
            range: ByteRange::new(4096, 12_288),
        };
        assert_eq!(found.cloned, [cloned]);
        let edges = [ByteRange::new(512, 4096), ByteRange::new(12_288, 12_800)];
        assert_eq!(found.copied, edges);
    }

    #[test]
    fn what_lies_unaligned_is_copied() {
        for run in [file(0, 8192, 8704), file(100, 200, 100)] {
            let range = run.as_ref().unwrap().range;
            let found = plan(vec![run], true).unwrap();
            assert_eq!((found.cloned.len(), found.copied), (0, vec![range]));
        }
        let long = plan(vec![file(0, MOST_COPIED + 1, 512)], false);
        assert!(matches!(long, Err(AssembleError::Copied(4096))));
    }

    #[test]
    fn many_runs_are_put_together_only_on_demand() {
        let runs = |count| (0..count).map(|n| file(2 * n * 4096, (2 * n + 1) * 4096, n * 4096));
        let count = CHEAP_RUNS as u64;
        assert!(plan(runs(count).collect(), true).is_ok());
        assert!(matches!(
            plan(runs(count + 1).collect(), true),
            Err(AssembleError::Runs)
        ));
        let all = plan(runs(count + 1).collect(), false).unwrap();
        assert_eq!(all.cloned.len() as u64, count + 1);
    }

    #[test]
    fn damaged_tables_give_no_clone() {
        let damaged = vec![file(0, 4096, 0), Err(io::ErrorKind::InvalidData.into())];
        assert!(matches!(plan(damaged, false), Err(AssembleError::Read(_))));
    }
}
