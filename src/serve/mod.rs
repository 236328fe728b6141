//! Serving views: the requests of the kernel, inodes and handles, and the engines that read.
//!
//! A request comes in through [`fuse`], which is the only user of fuser, and runs on a thread that
//! [`workers`] chooses, so that one thread always stays free to receive the next. [`fs`] looks up, lists,
//! opens and reads in types of its own. [`image`] is one opened view: the files of its source or a clone of
//! them, and the check of their version after each read.
//!
//! Uses `folder` and the crates; knows neither how the mount came about nor how it ends.

pub mod fs;
pub mod fuse;
pub mod image;
pub mod workers;
