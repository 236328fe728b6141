//! The source folder: which entries appear, under which names, in which version, and opening them beneath it.

pub mod acl;
pub mod beneath;
pub mod catalog;
pub mod filesystem;
pub mod given_up;
pub mod lease;
pub mod metadata;
pub mod missing;
pub mod names;
pub mod opened;
pub mod select;
pub mod settle;
pub mod source;
pub mod writers;
