//! What a disk is: ranges of bytes, exact reads with data and holes, partition tables,
//! and the formats of images.
//!
//! Nothing here does I/O: what is read is given as a [`Disk`].
//!
//! ```
//! use disk::{ByteRange, Disk};
//!
//! let disk = vec![7; 4096];
//! let mut sector = [0; 512];
//! disk.read_exact_at(&mut sector, 1024)?;
//! assert_eq!(sector, [7; 512]);
//! assert_eq!(disk.next_data(0)?, Some(ByteRange::new(0, 4096)));
//! assert!(disk.read_exact_at(&mut sector, 4000).is_err());
//! # Ok::<(), std::io::Error>(())
//! ```

#![forbid(unsafe_code)]

mod access;
pub mod cache;
mod codec;
pub mod format;
pub mod gpt;
mod memory;
mod patch;
mod range;

pub use access::{Disk, Prefix};
pub use patch::Patch;
pub use range::ByteRange;
