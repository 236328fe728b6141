//! The memory that holds what reads found until the kernel has taken it.
//!
//! A request takes as many bytes as it may deliver, and waits its turn where the requests under way
//! hold as much as all of them may: readers, however many, do not multiply memory. What a source
//! that hangs holds must not count for ever, or it would keep every other image waiting.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

/// Largest read that FUSE kernels send by default, in bytes (`fs.fuse.max_pages_limit`).
const LARGEST_READ: usize = 1 << 20;

/// Bytes that all requests under way may hold: 1.6 GB/s of a source that takes 10 ms to reply.
const LIMIT: usize = 16 << 20;

/// Requests that take longer wait for a source, and hold next to nothing: memory is only taken as
/// it is filled.
const SLOW: Duration = Duration::from_secs(1);

/// Lends buffers to requests.
#[derive(Debug)]
pub(super) struct Buffers {
    state: Mutex<State>,
    limit: usize,
    slow: Duration,
    /// As many buffers are kept while nobody reads.
    kept: usize,
    /// For requests that get no memory for a buffer of their own: what is open can be read on.
    spare: Mutex<Vec<u8>>,
}

#[derive(Debug, Default)]
struct State {
    /// Buffers that nobody uses now; the one used last is the first to be used again.
    free: Vec<Vec<u8>>,
    /// Requests under way that count, by number.
    lent: BTreeMap<u64, Lent>,
    /// Sum of what they hold, in bytes.
    held: usize,
    /// Number of requests under way that do not count any longer.
    slow: usize,
    waiting: VecDeque<Waiting>,
    requests: u64,
}

#[derive(Debug)]
struct Lent {
    size: usize,
    since: Instant,
}

#[derive(Debug)]
struct Waiting {
    request: u64,
    size: usize,
    since: Instant,
    thread: Thread,
    has_turn: Arc<AtomicBool>,
}

impl Buffers {
    /// For `threads` event loops: all requests together may hold at least a buffer for each of these.
    pub(super) fn new(threads: usize) -> Self {
        Self::with(LIMIT.max(threads * LARGEST_READ), SLOW, threads)
    }

    fn with(limit: usize, slow: Duration, kept: usize) -> Self {
        Self {
            state: Mutex::default(),
            limit,
            slow,
            kept,
            spare: Mutex::new(vec![0; LARGEST_READ]),
        }
    }

    /// A buffer with room for `size` bytes. Waits while the requests before it hold too much.
    pub(super) fn take(&self, size: usize) -> Buffer<'_> {
        let (request, mut memory) = self.wait_for_turn(size);
        let missing = size.saturating_sub(memory.len());
        let memory = if memory.try_reserve_exact(missing).is_ok() {
            Memory::Own(memory)
        } else {
            Memory::Spare(self.spare.lock())
        };
        Buffer {
            buffers: self,
            request,
            memory,
        }
    }

    fn wait_for_turn(&self, size: usize) -> (u64, Vec<u8>) {
        let mut state = self.state.lock();
        let request = state.requests;
        state.requests += 1;
        if state.waiting.is_empty() && state.has_room(size, self.limit) {
            state.lend(request, size);
            return (request, state.free.pop().unwrap_or_default());
        }
        let has_turn = Arc::new(AtomicBool::new(false));
        state.waiting.push_back(Waiting {
            request,
            size,
            since: Instant::now(),
            thread: thread::current(),
            has_turn: has_turn.clone(),
        });
        drop(state);
        while !has_turn.load(Ordering::Acquire) {
            thread::park_timeout(self.slow);
            let mut state = self.state.lock();
            state.leave_out_slow(self.slow);
            self.let_in(&mut state);
        }
        (request, self.state.lock().free.pop().unwrap_or_default())
    }

    /// Gives requests their turn, in the order in which they came. While a source hangs, they wait no longer
    /// than its own requests count.
    fn let_in(&self, state: &mut State) {
        let may_begin = |state: &State, next: &Waiting| {
            state.has_room(next.size, self.limit)
                || (state.slow > 0 && next.since.elapsed() >= self.slow)
        };
        while let Some(next) = state.waiting.front()
            && may_begin(state, next)
            && let Some(next) = state.waiting.pop_front()
        {
            state.lend(next.request, next.size);
            next.has_turn.store(true, Ordering::Release);
            next.thread.unpark();
        }
    }

    fn give_back(&self, request: u64, memory: Option<Vec<u8>>) {
        let mut state = self.state.lock();
        state.forget(request);
        self.let_in(&mut state);
        state.free.extend(memory);
        let is_idle = state.lent.is_empty();
        let kept = if is_idle {
            self.kept
        } else {
            self.limit / LARGEST_READ
        };
        let kept = state.free.len().min(kept);
        let too_many = state.free.split_off(kept);
        // Memory is returned to the system without the lock.
        drop(state);
        drop(too_many);
    }
}

impl State {
    /// Whether a request of `size` bytes may begin; one always may, whatever its size.
    fn has_room(&self, size: usize, limit: usize) -> bool {
        self.held == 0 || self.held + size <= limit
    }

