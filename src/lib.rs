//! Raw disk images of a folder, presented as Azure-ready fixed VHDs.

pub mod advice;
pub mod catalog;
pub mod check;
pub mod cli;
pub mod commands;
pub mod disk;
pub mod folder;
pub mod footer;
pub mod format;
pub mod fs;
pub mod fuse;
pub mod geometry;
pub mod gpt;
pub mod image;
pub mod layout;
pub mod logging;
pub mod mounts;
pub mod names;
pub mod printable;
pub mod range;
pub mod select;
pub mod session;
pub mod source;
pub mod sys;
pub mod view;
pub mod workers;
