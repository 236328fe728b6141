//! What tests that run in one process, on one machine, share and must not disturb.

use std::cell::Cell;
use std::fs;
use std::sync::{RwLock, RwLockReadGuard};
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// Gives the calling test a table of descriptors of its own; the threads that it starts later use
/// the same.
///
/// A process that is started inherits all descriptors of its parent, and drops them when it runs its
/// program. For that moment it would hold what other tests have open: an image open for writing, a
/// file on a file system that is about to be unmounted. Other threads than a test's first are left
/// alone, because they pass files to one another.
pub(crate) fn own_descriptors() {
    thread_local!(static DONE: Cell<bool> = const { Cell::new(false) });
    // The test runner names the threads of tests after them.
    let is_test = thread::current().name().is_some_and(|name| name != "main");
    if is_test && !DONE.replace(true) {
        unshare(CloneFlags::CLONE_FILES).expect("a table of descriptors");
    }
}

static PAGE_CACHE: RwLock<()> = RwLock::new(());

/// For as long as the value lives, no test empties the kernel's caches.
pub(crate) fn keep_caches() -> RwLockReadGuard<'static, ()> {
    PAGE_CACHE
        .read()
        .unwrap_or_else(|poison| poison.into_inner())
}

/// Empties the kernel's caches of files, names and inodes: what they hold would hide errors of a
/// source.
pub(crate) fn drop_caches() {
    let _alone = PAGE_CACHE
        .write()
        .unwrap_or_else(|poison| poison.into_inner());
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").expect("root may drop caches");
}
