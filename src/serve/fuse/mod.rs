//! The only place that speaks FUSE: decodes requests, calls [`FileSystem`](super::fs::FileSystem), encodes
//! replies. A panic in a request is contained and becomes EIO.

mod attributes;
mod buffers;
mod passthrough;
mod requests;

pub use passthrough::Passthrough;
pub use requests::Fuse;
