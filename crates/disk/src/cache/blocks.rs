//! Decompressed blocks, each decoded once for all who wait for it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lru::LruCache;
use parking_lot::{Condvar, Mutex};

use super::Source;
use crate::codec::Codec;
use crate::format::{Defect, Input, SharedError};
use crate::{ByteRange, Disk};

/// What a block costs beside its bytes.
const OVERHEAD: u64 = 256;
/// How deep images lie in one another, at most: an image in an archive in a compressed file.
const LEVELS: usize = 4;
/// Number of blocks that may wait for a thread.
const QUEUE: usize = 256;

/// Number of an input, and the compressed bytes in it.
type Key = (u64, u64, u64);

/// A block as all of its readers get it.
pub(crate) type Block = Arc<Vec<u8>>;

/// A compressed block that a reader needs, or will soon.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// What holds the compressed bytes.
    pub(crate) input: Input,
    /// Where they lie in it.
    pub(crate) data: ByteRange,
    /// Number of bytes that they decompress to.
    pub(crate) length: usize,
    /// How they are compressed.
    pub(crate) codec: Codec,
}

impl Job {
    fn key(&self) -> Key {
        (self.input.id(), self.data.start(), self.data.end())
    }

    fn level(&self) -> usize {
        self.input.level().min(LEVELS - 1)
    }

    /// Memory that decoding takes, in bytes.
    fn cost(&self) -> u64 {
        let memory = self.codec.memory(self.data.len(), self.length);
        memory.saturating_add(self.length as u64)
    }

    /// Reads and decompresses the block.
    fn decode(&self) -> io::Result<Block> {
        let end = self.data.end().min(self.input.size());
        let data = ByteRange::new(self.data.start(), end);
        let damage = |defect| {
            self.input
                .damage("the compressed block", data.start(), defect)
        };
        if data.is_empty() {
            return Err(damage(Defect::PastEnd).into());
        }
        let mut packed = Source::new(&self.input, data);
        let block = self.codec.decode(&mut packed, self.length)?;
        Ok(block
            .ok_or_else(|| damage(Defect::Compression))
            .map(Arc::new)?)
    }
}

/// A block that is being decoded, and those who wait for it.
#[derive(Debug, Default)]
struct Slot {
    result: Mutex<Option<Result<Block, SharedError>>>,
    done: Condvar,
}

impl Slot {
    fn finish(&self, result: Result<Block, SharedError>) {
        *self.result.lock() = Some(result);
        self.done.notify_all();
    }

    fn wait(&self) -> Result<Block, SharedError> {
        let mut result = self.result.lock();
        loop {
            if let Some(result) = &*result {
                return result.clone();
            }
            self.done.wait(&mut result);
        }
    }
}

/// A block that is not in the cache yet.
#[derive(Debug, Default)]
struct Pending {
    slot: Arc<Slot>,
    /// Whether a thread decodes it already. If not, it is in the queue, and the reader that needs it first
    /// decodes it.
    claimed: bool,
}

#[derive(Debug)]
struct State {
    cache: LruCache<Key, Block>,
    cached: u64,
    pending: HashMap<Key, Pending>,
    queue: VecDeque<Job>,
    /// Memory of decoding, for each level of images in one another: who decodes on one level may
    /// wait for a block of a lower one, never the other way round.
    in_flight: [u64; LEVELS],
    closed: bool,
}

/// A bounded cache of decompressed blocks.
///
/// No lock is held while a block is read or decoded.
#[derive(Debug)]
pub(crate) struct Blocks {
    limit: u64,
    state: Mutex<State>,
    queued: Condvar,
    room: Condvar,
}

