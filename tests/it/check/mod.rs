//! `vhdfs check`: at the command line, and of images made by the real tools; where it relocates a
//! partition table, those tools judge it.
//!
//! The system images want root, as mmdebstrap does.

mod base;
mod bounds;
mod broken;
mod command;
mod containers;
mod disks;
mod filesystems;
mod formats;
mod hostile;
mod relocation;
mod secure_boot;
mod system;
mod tools;
