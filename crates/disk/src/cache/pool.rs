//! Threads that decompress ahead of readers.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use parking_lot::Mutex;

use super::blocks::{Blocks, Job};

/// A bounded number of threads, started when there is something to do for them: a daemon that
/// forks or gives up rights first does not have them yet.
#[derive(Debug)]
pub(crate) struct Pool {
    blocks: Arc<Blocks>,
    threads: usize,
    started: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    pub(super) fn new(blocks: Arc<Blocks>, threads: usize) -> Self {
        Self {
            blocks,
            threads,
            started: Mutex::default(),
        }
    }

    /// Number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Has blocks decoded that will soon be needed.
    pub(crate) fn decode_ahead(&self, jobs: Vec<Job>) {
        if self.threads == 0 || jobs.is_empty() {
            return;
        }
        self.start();
        self.blocks.offer(jobs);
    }

    /// Starts the threads if they do not run. If the system gives none, readers decode alone.
    fn start(&self) {
        let mut started = self.started.lock();
        while started.len() < self.threads {
            let blocks = Arc::clone(&self.blocks);
            let builder = Builder::new().name(format!("decode-{}", started.len()));
            match builder.spawn(move || blocks.work()) {
                Ok(thread) => started.push(thread),
                Err(_) => return,
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.blocks.close();
        let own = std::thread::current().id();
        for thread in self.started.get_mut().drain(..) {
            // A decoded block can hold the last reference to an image, and so to its caches.
            if thread.thread().id() != own {
                // A thread that panicked has been reported already.
                let _ = thread.join();
            }
        }
    }
}
