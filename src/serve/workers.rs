//! Which thread runs a request: the one that received it, or another if too many are busy.
//!
//! fuser's event loops are a fixed number of threads. Were all of them stuck in a source that
//! hangs, none would be left to receive requests for the others, nor the unmount. So one of them always
//! stays free: what would occupy the last one is handed to a pool that grows as needed.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use log::warn;
use parking_lot::{Condvar, Mutex, MutexGuard};

/// How long a thread waits for another request before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// More threads than this are not started; requests wait for one of them then.
const MAX_THREADS: usize = 512;

/// Decides for each request where it runs.
#[derive(Clone, Debug)]
pub struct Workers {
    busy: Arc<AtomicUsize>,
    limit: usize,
    pool: Arc<Pool>,
}

/// Marks an event loop as free again, also when its request panics.
struct Occupied<'a>(&'a AtomicUsize);

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Workers {
    /// For `event_loops` threads that receive requests.
    pub fn new(event_loops: usize) -> Self {
        Self {
            busy: Arc::default(),
            limit: event_loops.saturating_sub(1),
            pool: Arc::default(),
        }
    }

    /// Runs `request` here, or hands it on if this is the last free event loop. If no thread can be started
    /// for it then, it is dropped with the reply that it owns, and the kernel gets EIO.
    pub fn run(&self, request: impl FnOnce() + Send + 'static) {
        self.pool.keep_one();
        let occupied = Occupied(&self.busy);
        if self.busy.fetch_add(1, Ordering::Acquire) < self.limit {
            request();
            return;
        }
        drop(occupied);
        self.pool.run(Box::new(request));
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads that are started for requests, and end when there are none.
#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    more: Condvar,
    first: OnceLock<()>,
}

#[derive(Default)]
struct State {
    /// Requests that an idle thread is about to take, or that wait because of [`MAX_THREADS`].
    queue: VecDeque<Job>,
    idle: usize,
    threads: usize,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts the one thread that stays, so that there is one whatever the system refuses later.
    fn keep_one(self: &Arc<Self>) {
        self.first.get_or_init(|| {
            let _ = self.start(None);
        });
    }

    fn run(self: &Arc<Self>, job: Job) {
        let mut state = self.lock();
        if state.idle > state.queue.len() || state.threads >= MAX_THREADS {
            state.queue.push_back(job);
            drop(state);
            self.more.notify_one();
            return;
        }
        drop(state);
        if let Err(error) = self.start(Some(job)) {
            warn!("a request failed with EIO, because no thread can be started: {error} [threads]");
        }
    }

    /// Starts a thread for `job`, or one that waits for jobs and stays.
    fn start(self: &Arc<Self>, job: Option<Job>) -> io::Result<()> {
        let stays = job.is_none();
        self.lock().threads += 1;
        let pool = self.clone();
        let started = thread::Builder::new().name("worker".into()).spawn(move || {
            let _gone = Gone(&pool);
            let mut job = job.or_else(|| pool.next(stays));
            while let Some(next) = job {
                next();
                job = pool.next(stays);
            }
        });
        if started.is_err() {
            self.lock().threads -= 1;
        }
        started.map(drop)
    }

    /// Waits for a job; `None` if none comes and this thread does not stay.
    fn next(&self, stays: bool) -> Option<Job> {
        let mut state = self.lock();
        state.idle += 1;
        let job = loop {
            if let Some(job) = state.queue.pop_front() {
                break Some(job);
            }
            let timeout = self.more.wait_for(&mut state, IDLE);
            if timeout.timed_out() && state.queue.is_empty() && !stays {
                break None;
            }
        };
        state.idle -= 1;
        job
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Counts a thread out, also when its request panics.
struct Gone<'a>(&'a Pool);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn requests_that_hang_leave_one_event_loop_free() {
        let workers = Workers::new(3);
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let (done, finished) = mpsc::channel();
        // As many hang as would stop every event loop, and then some.
        let loops: Vec<_> = (0..2)
            .map(|_| {
                let (workers, wait) = (workers.clone(), wait.clone());
                thread::spawn(move || workers.run(move || wait.lock().recv().unwrap()))
            })
            .collect();
        while workers.busy.load(Ordering::Acquire) < 2 {
            thread::yield_now();
        }
        for _ in 0..5 {
            let wait = wait.clone();
            workers.run(move || wait.lock().recv().unwrap());
        }
        let here = thread::current().id();
        workers.run(move || done.send(thread::current().id()).unwrap());
        assert_ne!(finished.recv().unwrap(), here);
        (0..7).for_each(|_| release.send(()).unwrap());
        loops.into_iter().for_each(|handle| handle.join().unwrap());
    }

    #[test]
    fn a_panic_frees_its_event_loop() {
        let workers = Workers::new(2);
        let inner = workers.clone();
        let panicked = thread::spawn(move || inner.run(|| panic!("expected by the test"))).join();
        assert!(panicked.is_err());
        assert_eq!(workers.busy.load(Ordering::Acquire), 0);
    }
}
