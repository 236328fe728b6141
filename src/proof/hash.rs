//! Hashing a view on several cores: blocks side by side, the whole in order.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use md5::Md5;
use parking_lot::{Condvar, Mutex};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{BLOCK_SIZE, Md5Sum, Sha256Sum, block_sum};

/// Blocks that wait for a sum of the whole, each of at most [`BLOCK_SIZE`] bytes.
const QUEUE: usize = 3;

/// Zeros that the sums of the whole are fed with: few enough to stay in the core's own cache.
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// Where the bytes come from.
pub trait Source: Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Whether the bytes of `offset .. offset + length` are known to be zero without being read.
    ///
    /// # Errors
    ///
    /// The source's own.
    fn is_hole(&self, offset: u64, length: u64) -> io::Result<bool>;

    /// Fills the buffer from `offset` on.
    ///
    /// # Errors
    ///
    /// The source's own; also where it is no longer what it was.
    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// The sums of a view.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sums {
    /// SHA-256 and MD5 of the whole, where they were asked for.
    pub whole: Option<(Sha256Sum, Md5Sum)>,
    /// SHA-256 of each block; `None` for zeros.
    pub blocks: Vec<Option<Sha256Sum>>,
}

/// Why there are no sums.
#[derive(Debug, Error)]
pub enum HashError {
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// A thread could not be started, or ended before its time.
    #[error("a thread could not do its work")]
    Thread,
}

/// A block on its way to the sums of the whole.
#[derive(Clone)]
enum Block {
    Zeros(u64),
    Bytes(Arc<Vec<u8>>),
}

