//! The daemon: a mount from its first check to its end.

pub mod sandbox;

mod auto_unmount;
mod confinement;
mod events;
mod notify;
mod progress;
mod read_ahead;
mod session;
mod status;

pub use session::{Reporting, serve};
pub use status::{Status, StatusError, ask};
