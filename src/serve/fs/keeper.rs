//! What stays for a while after its last close, because readers come back: clones, whose pages are
//! in memory and which cost time to make.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use log::debug;
use lru::LruCache;
use parking_lot::{Condvar, Mutex, MutexGuard};

/// How long something is kept.
const TIME: Duration = Duration::from_secs(30);

/// How many are kept at most.
const MOST: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// How often it is asked whether what is kept is still worth it.
const PAUSE: Duration = Duration::from_secs(1);

/// Something that can be used again after it was closed.
pub(super) trait Keepable: Send + Sync + 'static {
    /// Whether it still is what would be opened now, and keeping it harms nobody.
    fn is_worth_keeping(&self) -> bool;

    /// It was not worth it any more.
    fn tell_given_up(&self) {}
}

/// Keeps what was closed last, each under a number. A thread gives up what is no longer worth it; it
/// is there only while something is kept.
#[derive(Debug)]
pub(super) struct Keeper<T: Keepable> {
    shared: Arc<Shared<T>>,
}

/// Has what is kept looked at again.
#[derive(Debug)]
pub(super) struct Waker<T: Keepable> {
    shared: Weak<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
    time: Duration,
    /// Number of what is kept, for whoever wants to know.
    count: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct State<T> {
    /// Each with when it was closed; the oldest is the least recently used.
    kept: LruCache<u64, (Instant, Arc<T>)>,
    /// To be dropped by the thread: closing a clone may take its time.
    discarded: Vec<Arc<T>>,
    has_thread: bool,
    /// Whether somebody said that something has changed.
    is_woken: bool,
}

impl<T: Keepable> Keeper<T> {
    /// Keeps nothing yet; `count` says how much it is from now on.
    pub(super) fn counted_by(count: Arc<AtomicUsize>) -> Self {
        Self::new(MOST, TIME, count)
    }

    fn new(most: NonZeroUsize, time: Duration, count: Arc<AtomicUsize>) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    kept: LruCache::new(most),
                    discarded: Vec::new(),
                    has_thread: false,
                    is_woken: false,
                }),
                wake: Condvar::new(),
                time,
                count,
            }),
        }
    }

    /// Keeps `item`, which was closed; the thread looks at once whether that is worth it.
    pub(super) fn keep(&self, number: u64, item: Arc<T>) {
        let mut state = self.shared.lock();
        if !state.has_thread {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("kept".into());
            if let Err(error) = thread.spawn(move || shared.give_up_in_time()) {
                debug!("nothing is kept: {error}");
                return;
            }
            state.has_thread = true;
        }
        if let Some((_, (_, item))) = state.kept.push(number, (Instant::now(), item)) {
            state.discarded.push(item);
        }
        self.shared.recount(&state);
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Takes back what is kept under `number`.
    pub(super) fn take(&self, number: u64) -> Option<Arc<T>> {
        let mut state = self.shared.lock();
        let (_, item) = state.kept.pop(&number)?;
        self.shared.recount(&state);
        Some(item)
    }

    /// Gives everything up at once; returns whether there was anything.
    pub(super) fn clear(&self) -> bool {
        let mut state = self.shared.lock();
        let all = state.take_all();
        self.shared.recount(&state);
        drop(state);
        // Dropped here, without the lock.
        !all.is_empty()
    }

    /// Has what is kept looked at again, from anywhere.
    pub(super) fn waker(&self) -> Waker<T> {
        Waker {
            shared: Arc::downgrade(&self.shared),
        }
    }
}

impl<T: Keepable> Drop for Keeper<T> {
    fn drop(&mut self) {
        self.clear();
        self.shared.wake.notify_one();
    }
}

impl<T: Keepable> Waker<T> {
    /// Something has changed. Returns at once: the thread looks, not the caller.
    pub(super) fn wake(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.lock().is_woken = true;
            shared.wake.notify_one();
        }
    }
}

impl<T: Keepable> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock()
    }

    fn recount(&self, state: &State<T>) {
        self.count.store(state.kept.len(), Ordering::Relaxed);
    }

    /// The thread: ends when nothing is kept.
    fn give_up_in_time(&self) {
        let mut state = self.lock();
        loop {
            let latest = Instant::now().checked_sub(self.time);
            state.discard_closed_before(latest);
            let discarded = std::mem::take(&mut state.discarded);
            let kept: Vec<_> = state
                .kept
                .iter()
                .map(|(number, (_, item))| (*number, Arc::clone(item)))
                .collect();
            state.is_woken = false;
            let worthless = MutexGuard::unlocked(&mut state, || {
                drop(discarded);
                worthless(kept)
            });
            for (number, item) in &worthless {
                state.discard(*number, item);
            }
            // The last owner may be here, or among what is discarded in the next round.
            MutexGuard::unlocked(&mut state, || drop(worthless));
            self.recount(&state);
            if state.kept.is_empty() && state.discarded.is_empty() {
                state.has_thread = false;
                return;
            }
            if state.discarded.is_empty() && !state.is_woken {
                let pause = PAUSE.min(self.time);
                self.wake.wait_for(&mut state, pause);
            }
        }
    }
}

