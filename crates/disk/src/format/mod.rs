//! The formats of disk images.
//!
//! A format is one file of this folder: it recognises its files, and parses them into a map from the
//! disk's bytes to where they lie. Reading, holes, decompression, caches, errors and
//! further files are written once, for all maps. To add a format, write its file and name it in `TABLE`.

mod blocks;
mod container;
mod context;
mod error;
mod input;
mod map;
mod needs;
mod open;
mod other;
mod ova;
mod probe;
mod qcow2;
mod raw;
mod runs;
mod sequence;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;
mod xz;

use std::fmt;

pub use container::{Container, Details};
pub(crate) use context::{Backing, Context, Parsed, Stop};
pub(crate) use error::SharedError;
pub use error::{Damage, Defect, FormatError};
pub use input::File;
pub(crate) use input::Input;
pub(crate) use map::{Extent, Map, Packed, Place};
pub use needs::{Given, Need, Role};
pub use open::{Opening, Options, Step};
pub(crate) use probe::Probe;
pub use runs::{Origin, Run, Runs};
pub(crate) use xz::{XzBlock, decode as decode_xz};

/// What is to be known of a format before a file in it is parsed.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Name in JSON output.
    pub(crate) name: &'static str,
    /// Name for people, to stand at the beginning of a sentence.
    pub(crate) title: &'static str,
    /// QEMU's name of it, if that is another one.
    pub(crate) qemu_name: Option<&'static str>,
    /// Extensions that name the format, without dot. Only an image with one of them may need further files.
    pub(crate) extensions: &'static [&'static str],
    /// Whether a file is in this format.
    pub(crate) recognise: fn(&Probe<'_>) -> bool,
    /// How its files are read.
    pub(crate) reading: Reading,
}

/// How the files of a format are read.
#[derive(Debug)]
pub(crate) enum Reading {
    /// By this parser.
    Parse(fn(&mut Context<'_>) -> Result<Parsed, Stop>),
    /// Not at all. The text says why and what to do.
    Refuse(&'static str),
}

/// All formats, in the order in which a file is tried for them: what is found first counts.
///
/// Raw is last: it takes every file.
static TABLE: &[&Kind] = &[
    &vhd::FIXED,
    &vhd::DYNAMIC,
    &vhdx::KIND,
    &vmdk::KIND,
    &vdi::KIND,
    &ova::KIND,
    &qcow2::KIND,
    &other::QCOW1,
    &other::QED,
    &other::PARALLELS,
    &other::GZIP,
    &xz::KIND,
    &other::ZSTD,
    &other::BZIP2,
    &other::LZ4,
    &other::ZIP,
    &other::SEVEN_ZIP,
    &other::EWF,
    &other::DMG,
    &other::ISO9660,
    &raw::KIND,
];

/// The format of a file that may be a disk image.
#[derive(Clone, Copy)]
pub struct Format(&'static Kind);

impl Format {
    /// No container: the bytes are the disk.
    pub const RAW: Self = Self(&raw::KIND);
    /// Compressed with xz.
    pub const XZ: Self = Self(&xz::KIND);
    /// QEMU copy-on-write, version 2 or 3.
    pub(crate) const QCOW2: Self = Self(&qcow2::KIND);

    /// A disk and the footer of a VHD behind it.
    pub const FIXED_VHD: Self = Self(&vhd::FIXED);
    /// A VHD that leaves out what is zero, or holds only what was changed in another one.
    pub const DYNAMIC_VHD: Self = Self(&vhd::DYNAMIC);
    /// Hyper-V's format.
    pub(crate) const VHDX: Self = Self(&vhdx::KIND);

    /// VMware's format.
    pub(crate) const VMDK: Self = Self(&vmdk::KIND);

    /// All formats.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|kind| Self(kind))
    }

    /// Name of the format in JSON output.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Why files in this format are not shown and what to do; `None` if they are parsed.
    pub fn refusal(self) -> Option<&'static str> {
        match self.0.reading {
            Reading::Parse(_) => None,
            Reading::Refuse(reason) => Some(reason),
        }
    }

    /// Extensions that name the format, without dot and in lower case.
    pub fn extensions(self) -> &'static [&'static str] {
        self.0.extensions
    }

    /// Whether QEMU's `name` of a format is this one.
    pub(crate) fn is_called_by_qemu(self, name: &str) -> bool {
        self.kind().qemu_name.unwrap_or(self.name()) == name
    }

    pub(crate) fn kind(self) -> &'static Kind {
        self.0
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Format {}

impl std::hash::Hash for Format {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Display for Format {
    /// The format as a person would name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.title)
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod samples;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
