//! Who runs a request: the thread that received it, or another where too many are busy.
//!
//! fuser's event loops are a fixed number of threads. Were all of them stuck in a source that
//! hangs, nobody would receive requests for the others, nor the unmount. So one of them always
//! stays free: what would occupy the last one is handed to a pool that grows as needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Decides for each request where it runs.
#[derive(Clone, Debug)]
pub struct Workers {
    busy: Arc<AtomicUsize>,
    limit: usize,
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
        }
    }

    /// Runs `request` here, or hands it on where this is the last free event loop.
    pub fn run(&self, request: impl FnOnce() + Send + 'static) {
        let occupied = Occupied(&self.busy);
        if self.busy.fetch_add(1, Ordering::Acquire) < self.limit {
            request();
            return;
        }
        drop(occupied);
        self.run_elsewhere(request);
    }

    /// Hands on `request`, which may take long.
    pub fn run_elsewhere(&self, request: impl FnOnce() + Send + 'static) {
        blocking::unblock(request).detach();
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
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let (done, finished) = mpsc::channel();
        // As many hang as would stop every event loop, and then some.
        let loops: Vec<_> = (0..2)
            .map(|_| {
                let (workers, wait) = (workers.clone(), wait.clone());
                thread::spawn(move || workers.run(move || wait.lock().unwrap().recv().unwrap()))
            })
            .collect();
        while workers.busy.load(Ordering::Acquire) < 2 {
            thread::yield_now();
        }
        for _ in 0..5 {
            let wait = wait.clone();
            workers.run(move || wait.lock().unwrap().recv().unwrap());
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
