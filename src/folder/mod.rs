//! The source folder: which entries appear, under which names, in which version, and opening them beneath it.
//!
//! | question | module |
//! | --- | --- |
//! | what appears, and why something does not | [`catalog`], on the other modules |
//! | which files are images, by their path | [`select`] |
//! | which name a view has | [`names`] |
//! | which version a file is in, and which versions never come back | [`metadata`], [`given_up`], [`missing`] |
//! | how to open below the folder and nowhere else | [`beneath`] |
//! | exact reads and holes of one file, and of a disk in several | [`source`], [`opened`] |
//! | whether anything can change it while it is read | [`settle`], with [`lease`], [`writers`] and [`filesystem`] |
//! | who may read it | [`acl`] |
//!
//! Knows no inodes, no handles and no FUSE.

pub mod acl;
pub mod beneath;
mod case;
pub mod catalog;
pub mod filesystem;
pub mod given_up;
pub mod lease;
pub mod metadata;
pub mod missing;
pub mod names;
pub mod opened;
mod patient;
pub mod select;
pub mod settle;
pub mod source;
pub mod writers;
