//! What the mounting command does before and after the daemon.
//!
//! Before: [`options`] of the mount and what permits it, and the [`mountpoint`], which is checked, locked,
//! and made on request. After: [`unmount`] ends a mount from any process, and [`client`] asks its daemon for
//! its state. Both find mounts in the kernel's [`table`]. [`error`] has the reasons for a mount that failed.
//!
//! Knows nothing of the bytes that a mount shows.

pub mod client;
pub mod error;
pub mod mountpoint;
pub mod options;
pub mod table;
pub mod unmount;
