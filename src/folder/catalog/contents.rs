//! What a file holds: a raw disk, a VHD that is shown as it is, or disks in another format.

use std::hash::{Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::SystemTime;

use lru::LruCache;
use parking_lot::Mutex;
use rustix::io::Errno;
use siphasher::sip::SipHasher13;

use super::chain::{Further, OpenError};
use super::open_file::OpenFile;
use super::skip::Refused;
use super::{Catalog, Image, Skip};
use crate::folder::metadata::{Kind, Metadata, Version};
use crate::folder::source::SourceFile;
use disk::Disk;
use disk::format::{Container, Details, Format, FormatError, Given, Opening, Step};
use vhd::footer::{FOOTER_SIZE, Footer};
use vhd::layout::ALIGNMENT;

/// Largest number of disks of one file that are shown.
pub(super) const MAX_DISKS: usize = 255;

/// What a file holds, in one version of all files that its disks are read from.
#[derive(Clone, Debug)]
pub(super) enum Contents {
    /// A disk that is all of the file.
    Raw,
    /// A fixed VHD that Azure takes: it appears byte for byte.
    Verbatim,
    /// Disks in a format that says where their bytes are.
    Disks(Arc<Disks>),
}

/// The disks in a file.
#[derive(Debug)]
pub(super) struct Disks {
    pub(super) format: Format,
    /// Whether the file holds, or leads to, nothing but a raw disk.
    pub(super) is_raw_inside: bool,
    /// The further files that they are read from, in the order in which they are asked for.
    pub(super) further: Box<[Further]>,
    /// Each of them, at least one.
    pub(super) disks: Box<[Result<DiskFacts, Arc<Refused>>]>,
}

/// What is known of a disk without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct DiskFacts {
    /// Size in bytes.
    pub(super) size: u64,
    /// Number of bytes that its images take.
    pub(super) stored: u64,
    /// The file whose first bytes are the disk's as they are: 0 is the image itself, the others are the
    /// further files.
    pub(super) flat_file: Option<usize>,
}

impl Disks {
    /// What is known of the disk at `index`, if it can be shown.
    pub(super) fn facts(&self, index: usize) -> Option<DiskFacts> {
        self.disks.get(index)?.as_ref().ok().copied()
    }
}

impl Contents {
    pub(super) fn format(&self) -> Format {
        match self {
            Self::Raw => Format::RAW,
            Self::Verbatim => Format::FIXED_VHD,
            Self::Disks(disks) => disks.format,
        }
    }

    /// Whether these are the same disks from the same files, as far as is known without reading
    /// them.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Raw, Self::Raw) | (Self::Verbatim, Self::Verbatim) => true,
            (Self::Disks(one), Self::Disks(other)) => {
                let facts = |disks: &Disks| -> Vec<_> {
                    let count = 0..disks.disks.len();
                    count.map(|number| disks.facts(number)).collect()
                };
                one.format == other.format
                    && one.is_raw_inside == other.is_raw_inside
                    && facts(one) == facts(other)
                    && one.further.len() == other.further.len()
                    && one
                        .further
                        .iter()
                        .zip(&other.further)
                        .all(|(one, other)| one.is(other))
            }
            _ => false,
        }
    }

    /// The further files that the disks are read from.
    pub(super) fn further(&self) -> &[Further] {
        match self {
            Self::Raw | Self::Verbatim => &[],
            Self::Disks(disks) => &disks.further,
        }
    }

    /// Number of disks, at least 1.
    pub(super) fn disk_count(&self) -> usize {
        match self {
            Self::Raw | Self::Verbatim => 1,
            Self::Disks(disks) => disks.disks.len(),
        }
    }

    /// Whether no container says that there is a disk: any bytes would be one.
    pub(super) fn is_raw_inside(&self) -> bool {
        match self {
            Self::Raw => true,
            Self::Verbatim => false,
            Self::Disks(disks) => disks.is_raw_inside,
        }
    }
}

/// What is remembered of a version of a file.
#[derive(Clone, Debug)]
enum Known {
    Holds(Contents),
    /// The same, of versions whose times others may have, too.
    Held,
    Refused(Arc<Refused>),
    /// It was logged that it does not appear; the reason may have changed with other files.
    Logged,
}

