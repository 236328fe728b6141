//! Raw disk images of a folder, presented as Azure-ready fixed VHDs.

pub mod check;
pub mod disk;
pub mod footer;
pub mod format;
pub mod geometry;
pub mod gpt;
