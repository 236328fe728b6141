//! Memory that is kept back for when the system refuses more.
//!
//! Rust ends a process whose allocation fails, and with it the mount. So some memory is set aside,
//! and let go of if an allocation fails: the requests under way can end with it, and new ones
//! are refused until it could be set aside again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags};

/// Bytes that are set aside: a request takes a few KiB.
const RESERVE: usize = 1 << 20;

/// Allocations of more bytes than this are not worth the reserve. They are made where a failure is
/// an error of one request (`try_reserve`).
const LARGEST: usize = 32 << 10;

/// How often an allocation is tried again that fails even with the reserve, a millisecond apart:
/// another thread may be about to let go of the reserve, or to end its request.
const TRIES: u32 = 1000;

/// Threads that need the reserve now. Meanwhile it may not be set aside again.
static IN_NEED: AtomicU32 = AtomicU32::new(0);

/// What is set aside now: a mapping of [`RESERVE`] bytes, or null.
static SET_ASIDE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// The system's allocator, which falls back on what [`set_aside`] has set aside.
#[derive(Debug)]
pub struct Allocator;

// SAFETY: all memory comes from `System`, which keeps the promises; nothing here allocates or
// unwinds.
unsafe impl GlobalAlloc for Allocator {
    // SAFETY: the caller's promises are those of `System`.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        helped(layout.size(), || unsafe { System.alloc(layout) })
    }

    // SAFETY: the caller's promises are those of `System`.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        helped(layout.size(), || unsafe { System.alloc_zeroed(layout) })
    }

    // SAFETY: the caller's promises are those of `System`, from which the memory came.
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; if it fails, the memory is as before, and may be asked for again.
        helped(size, || unsafe { System.realloc(memory, layout, size) })
    }

    // SAFETY: the caller's promises are those of `System`, from which the memory came.
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Sets memory aside, if none is: to be called before a request that allocates.
///
/// # Errors
///
/// `ENOMEM` if the system refuses it, or if another thread needs it just now.
pub fn set_aside() -> rustix::io::Result<()> {
    if IN_NEED.load(Ordering::Acquire) != 0 {
        return Err(rustix::io::Errno::NOMEM);
    }
    if !SET_ASIDE.load(Ordering::Acquire).is_null() {
        return Ok(());
    }
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping, at a place that the kernel chooses.
    let memory = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), RESERVE, access, flags)? };
    // If another thread was faster, the older one is the one too many.
    let_go(SET_ASIDE.swap(memory, Ordering::AcqRel));
    Ok(())
}

/// Has threads share one heap for each processor, at least two: glibc makes eight (`M_ARENA_MAX`, mallopt(3)), and what
/// many threads allocated and freed would be kept as often.
pub fn share_heaps() {
    #[cfg(target_env = "gnu")]
    {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let heaps = libc::c_int::try_from(processors.max(2)).unwrap_or(libc::c_int::MAX);
        // SAFETY: it sets a number that the allocator reads when a thread needs a heap.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, heaps) };
    }
}

fn helped(size: usize, allocate: impl Fn() -> *mut u8) -> *mut u8 {
    let memory = allocate();
    if !memory.is_null() || size > LARGEST {
        return memory;
    }
    IN_NEED.fetch_add(1, Ordering::AcqRel);
    let memory = with_the_reserve(allocate);
    IN_NEED.fetch_sub(1, Ordering::AcqRel);
    memory
}

/// Null if nothing helps.
fn with_the_reserve(allocate: impl Fn() -> *mut u8) -> *mut u8 {
    for _ in 0..TRIES {
        // A thread that began to set it aside before it was needed may have taken it once more.
        let_go(SET_ASIDE.swap(ptr::null_mut(), Ordering::AcqRel));
        let memory = allocate();
        if !memory.is_null() {
            return memory;
        }
        thread::sleep(Duration::from_millis(1));
    }
    ptr::null_mut()
}

/// Gives a reserve that was taken out of [`SET_ASIDE`] back to the system.
fn let_go(reserve: *mut c_void) {
    if !reserve.is_null() {
        // SAFETY: the caller swapped it out, so it holds the only pointer to this mapping, whose memory
        // was never used.
        let _ = unsafe { rustix::mm::munmap(reserve, RESERVE) };
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// An allocator that has nothing left before the reserve is let go of.
    #[test]
    fn small_allocations_that_fail_get_the_reserve() {
        let tries = Cell::new(0);
        let allocate = || {
            tries.set(tries.get() + 1);
            let is_set_aside = !SET_ASIDE.load(Ordering::Acquire).is_null();
            if is_set_aside {
                ptr::null_mut()
            } else {
                ptr::dangling_mut()
            }
        };
        set_aside().unwrap();
        assert!(helped(LARGEST + 1, allocate).is_null());
        assert_eq!(tries.get(), 1);
        assert!(!helped(LARGEST, allocate).is_null());
        assert_eq!(tries.get(), 3);
        set_aside().unwrap();
        assert!(!SET_ASIDE.load(Ordering::Acquire).is_null());

        // No thread takes the reserve away again from one that needs it, and others may be late to give
        // back what they have.
        tries.set(0);
        let allocate = || {
            tries.set(tries.get() + 1);
            if tries.get() > 1 {
                assert_eq!(set_aside(), Err(rustix::io::Errno::NOMEM));
            }
            if tries.get() < 5 {
                ptr::null_mut()
            } else {
                ptr::dangling_mut()
            }
        };
        assert!(!helped(LARGEST, allocate).is_null());
        set_aside().unwrap();
    }
}
