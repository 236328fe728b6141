//! The files of an image: what the caller gives, and what an image asks for.

use std::fmt;
use std::path::PathBuf;

use super::File;

/// A file that the caller has opened.
pub struct Given {
    /// Its name for messages, and for its extension.
    pub name: String,
    /// What identifies it, under whatever name: file system and inode.
    pub identity: (u64, u64),
    /// Its bytes.
    pub bytes: File,
}

/// What a further file is to the image that names it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// The disk that it is based on.
    Backing,
    /// What holds all of its data, as a raw disk.
    DataFile,
    /// What holds a part of its data.
    Extent,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backing => "backing file",
            Self::DataFile => "external data file",
            Self::Extent => "extent",
        })
    }
}

/// A further file that an image needs.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Need {
    /// Number of the file that names it, in the order in which the caller gave them; the image itself is 0.
    pub of: usize,
    /// Its name, a path relative to the folder of that file. It may hold `..` and links: that it
    /// stays where it may be is the caller's to see to.
    pub name: PathBuf,
    /// What it is.
    pub role: Role,
}
