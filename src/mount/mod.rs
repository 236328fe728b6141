//! What the mounting command does before and after the daemon: checks, options, the mount table, unmounting.

pub mod client;
pub mod error;
pub mod mountpoint;
pub mod options;
pub mod table;
pub mod unmount;