/// The sums of `source`: of all blocks, on `threads` threads, and where `whole` is wanted of the
/// whole on two more, which have to go through it in order. Memory: some 4 MiB for each thread,
/// and 40 MiB.
///
/// `progress` is called with the number of bytes that are done since the last call.
///
/// # Errors
///
/// The source's own.
pub fn hash(
    source: &dyn Source,
    threads: usize,
    whole: bool,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Sums, HashError> {
    let work = Work {
        source,
        next: Mutex::new(0),
        failed: AtomicBool::new(false),
        progress,
    };
    thread::scope(|scope| {
        let spawn = || thread::Builder::new().name("hash".into());
        let mut ordered = None;
        let mut sums = None;
        if whole {
            let (to_sha, from_sha) = sync_channel(QUEUE);
            let (to_md5, from_md5) = sync_channel(QUEUE);
            let sha = spawn().spawn_scoped(scope, move || sum_of::<Sha256>(from_sha))?;
            let md5 = spawn().spawn_scoped(scope, move || sum_of::<Md5>(from_md5))?;
            ordered = Some(Ordered::new(to_sha, to_md5));
            sums = Some((sha, md5));
        }
        let ordered = ordered.map(Arc::new);
        let mut workers = Vec::new();
        for _ in 0..threads.max(1) {
            let (work, ordered) = (&work, ordered.clone());
            let worker = spawn().spawn_scoped(scope, move || work.run(ordered.as_deref()));
            match worker {
                Ok(worker) => workers.push(worker),
                Err(error) if workers.is_empty() => return Err(error.into()),
                // Fewer threads are slower, and no less right.
                Err(_) => break,
            }
        }
        drop(ordered);
        let mut blocks = vec![None; source.size().div_ceil(BLOCK_SIZE) as usize];
        let mut failure = None;
        for worker in workers {
            match worker.join().map_err(|_| HashError::Thread)? {
                Ok(sums) => sums
                    .into_iter()
                    .for_each(|(index, sum)| blocks[index] = Some(sum)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let whole = match sums {
            Some((sha, md5)) => {
                let sha = sha.join().map_err(|_| HashError::Thread)?;
                let md5 = md5.join().map_err(|_| HashError::Thread)?;
                Some((sha.into(), md5.into()))
            }
            None => None,
        };
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(Sums { whole, blocks }),
        }
    })
}

/// What the workers share.
struct Work<'a> {
    source: &'a dyn Source,
    next: Mutex<u64>,
    failed: AtomicBool,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Work<'_> {
    /// Takes blocks until none is left; returns the sums of those that hold data.
    fn run(&self, ordered: Option<&Ordered>) -> io::Result<Vec<(usize, Sha256Sum)>> {
        let mut sums = Vec::new();
        let mut buffer = Arc::new(Vec::new());
        while let Some(index) = self.take(ordered) {
            let done = self.one(index, &mut buffer, ordered);
            match done {
                Ok(Some(sum)) => sums.push((index as usize, sum)),
                Ok(None) => {}
                Err(error) => {
                    self.failed.store(true, Ordering::Release);
                    if let Some(ordered) = ordered {
                        ordered.wake();
                    }
                    return Err(error);
                }
            }
        }
        Ok(sums)
    }

    /// The next block; `None` if there is none, or another thread has failed.
    fn take(&self, ordered: Option<&Ordered>) -> Option<u64> {
        if let Some(ordered) = ordered {
            ordered.wait_for_room(&self.failed);
        }
        let mut next = self.next.lock();
        let is_left = *next < self.source.size().div_ceil(BLOCK_SIZE);
        if !is_left || self.failed.load(Ordering::Acquire) {
            return None;
        }
        let index = *next;
        *next += 1;
        Some(index)
    }

    fn one(
        &self,
        index: u64,
        buffer: &mut Arc<Vec<u8>>,
        ordered: Option<&Ordered>,
    ) -> io::Result<Option<Sha256Sum>> {
        let offset = index * BLOCK_SIZE;
        let length = BLOCK_SIZE.min(self.source.size() - offset);
        let block = if self.source.is_hole(offset, length)? {
            Block::Zeros(length)
        } else {
            // A buffer that a sum of the whole still reads is left to it.
            let fits = |bytes: &mut Vec<u8>| bytes.len() as u64 == length;
            if !Arc::get_mut(buffer).is_some_and(fits) {
                *buffer = Arc::new(vec![0; length as usize]);
            }
            let bytes = Arc::get_mut(buffer).ok_or(io::ErrorKind::OutOfMemory)?;
            self.source.read(bytes, offset)?;
            Block::Bytes(buffer.clone())
        };
        if let Some(ordered) = ordered {
            ordered.push(index, block.clone());
        }
        let sum = match &block {
            Block::Zeros(_) => None,
            Block::Bytes(bytes) => block_sum(bytes),
        };
        (self.progress)(length);
        Ok(sum)
    }
}

/// Puts blocks that come in any order into theirs.
struct Ordered {
    waiting: Mutex<Waiting>,
    room: Condvar,
}

struct Waiting {
    next: u64,
    early: BTreeMap<u64, Block>,
    sums: [SyncSender<Block>; 2],
}

impl Ordered {
    fn new(sha: SyncSender<Block>, md5: SyncSender<Block>) -> Self {
        let waiting = Waiting {
            next: 0,
            early: BTreeMap::new(),
            sums: [sha, md5],
        };
        Self {
            waiting: Mutex::new(waiting),
            room: Condvar::new(),
        }
    }

    /// Waits while too many blocks are early. The thread with the block that all wait for does not wait here.
    fn wait_for_room(&self, failed: &AtomicBool) {
        let is_full =
            |waiting: &mut Waiting| waiting.early.len() >= QUEUE && !failed.load(Ordering::Acquire);
        self.room.wait_while(&mut self.waiting.lock(), is_full);
    }

    /// Makes those who wait for room look again.
    fn wake(&self) {
        drop(self.waiting.lock());
        self.room.notify_all();
    }

    /// Waits until the sums have taken what is due.
    fn push(&self, index: u64, block: Block) {
        let mut waiting = self.waiting.lock();
        waiting.early.insert(index, block);
        while let Some(block) = waiting.take_next() {
            for sum in &waiting.sums {
                // A sum ends early only where its thread has panicked, which joining it finds.
                let _ = sum.send(block.clone());
            }
        }
        drop(waiting);
        self.room.notify_all();
    }
}

impl Waiting {
    fn take_next(&mut self) -> Option<Block> {
        let block = self.early.remove(&self.next)?;
        self.next += 1;
        Some(block)
    }
}

fn sum_of<D: Digest>(blocks: Receiver<Block>) -> sha2::digest::Output<D> {
    let mut digest = D::new();
    for block in blocks {
        match block {
            Block::Bytes(bytes) => digest.update(&*bytes),
            Block::Zeros(mut length) => {
                while length > 0 {
                    let part = length.min(ZEROS.len() as u64);
                    digest.update(&ZEROS[..part as usize]);
                    length -= part;
                }
            }
        }
    }
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Blocks that hold one byte throughout, 0 being a hole, and a tail.
    struct Model {
        fills: Vec<u8>,
        tail: u64,
        fails_at: Option<u64>,
    }

    impl Model {
        fn bytes(&self) -> Vec<u8> {
            let mut bytes: Vec<u8> = Vec::new();
            for &fill in &self.fills {
                bytes.resize(bytes.len() + BLOCK_SIZE as usize, fill % 3);
            }
            bytes.resize(bytes.len() + self.tail as usize, 5);
            bytes
        }
    }

    impl Source for Model {
        fn size(&self) -> u64 {
            self.fills.len() as u64 * BLOCK_SIZE + self.tail
        }

        fn is_hole(&self, offset: u64, _: u64) -> io::Result<bool> {
            let fill = self.fills.get((offset / BLOCK_SIZE) as usize);
            Ok(fill.is_some_and(|&fill| fill == 0))
        }

        fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            if self.fails_at == Some(offset / BLOCK_SIZE) {
                return Err(io::Error::from_raw_os_error(5));
            }
            // Later blocks tend to be read earlier.
            thread::sleep(std::time::Duration::from_micros(
                50 * (7 - offset / BLOCK_SIZE % 7),
            ));
            let fill = self.fills.get((offset / BLOCK_SIZE) as usize);
            buffer.fill(fill.map_or(5, |fill| fill % 3));
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]
        #[test]
        fn sums_are_those_of_the_bytes(
            fills in proptest::collection::vec(0_u8..6, 0..6),
            tail in 1_u64..2000,
            threads in 1_usize..5,
        ) {
            let model = Model { fills, tail, fails_at: None };
            let bytes = model.bytes();
            let done = Mutex::new(0);
            let sums = hash(&model, threads, true, &|count| *done.lock() += count).unwrap();
            prop_assert_eq!(*done.lock(), bytes.len() as u64);
            let whole = (Sha256::digest(&bytes).into(), Md5::digest(&bytes).into());
            prop_assert_eq!(sums.whole, Some(whole));
            let blocks: Vec<_> = bytes.chunks(BLOCK_SIZE as usize).map(block_sum).collect();
            prop_assert_eq!(&sums.blocks, &blocks);
            let alone = hash(&model, threads, false, &|_| {}).unwrap();
            prop_assert_eq!(alone, Sums { whole: None, blocks });
        }
    }

    #[test]
    fn an_error_ends_it_wherever_it_comes() {
        for at in [0, 5, 30] {
            let model = Model {
                fills: vec![1; 31],
                tail: 1,
                fails_at: Some(at),
            };
            for (threads, whole) in [(1, true), (4, true), (4, false)] {
                let error = hash(&model, threads, whole, &|_| {}).unwrap_err();
                let HashError::Read(error) = error else {
                    panic!("{error}")
                };
                assert_eq!(error.raw_os_error(), Some(5));
            }
        }
    }
}