    fn lend(&mut self, request: u64, size: usize) {
        self.held += size;
        let since = Instant::now();
        self.lent.insert(request, Lent { size, since });
    }

    fn forget(&mut self, request: u64) {
        if let Some(lent) = self.lent.remove(&request) {
            self.held -= lent.size;
        } else {
            self.slow -= 1;
        }
    }

    /// What slow requests hold does not count any longer.
    fn leave_out_slow(&mut self, slow: Duration) {
        let is_slow = |lent: &Lent| lent.since.elapsed() >= slow;
        while let Some(entry) = self.lent.first_entry().filter(|entry| is_slow(entry.get())) {
            self.held -= entry.remove().size;
            self.slow += 1;
        }
    }
}

/// A buffer that one request uses; given back when dropped.
#[derive(Debug)]
pub(super) struct Buffer<'a> {
    buffers: &'a Buffers,
    request: u64,
    memory: Memory<'a>,
}

#[derive(Debug)]
enum Memory<'a> {
    Own(Vec<u8>),
    Spare(MutexGuard<'a, Vec<u8>>),
}

impl Deref for Buffer<'_> {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        match &self.memory {
            Memory::Own(memory) => memory,
            Memory::Spare(memory) => memory,
        }
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        match &mut self.memory {
            Memory::Own(memory) => memory,
            Memory::Spare(memory) => memory,
        }
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let own = match &mut self.memory {
            Memory::Own(memory) => Some(std::mem::take(memory)),
            Memory::Spare(_) => None,
        };
        self.buffers.give_back(self.request, own);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const FOREVER: Duration = Duration::from_secs(3600);

    #[test]
    fn requests_hold_no_more_than_the_limit_and_all_get_their_turn() {
        let buffers = Buffers::with(1000, FOREVER, 2);
        let (held, most, done) = (
            AtomicUsize::new(0),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        thread::scope(|scope| {
            for number in 0..32 {
                let (buffers, held, most, done) = (&buffers, &held, &most, &done);
                scope.spawn(move || {
                    for round in 0..50 {
                        let size = 1 + (number * 31 + round * 17) % 400;
                        let buffer = buffers.take(size);
                        assert!(buffer.capacity() >= size);
                        let now = held.fetch_add(size, Ordering::SeqCst) + size;
                        most.fetch_max(now, Ordering::SeqCst);
                        thread::yield_now();
                        held.fetch_sub(size, Ordering::SeqCst);
                        drop(buffer);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 32 * 50);
        let most = most.into_inner();
        assert!((400..=1000).contains(&most), "{most}");
        let state = buffers.state.lock();
        assert_eq!(
            (state.held, state.lent.len(), state.waiting.len()),
            (0, 0, 0)
        );
        assert!((1..=2).contains(&state.free.len()), "{}", state.free.len());
    }

    #[test]
    fn a_request_larger_than_the_limit_gets_its_turn_alone() {
        let buffers = Buffers::with(1000, FOREVER, 2);
        let first = buffers.take(5000);
        thread::scope(|scope| {
            let second = scope.spawn(|| drop(buffers.take(1)));
            while buffers.state.lock().waiting.is_empty() {
                thread::yield_now();
            }
            drop(first);
            second.join().unwrap();
        });
    }

    #[test]
    fn requests_that_hang_keep_others_waiting_for_a_while_only() {
        let buffers = Buffers::with(1000, Duration::from_millis(20), 2);
        let hang = AtomicBool::new(true);
        thread::scope(|scope| {
            // Forty times as much as all may hold.
            for _ in 0..40 {
                scope.spawn(|| {
                    let _buffer = buffers.take(1000);
                    while hang.load(Ordering::Acquire) {
                        thread::yield_now();
                    }
                });
            }
            while buffers.state.lock().requests < 40 {
                thread::yield_now();
            }
            drop(buffers.take(1000));
            assert!(buffers.state.lock().slow > 0);
            hang.store(false, Ordering::Release);
        });
        // They do not count twice when they end at last.
        let state = buffers.state.lock();
        assert_eq!((state.held, state.slow, state.lent.len()), (0, 0, 0));
    }

    #[test]
    fn a_small_request_does_not_overtake_a_large_one() {
        let buffers = Buffers::with(1000, FOREVER, 2);
        let first = buffers.take(600);
        let latest = Instant::now() + Duration::from_secs(20);
        thread::scope(|scope| {
            // The second would fit beside the first that is under way.
            let wait = |size, waiting| {
                let buffers = &buffers;
                scope.spawn(move || drop(buffers.take(size)));
                while buffers.state.lock().waiting.len() < waiting && Instant::now() < latest {
                    thread::yield_now();
                }
                buffers.state.lock().waiting.len()
            };
            let waiting = [wait(900, 1), wait(10, 2)];
            drop(first);
            assert_eq!(waiting, [1, 2]);
        });
        assert!(buffers.state.lock().waiting.is_empty());
    }
}