/// What files were found to hold, by version and place: further files are named relative to it, and the
/// name says whether there may be any.
#[derive(Debug)]
pub(super) struct KnownContents(Mutex<LruCache<(Version, u64), Known>>);

/// Number of files that are remembered: enough that listing a folder of 100,000 images
/// again reads none of them again. About 150 bytes each.
const REMEMBERED: std::num::NonZeroUsize = std::num::NonZeroUsize::new(1 << 17).unwrap();

impl Default for KnownContents {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl KnownContents {
    fn get(&self, key: &(Version, u64)) -> Option<Known> {
        self.0.lock().get(key).cloned()
    }

    /// Remembers it; returns what was known before.
    fn put(&self, key: (Version, u64), found: Known) -> Option<Known> {
        self.0.lock().put(key, found)
    }
}

impl Catalog {
    /// Fills in what the image holds, from memory if this version was looked at before. `open` opens it.
    pub(super) fn look_into(
        &self,
        image: &mut Image,
        open: impl FnOnce(&Image) -> io::Result<OwnedFd>,
    ) -> Result<(), Skip> {
        let is_file = image.metadata.kind == Kind::File;
        if is_file {
            match self.known.get(&image.key()) {
                Some(Known::Holds(contents)) if self.are_current(contents.further()) => {
                    image.contents = contents;
                    image.is_lasting = true;
                    return Ok(());
                }
                Some(Known::Refused(refused)) if self.is_lasting(image) => {
                    return Err(Skip::Refused(refused));
                }
                _ => {}
            }
        }
        let file = open(image)?;
        // The entry may have been replaced since: go on with what was opened.
        image.metadata = Metadata::of(file.as_fd())?;
        let file = Arc::new(OpenFile::new(file, image.metadata.version.size));
        let now = SystemTime::now();
        match self.contents_of(image, &file) {
            Ok(contents) => {
                let further = contents.further().iter();
                image.is_lasting = further
                    .map(|file| file.metadata.version)
                    .chain([image.metadata.version])
                    .all(|version| version.is_older_than_its_clock(now));
                let known = match image.is_lasting {
                    true => Known::Holds(contents.clone()),
                    false => Known::Held,
                };
                self.known.put(image.key(), known);
                image.contents = contents;
                Ok(())
            }
            Err(Skip::Refused(refused)) => {
                self.log_refusal(image, &refused);
                Err(Skip::Refused(refused))
            }
            Err(skip) => Err(skip),
        }
    }

    /// Whether no other version of the file can have its times.
    fn is_lasting(&self, image: &Image) -> bool {
        let version = &image.metadata.version;
        version.is_older_than_its_clock(SystemTime::now())
    }