/// Those that are no longer worth keeping.
fn worthless<T: Keepable>(mut kept: Vec<(u64, Arc<T>)>) -> Vec<(u64, Arc<T>)> {
    kept.retain(|(_, item)| !item.is_worth_keeping());
    kept.iter().for_each(|(_, item)| item.tell_given_up());
    kept
}

impl<T> State<T> {
    fn discard_closed_before(&mut self, latest: Option<Instant>) {
        while let Some((_, (closed, _))) = self.kept.peek_lru()
            && latest.is_some_and(|latest| *closed <= latest)
        {
            let oldest = self.kept.pop_lru();
            self.discarded.extend(oldest.map(|(_, (_, item))| item));
        }
    }

    /// Discards what is kept under `number`, if it still is `item`.
    fn discard(&mut self, number: u64, item: &Arc<T>) {
        let is_kept = |(_, kept): &(Instant, Arc<T>)| Arc::ptr_eq(kept, item);
        if self.kept.peek(&number).is_some_and(is_kept) {
            let kept = self.kept.pop(&number);
            self.discarded.extend(kept.map(|(_, item)| item));
        }
    }

    fn take_all(&mut self) -> Vec<Arc<T>> {
        let mut all = std::mem::take(&mut self.discarded);
        while let Some((_, (_, item))) = self.kept.pop_lru() {
            all.push(item);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// Counts itself among the living.
    #[derive(Debug)]
    struct Item {
        alive: Arc<AtomicUsize>,
        is_worth_keeping: AtomicBool,
    }

    impl Item {
        fn new(alive: &Arc<AtomicUsize>) -> Arc<Self> {
            alive.fetch_add(1, Ordering::SeqCst);
            Arc::new(Self {
                alive: Arc::clone(alive),
                is_worth_keeping: AtomicBool::new(true),
            })
        }

        fn spoil(&self) {
            self.is_worth_keeping.store(false, Ordering::SeqCst);
        }
    }

    impl Drop for Item {
        fn drop(&mut self) {
            self.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Keepable for Item {
        fn is_worth_keeping(&self) -> bool {
            self.is_worth_keeping.load(Ordering::SeqCst)
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    fn keeper(most: usize, time: Duration) -> (Keeper<Item>, Arc<AtomicUsize>) {
        let keeper = Keeper::new(NonZeroUsize::new(most).unwrap(), time, Arc::default());
        (keeper, Arc::default())
    }

    fn count(keeper: &Keeper<Item>) -> usize {
        keeper.shared.count.load(Ordering::Relaxed)
    }

    fn wait_for(alive: &AtomicUsize, count: usize) {
        let until = Instant::now() + Duration::from_secs(60);
        while alive.load(Ordering::SeqCst) != count {
            assert!(Instant::now() < until, "still {alive:?} alive");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn wait_for_no_thread(keeper: &Keeper<Item>) {
        let until = Instant::now() + Duration::from_secs(60);
        while keeper.shared.lock().has_thread {
            assert!(Instant::now() < until, "the thread stays");
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn what_was_closed_is_taken_back() {
        let (keeper, alive) = keeper(2, LONG);
        let item = Item::new(&alive);
        keeper.keep(7, Arc::clone(&item));
        assert_eq!((count(&keeper), keeper.take(8).is_none()), (1, true));
        assert!(Arc::ptr_eq(&keeper.take(7).unwrap(), &item));
        assert!(keeper.take(7).is_none());
        // It can be kept again, also when the thread has ended meanwhile.
        wait_for_no_thread(&keeper);
        keeper.keep(7, item);
        drop(keeper);
        wait_for(&alive, 0);
    }

    #[test]
    fn the_oldest_gives_way() {
        let (keeper, alive) = keeper(2, LONG);
        for number in 0..5 {
            keeper.keep(number, Item::new(&alive));
        }
        wait_for(&alive, 2);
        assert!(keeper.take(2).is_none());
        assert!(keeper.take(3).is_some() && keeper.take(4).is_some());
    }

    #[test]
    fn everything_is_given_up_in_time() {
        let (keeper, alive) = keeper(9, Duration::from_millis(50));
        keeper.keep(1, Item::new(&alive));
        keeper.keep(2, Item::new(&alive));
        wait_for(&alive, 0);
        wait_for_no_thread(&keeper);
        assert_eq!(count(&keeper), 0);
    }

    #[test]
    fn what_is_not_worth_it_is_not_kept() {
        let (keeper, alive) = keeper(9, LONG);
        let (one, other) = (Item::new(&alive), Item::new(&alive));
        one.spoil();
        keeper.keep(1, one);
        wait_for(&alive, 1);
        keeper.keep(2, Arc::clone(&other));
        other.spoil();
        drop(other);
        keeper.waker().wake();
        wait_for(&alive, 0);
        assert_eq!(count(&keeper), 0);
    }

    #[test]
    fn all_can_be_given_up_at_once() {
        let (keeper, alive) = keeper(9, LONG);
        assert!(!keeper.clear());
        keeper.keep(1, Item::new(&alive));
        assert!(keeper.clear());
        wait_for(&alive, 0);
        let waker = keeper.waker();
        drop(keeper);
        waker.wake();
    }
}
