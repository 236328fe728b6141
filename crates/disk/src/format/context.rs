//! What a parser is given, and what it gives back.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Damage, Details, FormatError, Input, Map, Need, Options, Role};
use crate::cache::Caches;

/// What a parser is given.
pub(crate) struct Context<'a> {
    pub(super) input: Input,
    pub(super) caches: &'a Arc<Caches>,
    pub(super) options: &'a Options,
    /// Gives the further files that are open already, and asks for the others.
    pub(super) further: &'a mut dyn FnMut(Need) -> Result<Option<Input>, FormatError>,
}

/// What a parser found.
pub(crate) enum Parsed {
    /// A disk.
    Disk {
        /// Where its bytes lie.
        map: Box<dyn Map>,
        /// What the numbers of inputs in the map stand for.
        inputs: Vec<Input>,
        /// What it is based on.
        backing: Option<Backing>,
        /// What to say about it.
        details: Details,
    },
    /// A file that holds the image of a disk: its own format is found out next.
    Inner {
        /// The image.
        input: Input,
        /// What to say about the outer file.
        details: Details,
    },
    /// A file that holds the images of any number of disks.
    Several {
        /// The images, or why one of them cannot be read.
        images: Vec<Result<Input, FormatError>>,
        /// What to say about the outer file.
        details: Details,
    },
}

impl Parsed {
    /// A disk all of whose bytes lie in `input`.
    pub(crate) fn of_one_file(map: impl Map + 'static, input: Input, details: Details) -> Self {
        Self::Disk {
            map: Box::new(map),
            inputs: vec![input],
            backing: None,
            details,
        }
    }
}

/// A disk that another one is based on.
pub(crate) struct Backing {
    /// Name of its file, relative to that of the image.
    pub(crate) name: PathBuf,
    /// Its format as the image states it; `None` if it does not.
    pub(crate) format: Option<String>,
}

/// Why a parser ended without a disk.
pub(crate) enum Stop {
    /// Further files are needed, which have been asked for.
    Needs,
    /// There is no disk.
    Refused(FormatError),
}

impl Context<'_> {
    /// The file to be parsed.
    pub(crate) fn input(&self) -> &Input {
        &self.input
    }

    /// The caches that tables are read through.
    pub(crate) fn caches(&self) -> &Arc<Caches> {
        self.caches
    }

    /// What the user allows and wants.
    pub(crate) fn options(&self) -> &Options {
        self.options
    }

    /// The further files that the image names, in the same order. The parser is called again once they are open.
    ///
    /// # Errors
    ///
    /// A refusal if they may not be opened; [`Stop::Needs`] if they are not open yet.
    pub(crate) fn further(&mut self, role: Role, names: &[&Path]) -> Result<Vec<Input>, Stop> {
        let mut inputs = Vec::new();
        for name in names {
            inputs.extend((self.further)(Need {
                of: 0,
                name: name.to_path_buf(),
                role,
            })?);
        }
        if inputs.len() < names.len() {
            return Err(Stop::Needs);
        }
        Ok(inputs)
    }
}

impl From<FormatError> for Stop {
    fn from(error: FormatError) -> Self {
        Self::Refused(error)
    }
}

impl From<Damage> for Stop {
    fn from(damage: Damage) -> Self {
        Self::Refused(damage.into())
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Refused(error.into())
    }
}

/// The path that the bytes of a name in an image stand for, if they are a relative one.
///
/// # Errors
///
/// [`FormatError::BadName`] for absolute names, for those that QEMU takes for the address of something else than
/// a file (`json:…`, `nbd:…`: a colon before the first slash), and for those that can be no path.
pub(crate) fn relative_path(role: Role, name: &[u8]) -> Result<PathBuf, FormatError> {
    use std::os::unix::ffi::OsStrExt;

    let special = name.iter().find(|byte| matches!(byte, b':' | b'/'));
    let is_address = special == Some(&b':');
    if name.is_empty() || name.starts_with(b"/") || name.contains(&0) || is_address {
        return Err(FormatError::BadName {
            role,
            name: name.to_vec(),
        });
    }
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(name)))
}
