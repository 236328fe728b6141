//! Raw disk images of a folder, presented as Azure-ready fixed VHDs.

#![forbid(unsafe_code)]

pub mod advice;
pub mod cli;
pub mod commands;
pub mod daemon;
pub mod folder;
pub mod logging;
pub mod mount;
pub mod proof;
pub mod serve;
pub mod troubles;
