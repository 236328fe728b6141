//! `vhdfs check`: at the command line, and of images made by the real tools; where it relocates a
//! partition table, those tools judge it.
//!
//! The system images want root, as mmdebstrap does.

mod base;
mod broken;
mod command;
mod containers;
mod disks;
mod formats;
mod hostile;
mod relocation;
mod system;
mod tools;
