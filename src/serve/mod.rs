//! Serving views: the requests of the kernel, inodes and handles, and the engines that read.

pub mod fs;
pub mod fuse;
pub mod image;
pub mod workers;
