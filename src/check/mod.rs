//! Whether an image satisfies what Azure asks of a disk.
