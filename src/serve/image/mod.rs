//! One opened view: exact bytes of one version of a source, or an error.
//!
//! The engine is chosen when the view is opened: the files of the source themselves, checked at every
//! read, or a clone of them (`snapshot`), put together of ranges where the source is no raw disk (`assemble`).

mod assemble;
mod open_image;
mod refusal;
mod snapshot;

pub use assemble::AssembleError;
pub use open_image::{Engine, GptPolicy, OpenImage, Opening};
pub use refusal::Refusal;
pub use snapshot::{Policy, SnapshotError, Snapshots, UnnamedFiles};
