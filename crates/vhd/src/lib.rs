//! Any disk as the fixed VHD that Azure takes.
//!
//! Source of the format: Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0.
//!
//! ```
//! use vhd::{Footer, Identity, Layout, View, virtual_size};
//!
//! let disk = vec![1; 1000];
//! let size = virtual_size(1000).expect("a size that can be expressed");
//! let identity = Identity { base_name: b"disk.raw", source_size: 1000, mtime_seconds: 1_700_000_000 };
//! let layout = Layout::fixed_vhd(1000, Footer::fixed(identity, size).encode(), Vec::new())?;
//! let view = View::new(layout, disk);
//! assert_eq!(view.layout().view_size(), 1_048_576 + 512);
//! # Ok::<(), vhd::LayoutError>(())
//! ```

#![forbid(unsafe_code)]

pub mod footer;
mod geometry;
pub mod layout;
pub mod map;
mod size;
pub mod view;
mod warnings;

pub use footer::{Footer, Identity};
pub use geometry::Geometry;
pub use layout::{Layout, LayoutError, virtual_size};
pub use size::{MAX_OS_DISK_SIZE, MAX_UPLOAD_SIZE, MIN_UPLOAD_SIZE};
pub use view::View;
pub use warnings::{RELOCATE_REMEDY, size_warning, warnings};
