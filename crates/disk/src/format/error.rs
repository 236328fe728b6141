//! Why a file gives no disk, and why a part of a disk cannot be read.

use std::error::Error;
use std::path::PathBuf;
use std::{fmt, io};

use super::{Format, Role};

/// Data that an image promises and its file does not hold.
///
/// While a disk is read it travels in an [`io::Error`] of kind [`io::ErrorKind::InvalidData`];
/// [`Damage::of`] finds it there.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what} at byte {offset} of {file} {defect}")]
pub struct Damage {
    /// Name of the file, as the caller gave it.
    pub file: String,
    /// What is damaged, with its article: "the L2 table".
    pub what: &'static str,
    /// Where it lies in the file, or where it should lie.
    pub offset: u64,
    /// What is wrong with it.
    pub defect: Defect,
}

/// What is wrong with a part of an image.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Defect {
    /// It ends past the end of the file, as in a download that broke off.
    #[error("lies past the end of the file: the image is cut off")]
    PastEnd,
    /// It begins at an offset that the format does not allow.
    #[error("is not aligned as its format demands")]
    Unaligned,
    /// It lies on a table that leads to it.
    #[error("overlaps the image's own tables")]
    Overlap,
    /// It holds a value that the format does not allow.
    #[error("holds a value that its format does not allow")]
    Value,
    /// It does not decompress to what it should.
    #[error("does not decompress")]
    Compression,
    /// Its checksum is wrong.
    #[error("has a wrong checksum")]
    Checksum,
}

impl Damage {
    /// The damage that an error of a read was caused by; `None` if there was another cause.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<Damage> for io::Error {
    fn from(damage: Damage) -> Self {
        Self::new(io::ErrorKind::InvalidData, damage)
    }
}

