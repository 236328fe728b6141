//! Files that the kernel serves by itself, from a backing file that we registered.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fuser::BackingId;
use log::warn;
use parking_lot::Mutex;

/// Which open inodes are passed through. The kernel wants all concurrent opens of an inode to use
/// the same backing, or none: the first open decides for those that join it.
#[derive(Debug, Default)]
pub struct Passthrough {
    permitted: AtomicBool,
    inodes: Mutex<HashMap<u64, Shared>>,
}

#[derive(Debug)]
struct Shared {
    backing: Option<Arc<BackingId>>,
    users: usize,
}

impl Passthrough {
    /// The kernel was asked, and lets this process register backing files.
    pub fn permit(&self) {
        self.permitted.store(true, Ordering::Release);
    }

    /// Counts one more open of `inode`, and returns the backing that it has to use. The first open
    /// makes it with `register`, if there is a file to register.
    pub(super) fn join(
        &self,
        inode: u64,
        register: Option<impl FnOnce() -> io::Result<BackingId>>,
    ) -> Option<Arc<BackingId>> {
        let mut inodes = self.inodes.lock();
        let shared = inodes.entry(inode).or_insert_with(|| Shared {
            backing: register
                .filter(|_| self.permitted.load(Ordering::Acquire))
                .and_then(|register| register().inspect_err(log_refusal).ok())
                .map(Arc::new),
            users: 0,
        });
        shared.users += 1;
        shared.backing.clone()
    }

    /// Counts one open of `inode` less; the last one gives the backing back.
    pub(super) fn leave(&self, inode: u64) {
        let mut inodes = self.inodes.lock();
        if let Some(shared) = inodes.get_mut(&inode) {
            shared.users -= 1;
            if shared.users == 0 {
                inodes.remove(&inode);
            }
        }
    }
}

fn log_refusal(error: &io::Error) {
    warn!(
        "the kernel does not take a file for passthrough: {error}; it is read by the daemon [passthrough]"
    );
}
