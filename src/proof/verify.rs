//! Judging bytes by a manifest, block by block.

use md5::Md5;
use sha2::{Digest, Sha256};

use super::{BLOCK_SIZE, Md5Sum, Sha256Sum, ViewSums, block_sum};
use disk::ByteRange;

/// A block that is not what the manifest says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Difference {
    /// The block's place in the view.
    pub block: ByteRange,
    /// Offset of the first byte that differs, where that can be told: in a block that should hold
    /// zeros only.
    pub at: Option<u64>,
}

/// What all blocks together came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// All that was looked at is as the manifest says.
    Equal,
    /// Blocks differ.
    Blocks,
    /// All blocks are right, and a sum of the whole is not: the manifest contradicts itself.
    Whole,
}

/// Takes the bytes of a view in order, and compares their sums.
pub struct Judge<'a> {
    expected: &'a ViewSums,
    /// Of the whole, where all of it is looked at.
    whole: Option<(Sha256, Md5)>,
    differs: bool,
}

impl<'a> Judge<'a> {
    /// Compares with `expected`; the sums of the whole, too, where `whole` says that all of it
    /// will come.
    pub fn new(expected: &'a ViewSums, whole: bool) -> Self {
        let wanted = whole && (expected.sha256.is_some() || expected.md5.is_some());
        Self {
            expected,
            whole: wanted.then(|| (Sha256::new(), Md5::new())),
            differs: false,
        }
    }

    /// The places of the blocks in `range`, which begins and ends where blocks do.
    pub fn blocks(&self, range: ByteRange) -> impl Iterator<Item = ByteRange> + use<> {
        let size = self.expected.view_size;
        let range = range.intersect(ByteRange::new(0, size));
        let first = range.start() / BLOCK_SIZE;
        let last = range.end().div_ceil(BLOCK_SIZE);
        (first..last).map(move |index| {
            let start = index * BLOCK_SIZE;
            ByteRange::new(start, size.min(start + BLOCK_SIZE))
        })
    }

    /// Compares the next block; returns how it differs.
    pub fn judge(&mut self, block: ByteRange, bytes: &[u8]) -> Option<Difference> {
        if let Some((sha, md5)) = &mut self.whole {
            std::thread::scope(|scope| {
                scope.spawn(|| sha.update(bytes));
                md5.update(bytes);
            });
        }
        let index = (block.start() / BLOCK_SIZE) as usize;
        let expected = self.expected.blocks.get(index).copied().flatten();
        if block_sum(bytes) == expected {
            return None;
        }
        self.differs = true;
        let first = || bytes.iter().position(|&byte| byte != 0);
        let at = match expected {
            None => first().map(|place| block.start() + place as u64),
            Some(_) => None,
        };
        Some(Difference { block, at })
    }

    /// What it came to, once all blocks were judged.
    pub fn finish(self) -> Outcome {
        if self.differs {
            return Outcome::Blocks;
        }
        let Some((sha, md5)) = self.whole else {
            return Outcome::Equal;
        };
        let sha: Sha256Sum = sha.finalize().into();
        let md5: Md5Sum = md5.finalize().into();
        let is_right = self.expected.sha256.is_none_or(|sum| sum == sha)
            && self.expected.md5.is_none_or(|sum| sum == md5);
        match is_right {
            true => Outcome::Equal,
            false => Outcome::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(bytes: &[u8]) -> ViewSums {
        ViewSums {
            view: "v".into(),
            view_size: bytes.len() as u64,
            unique_id: String::new(),
            sha256: Some(Sha256::digest(bytes).into()),
            md5: Some(Md5::digest(bytes).into()),
            blocks: bytes.chunks(BLOCK_SIZE as usize).map(block_sum).collect(),
        }
    }

    fn judge(expected: &ViewSums, bytes: &[u8], range: ByteRange) -> (Vec<Difference>, Outcome) {
        let mut judge = Judge::new(expected, range.len() == expected.view_size);
        let blocks: Vec<_> = judge.blocks(range).collect();
        let differences = blocks.into_iter().filter_map(|block| {
            judge.judge(block, &bytes[block.start() as usize..block.end() as usize])
        });
        (differences.collect(), judge.finish())
    }

    #[test]
    fn differences_are_found_where_they_are() {
        let size = 2 * BLOCK_SIZE + 512;
        let all = ByteRange::new(0, size);
        let mut bytes = vec![0; size as usize];
        bytes[BLOCK_SIZE as usize] = 1;
        bytes[size as usize - 1] = 1;
        let expected = sums(&bytes);
        assert_eq!(expected.blocks[0], None);
        assert_eq!(judge(&expected, &bytes, all), (vec![], Outcome::Equal));
        let mut changed = bytes.clone();
        changed[77] = 1;
        changed[size as usize - 2] = 1;
        let block = |start, end| ByteRange::new(start, end);
        let first = Difference {
            block: block(0, BLOCK_SIZE),
            at: Some(77),
        };
        let last = Difference {
            block: block(2 * BLOCK_SIZE, size),
            at: None,
        };
        assert_eq!(
            judge(&expected, &changed, all),
            (vec![first, last], Outcome::Blocks)
        );
        let middle = block(BLOCK_SIZE, 2 * BLOCK_SIZE);
        assert_eq!(judge(&expected, &changed, middle), (vec![], Outcome::Equal));
        let mut wrong = expected.clone();
        wrong.md5 = Some([0; 16]);
        assert_eq!(judge(&wrong, &bytes, all), (vec![], Outcome::Whole));
        wrong.md5 = None;
        assert_eq!(judge(&wrong, &bytes, all), (vec![], Outcome::Equal));
    }
}