    /// Whether the opened file still holds what the image was found to hold.
    pub(super) fn still_holds(&self, image: &Image, file: &SourceFile) -> io::Result<bool> {
        let copy = OpenFile::new(file.as_fd().try_clone_to_owned()?, file.size());
        match self.contents_of(image, &Arc::new(copy)) {
            Ok(contents) => Ok(contents.is(&image.contents)),
            Err(Skip::Unreadable(error)) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Logs the refusal once for each version, and remembers what cannot change without it.
    fn log_refusal(&self, image: &Image, refused: &Arc<Refused>) {
        let found = match refused.is_lasting {
            true => Known::Refused(Arc::clone(refused)),
            false => Known::Logged,
        };
        // Another request may have looked at the same version meanwhile. A device is of one version
        // whatever is written to it.
        let before = self.known.put(image.key(), found);
        let is_new = !matches!(before, Some(Known::Logged | Known::Refused(_)));
        if is_new && self.options.log_skipped {
            log::warn!(
                "{}: does not appear: {refused} [does-not-appear]",
                image.shown_path().display()
            );
        }
    }

    fn contents_of(&self, image: &Image, file: &Arc<OpenFile>) -> Result<Contents, Skip> {
        let mut further = Vec::new();
        let given = Given {
            name: image.shown_path().to_string_lossy().into_owned(),
            identity: image.metadata.version.identity(),
            bytes: file.clone(),
        };
        let (opening, first) = self.open_disk(image, given, 0, &mut further);
        let first = first.map_err(|error| refused(error, file, further.is_empty()));
        if let Ok(disk) = &first {
            let details = disk.details();
            if details.format == Format::RAW && details.inner.is_none() {
                return Ok(Contents::Raw);
            }
            if details.format == Format::FIXED_VHD && is_taken_by_azure(file)? {
                return Ok(Contents::Verbatim);
            }
        }
        let disks = all_disks(opening, first, file)?;
        // One that cannot be shown keeps no other away.
        let details: Vec<_> = disks.iter().flatten().map(Container::details).collect();
        let Some(outer) = details.first() else {
            let mut reasons = disks.into_iter().filter_map(Result::err);
            let reason = reasons.next().map(Skip::Refused);
            return Err(reason.unwrap_or(Skip::Special));
        };
        let is_raw = |details: &&Details| innermost(details).format == Format::RAW;
        Ok(Contents::Disks(Arc::new(Disks {
            format: outer.format,
            is_raw_inside: details.iter().all(is_raw),
            further: further.into(),
            disks: disks
                .into_iter()
                .map(|disk| disk.map(|disk| DiskFacts::of(&disk)))
                .collect(),
        })))
    }
}

/// All disks of a file of which the first was opened, or not.
///
/// # Errors
///
/// Where the file cannot be read.
fn all_disks(
    mut opening: Opening,
    first: Result<Container, Skip>,
    file: &OpenFile,
) -> Result<Vec<Result<Container, Arc<Refused>>>, Skip> {
    let shown = |disk| match disk {
        Ok(disk) => Ok(Ok(disk)),
        Err(Skip::Refused(refused)) => Ok(Err(refused)),
        Err(skip) => Err(skip),
    };
    let mut disks = vec![shown(first)?];
    for number in 1..opening.disks().clamp(1, MAX_DISKS) {
        let disk = match opening.another(number).and_then(|()| opening.step()) {
            Ok(Step::Ready(disk)) => Ok(disk),
            // An image inside of another has no further files.
            Ok(Step::Needs(_)) => Err(io::Error::from(Errno::INVAL).into()),
            Err(error) => Err(refused(error.into(), file, true)),
        };
        disks.push(shown(disk)?);
    }
    Ok(disks)
}

/// Why a disk is not shown. `is_alone` says whether that has to do with its own file only.
fn refused(error: OpenError, file: &OpenFile, is_alone: bool) -> Skip {
    match error.into_io() {
        Ok(error) => Skip::Unreadable(error),
        Err(error) => Skip::Refused(Arc::new(Refused::new(error, file, is_alone))),
    }
}

impl DiskFacts {
    fn of(disk: &Container) -> Self {
        Self {
            size: disk.size(),
            stored: disk.stored_size(),
            flat_file: disk.flat_file(),
        }
    }
}

fn innermost(details: &Details) -> &Details {
    match &details.inner {
        Some(inner) => innermost(inner),
        None => details,
    }
}

/// Whether a fixed VHD can be uploaded byte for byte.
fn is_taken_by_azure(file: &OpenFile) -> io::Result<bool> {
    let Some(offset) = file.size().checked_sub(FOOTER_SIZE as u64) else {
        return Ok(false);
    };
    let mut bytes = [0; FOOTER_SIZE];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(offset.is_multiple_of(ALIGNMENT) && Footer::decode_fixed(&bytes, file.size()).is_ok())
}

impl Image {
    /// What its contents are remembered by.
    fn key(&self) -> (Version, u64) {
        // Links to one file may differ in place and name, and so in the further files they lead to.
        let mut place = SipHasher13::new();
        self.file_path().hash(&mut place);
        self.name.hash(&mut place);
        (self.metadata.version, place.finish())
    }
}

/// The format of an opened file of `size` bytes, by its content.
///
/// # Errors
///
/// The file system's own; `UnexpectedEof` if the file is shorter by now.
pub fn format_of(file: OwnedFd, size: u64) -> io::Result<Format> {
    Format::of(&OpenFile::new(file, size))
}

/// Why a file in this format never shows a disk; `None` if it may.
pub(super) fn refusal(format: Format) -> Option<Skip> {
    let reason = format.refusal()?;
    let error = FormatError::NoDisk { format, reason };
    Some(Skip::Refused(Arc::new(Refused::of_format(format, error))))
}
