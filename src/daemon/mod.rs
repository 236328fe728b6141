//! The daemon: one mount from its first check to its end.
//!
//! The phases follow one another by value (`phases`): prepared → mounted → confined → serving →
//! ended, so that an order that is wrong does not compile. What the confined daemon can no longer
//! do is done by the [`broker`].

pub mod broker;
pub mod sandbox;

mod auto_unmount;
mod confinement;
mod connection;
mod events;
mod notify;
mod phases;
mod progress;
mod read_ahead;
pub(crate) mod socket;
mod status;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use indicatif::MultiProgress;

use crate::folder::catalog;
use crate::logging::Messages;
use crate::mount::error::MountError;
use crate::mount::options::Options;
use crate::serve::fs::Ownership;

use phases::Prepared;
pub use status::Status;

/// What to mount, where and how.
#[derive(Debug)]
pub struct Request {
    /// The source folder, or one image.
    pub source: PathBuf,
    /// The folder to mount on.
    pub mountpoint: PathBuf,
    /// Which images appear.
    pub catalog: catalog::Options,
    /// Whose they seem to be.
    pub ownership: Ownership,
    /// How to mount.
    pub options: Options,
}

/// Where a mount reports what goes on in it.
#[derive(Clone, Debug)]
pub struct Reporting {
    /// The latest warnings and errors.
    pub messages: Arc<Messages>,
    /// Where to draw the progress of readers, if anywhere.
    pub bars: Option<MultiProgress>,
}

/// Mounts, calls `ready` once the mount replies to requests, and serves it until it is unmounted or
/// a signal ends it.
///
/// # Errors
///
/// Why it cannot be mounted, or how serving it failed.
pub fn serve(
    request: Request,
    reporting: Reporting,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), MountError> {
    Prepared::new(request, reporting)?
        .mount()?
        .confine()?
        .serve(ready)?
        .wait()
}