impl Blocks {
    /// A cache that takes at most `limit` bytes together with what is being decoded; more only
    /// where one block alone is larger.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            state: Mutex::new(State {
                cache: LruCache::unbounded(),
                cached: 0,
                pending: HashMap::new(),
                queue: VecDeque::new(),
                in_flight: [0; LEVELS],
                closed: false,
            }),
            queued: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// The limit in bytes.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes that decompressed blocks take.
    pub(super) fn used(&self) -> u64 {
        self.state.lock().cached
    }

    /// The decompressed block. A caller waits for a block that another thread is decoding.
    ///
    /// # Errors
    ///
    /// [`Damage`](crate::format::Damage) if it does not decompress; the file's own error.
    pub(crate) fn get(&self, job: &Job) -> io::Result<Block> {
        let key = job.key();
        let mut state = self.state.lock();
        if let Some(block) = state.cache.get(&key) {
            return Ok(Arc::clone(block));
        }
        let mine = state.claim(key);
        let slot = Arc::clone(
            &state
                .pending
                .entry(key)
                .or_insert_with(Pending::claimed)
                .slot,
        );
        drop(state);
        if mine {
            self.decode(job, &slot);
        }
        slot.wait().map_err(|error| error.to_io())
    }

    /// Puts blocks in the queue that will soon be needed. What does not fit is left to who needs it.
    pub(crate) fn offer(&self, jobs: impl IntoIterator<Item = Job>) {
        let mut state = self.state.lock();
        let before = state.queue.len();
        for job in jobs {
            let key = job.key();
            if state.queue.len() >= QUEUE {
                break;
            }
            // Large blocks would drive out of the cache what is being read.
            if job.cost() > self.limit / 8 {
                continue;
            }
            if !state.cache.contains(&key) && !state.pending.contains_key(&key) {
                state.pending.insert(key, Pending::default());
                state.queue.push_back(job);
            }
        }
        for _ in before..state.queue.len() {
            self.queued.notify_one();
        }
    }

    /// Decodes what is in the queue until [`close`](Self::close): the life of one thread.
    pub(super) fn work(&self) {
        while let Some((job, slot)) = self.next_job() {
            // Who waits gets the error; the thread goes on with other blocks.
            let _ = catch_unwind(AssertUnwindSafe(|| self.decode(&job, &slot)));
        }
    }

    /// Lets every thread in [`work`](Self::work) end.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        // Who needs one of these now decodes it.
        state.queue.clear();
        self.queued.notify_all();
    }

    fn next_job(&self) -> Option<(Job, Arc<Slot>)> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            let Some(job) = state.queue.pop_front() else {
                self.queued.wait(&mut state);
                continue;
            };
            let key = job.key();
            if state.pending.contains_key(&key) && state.claim(key) {
                let slot = Arc::clone(&state.pending[&key].slot);
                return Some((job, slot));
            }
        }
    }

    /// Decodes a claimed block and gives it to all who wait.
    fn decode(&self, job: &Job, slot: &Slot) {
        let cost = job.cost();
        let level = job.level();
        self.take_room(level, cost);
        let mut finish = Finish {
            blocks: self,
            job,
            slot,
            cost,
            result: None,
        };
        finish.result = Some(job.decode());
    }

    fn take_room(&self, level: usize, cost: u64) {
        let mut state = self.state.lock();
        // Half of the limit is for what is decoded already.
        while state.in_flight[level] > 0
            && state.in_flight[level].saturating_add(cost) > self.limit / 2
        {
            self.room.wait(&mut state);
        }
        state.in_flight[level] = state.in_flight[level].saturating_add(cost);
        state.shrink(self.limit);
    }
}

/// Ends the decoding of a block, also if the decoder panics.
struct Finish<'a> {
    blocks: &'a Blocks,
    job: &'a Job,
    slot: &'a Slot,
    cost: u64,
    result: Option<io::Result<Block>>,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let result = self.result.take().unwrap_or_else(|| {
            let input = &self.job.input;
            let at = self.job.data.start();
            let damage = input.damage("the compressed block", at, Defect::Compression);
            Err(damage.into())
        });
        let result = result.map_err(SharedError::new);
        let key = self.job.key();
        let mut state = self.blocks.state.lock();
        if let Ok(block) = &result {
            state.put(key, block);
        }
        state.pending.remove(&key);
        state.in_flight[self.job.level()] -= self.cost;
        state.shrink(self.blocks.limit);
        self.blocks.room.notify_all();
        drop(state);
        self.slot.finish(result);
    }
}

impl Pending {
    fn claimed() -> Self {
        Self {
            claimed: true,
            ..Self::default()
        }
    }
}

impl State {
    /// Whether the caller has to decode the block: no thread does yet.
    fn claim(&mut self, key: Key) -> bool {
        match self.pending.get_mut(&key) {
            Some(pending) => !std::mem::replace(&mut pending.claimed, true),
            None => true,
        }
    }

    fn put(&mut self, key: Key, block: &Block) {
        self.cached += cost(block);
        if let Some(old) = self.cache.put(key, Arc::clone(block)) {
            self.cached -= cost(&old);
        }
    }

    /// Gives up blocks that were not used for the longest time until the cache and what is being
    /// decoded take no more than `limit`; the last one stays if nothing is being decoded.
    fn shrink(&mut self, limit: u64) {
        let in_flight = self
            .in_flight
            .iter()
            .fold(0, |sum: u64, cost| sum.saturating_add(*cost));
        let least = usize::from(in_flight == 0);
        while self.cached.saturating_add(in_flight) > limit && self.cache.len() > least {
            let Some((_, old)) = self.cache.pop_lru() else {
                return;
            };
            self.cached -= cost(&old);
        }
    }
}

/// What a block takes in the cache, in bytes.
fn cost(block: &Block) -> u64 {
    block.capacity() as u64 + OVERHEAD
}
