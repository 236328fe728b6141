//! Images that were made to hurt: no panic, bounded memory, few reads, and no wrong byte.

mod archives;
mod flips;
mod harness;
mod named;

use peak_alloc::PeakAlloc;

/// Counts what all of the program takes: the tests run one after the other.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;