/// Why a file gives no disk. The text says why and what to do, and leaves it to the caller to name
/// the file first.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(io::Error),
    /// A part that must be read to open the image is damaged.
    #[error(
        "damaged: {0}; get the image again, or repair a copy of it with the program that made it"
    )]
    Damaged(Damage),
    /// There is no byte in it.
    #[error("empty: there is no disk in it")]
    Empty,
    /// A format without random access to a disk, or without a disk.
    #[error("{format}: {reason}")]
    NoDisk {
        /// The format.
        format: Format,
        /// Why there is no disk, and what to do.
        reason: &'static str,
    },
    /// The disk is encrypted.
    #[error("encrypted {0}: decrypt it with `qemu-img convert` to another image first")]
    Encrypted(Format),
    /// The image is only what was changed in another one.
    #[error("holds only what was changed in {}: merge both with the program that made them", the_parent(parent.as_deref()))]
    Differencing {
        /// Name of the other image, if this one gives it.
        parent: Option<String>,
    },
    /// There are changes that are not in place yet.
    #[error(
        "its log holds changes that are not in place yet, as after a power cut: attach it once in Hyper-V, or `qemu-img check -r all`"
    )]
    LogNotEmpty,
    /// The image says of itself that it is corrupt.
    #[error(
        "marked as corrupt by the program that wrote it: repair it with `qemu-img check -r all`"
    )]
    MarkedCorrupt,
    /// The image needs features that this program does not know.
    #[error("needs {0}, which vhdfs cannot read: convert it with `qemu-img convert`")]
    UnknownFeature(String),
    /// The image needs a part that this program does not know.
    #[error(
        "{format} with a {what} that vhdfs does not know and must not ignore ({id}): convert it with the program that made it"
    )]
    UnknownPart {
        /// The format.
        format: Format,
        /// What kind of part.
        what: &'static str,
        /// Its name in the file.
        id: String,
    },
    /// A version of the format that this program does not know.
    #[error(
        "{format} of version {version}, which vhdfs cannot read: convert it with `qemu-img convert`"
    )]
    UnknownVersion {
        /// The format.
        format: Format,
        /// The version number in the file.
        version: u64,
    },
    /// A value is beyond what any program writes.
    #[error("its {what} is {value}, more than vhdfs and `qemu-img` take ({limit})")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// The value in the file.
        value: u64,
        /// The largest that is read.
        limit: u64,
    },
    /// Another disk is needed, and only `--chains` allows it.
    #[error(
        "needs its {role} {}, which is opened only with --chains: mount with --chains, or merge both with `qemu-img convert`",
        name.display()
    )]
    ChainNotAllowed {
        /// What the other file is to the image.
        role: Role,
        /// The other file's name as the image gives it.
        name: PathBuf,
    },
    /// A further file is needed, and the image's extension is another format's.
    #[error(
        "needs its {role} {}, which is opened only for an image whose extension says {format}: rename it to end with .{extension}",
        name.display()
    )]
    ExtensionNotAllowed {
        /// What the other file is to the image.
        role: Role,
        /// The other file's name as the image gives it.
        name: PathBuf,
        /// The format of the image.
        format: Format,
        /// An extension that names the format.
        extension: &'static str,
    },
    /// An image inside of an archive or compressed file needs a further file.
    #[error("needs its {role} {}, which is not opened for an image inside of another file: extract it", name.display())]
    FurtherInside {
        /// What the other file is to the image.
        role: Role,
        /// The other file's name as the image gives it.
        name: PathBuf,
    },
    /// The name of a further file is no relative path.
    #[error(
        "names its {role} `{}`, which is no relative path: change it with `qemu-img rebase -u`, or convert the image",
        printable(name)
    )]
    BadName {
        /// What the other file is to the image.
        role: Role,
        /// The name as the image gives it.
        name: Vec<u8>,
    },
    /// An extent does not lie beside the image.
    #[error(
        "names its extent `{}`, and an extent has to lie in the same folder: put it there, and correct its name in the descriptor",
        printable(.0)
    )]
    ExtentElsewhere(Vec<u8>),
    /// The file is a part of another image.
    #[error(
        "an extent of a {0}, which is no disk alone: its descriptor is the image, a small text file beside it"
    )]
    ExtentAlone(Format),
    /// The image needs a further file and gives no name of it.
    #[error("needs an {0} and does not name it: `qemu-img amend -o data_file=NAME` writes it down")]
    NotNamed(Role),
    /// A file leads back to itself.
    #[error("its chain leads back to {0}: an image cannot be based on itself")]
    Circle(String),
    /// The chain is too long.
    #[error(
        "based on more than {0} other images: shorten the chain with `qemu-img rebase` or `qemu-img commit`"
    )]
    ChainTooLong(usize),
    /// A backing file is not in the format that the image says.
    #[error(
        "its backing file {name} should be in the format {stated} and is {found}: correct it with `qemu-img rebase -u`"
    )]
    BackingFormat {
        /// The backing file's name.
        name: String,
        /// The format that the image states.
        stated: String,
        /// The format that was found.
        found: Format,
    },
    /// A backing file that looks raw without the image saying so.
    #[error(
        "its backing file {0} would be raw, and the image does not say so: `qemu-img rebase -u -F raw` writes it down"
    )]
    BackingNotStated(String),
    /// A compressed file whose reading was not asked for.
    #[error("compressed: mount with --compressed to read it without decompressing it first")]
    CompressedNotAllowed,
    /// An archive lists a disk that is not in it.
    #[error("its OVF lists the disk `{}`, which is not in the archive: get the archive again", printable(.0.as_bytes()))]
    NoMember(String),
    /// A disk in an archive is not there as it is.
    #[error("its disk `{}` is {reason}, so that it cannot be read in the archive: extract it with `tar -xf`", printable(name.as_bytes()))]
    MemberUnreadable {
        /// Name of the disk's file in the archive.
        name: String,
        /// How it is there.
        reason: String,
    },
    /// A compressed file that can only be read from its beginning.
    #[error(
        "compressed in one block, which can only be read from its beginning: decompress it with `unxz`, or compress it in several with `xz --block-size=4MiB`"
    )]
    OneBlock,
    /// A compressed file in blocks that would take too much memory.
    #[error(
        "compressed in blocks of {found} bytes, more than vhdfs takes ({limit}): compress it in smaller ones with `xz --block-size=4MiB`"
    )]
    LargeBlocks {
        /// Size of the largest block in bytes.
        found: u64,
        /// The largest that is read.
        limit: u64,
    },
    /// There are fewer disks in the file than the number asked for.
    #[error("there is no disk number {0} in it")]
    NoSuchDisk(usize),
    /// A further file has a defect of its own.
    #[error("its {role} {name}: {error}")]
    Further {
        /// What the other file is to the image.
        role: Role,
        /// The other file's name.
        name: String,
        /// What is wrong with it.
        error: Box<FormatError>,
    },
}

impl From<io::Error> for FormatError {
    fn from(error: io::Error) -> Self {
        match Damage::of(&error) {
            Some(damage) => Self::Damaged(damage.clone()),
            None => Self::Io(error),
        }
    }
}

impl From<Damage> for FormatError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

/// What an image is based on, for a message.
fn the_parent(name: Option<&str>) -> String {
    match name.filter(|name| !name.is_empty()) {
        Some(name) => format!("its parent `{}`", printable(name.as_bytes())),
        None => "another image".to_owned(),
    }
}

/// Bytes that may be text, for a message.
fn printable(bytes: &[u8]) -> impl fmt::Display {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect::<String>()
}

/// An error shared between the readers that waited for one block.
#[derive(Clone, Debug)]
pub(crate) struct SharedError(std::sync::Arc<io::Error>);

impl SharedError {
    pub(crate) fn new(error: io::Error) -> Self {
        Self(std::sync::Arc::new(error))
    }

    /// The error once more: the same damage or the same number of the operating system.
    pub(crate) fn to_io(&self) -> io::Error {
        Self::copy(&self.0)
    }

    /// An error once more, as far as its kind says it.
    pub(crate) fn copy(error: &io::Error) -> io::Error {
        if let Some(damage) = Damage::of(error) {
            return damage.clone().into();
        }
        match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => error.kind().into(),
        }
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for SharedError {}
