//! The file system in terms of its own: inodes and handles, attributes, listing, opening, reading. Knows nothing
//! of FUSE.
//!
//! [`FileSystem`] has the operations. An inode is one version of a source (`inodes`); all opens of an
//! inode share one view (`open`). What goes wrong is an [`Error`], the one table of errno values.

mod activity;
mod alarm;
mod attributes;
mod error;
mod file_system;
mod inodes;
mod keeper;
mod listing;
mod losses;
mod open;
mod rate;
mod reader;

pub use activity::{Activity, OpenView, Totals, ViewState};
pub use attributes::{Attributes, Ownership};
pub use error::Error;
pub use file_system::{Cache, FileSystem, Opened};
pub use inodes::ROOT;
pub use listing::{DirectoryEntry, Taken};
pub use reader::Reader;
