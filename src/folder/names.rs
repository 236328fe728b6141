//! Under which name a source appears.
//!
//! A name never silently means another image: if two sources of a folder would take one name, each
//! of them appears under its full name, or not at all.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use thiserror::Error;

use crate::folder::select::{XZ_EXTENSION, image_extensions, is_image_extension};

/// Longest name of a directory entry in bytes (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// What follows the stem of a view's name.
const SUFFIX: &[u8] = b".vhd";

/// How an entry of a folder takes part in naming.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// It appears under its own name: a folder, or a fixed VHD called `*.vhd` that keeps its bytes.
    Own,
    /// It appears under a name made from its own.
    Derived,
    /// So many disks appear, at least two, each under a name made from its own and a number.
    Several(u32),
}

impl Claim {
    /// Whether one of the views of such an entry is that of `disk`.
    fn includes(self, disk: DiskNumber) -> bool {
        match (self, disk) {
            (Self::Own | Self::Derived, None) => true,
            (Self::Several(count), Some(number)) => (1..=count).contains(&number),
            _ => false,
        }
    }
}

/// Number of a disk of an entry that holds several, counted from 1; `None` for the only one.
pub type DiskNumber = Option<u32>;

/// The entries of a folder, as far as naming has to know them.
pub trait Siblings {
    /// What the entry `name` claims; `None` if it does not exist or does not appear.
    fn claim(&self, name: &OsStr) -> Option<Claim>;

    /// The entries called `stem` and an image extension in any case, whatever they are.
    fn with_stem(&self, stem: &OsStr) -> Vec<OsString>;

    /// The entries that the folder may take for `name`, and others: it need not have any.
    fn called(&self, name: &OsStr) -> Vec<OsString> {
        vec![name.to_owned()]
    }

    /// Whether two names are one in the folder.
    fn are_one(&self, name: &OsStr, other: &OsStr) -> bool {
        name == other
    }
}

/// Why a source has no name to appear under.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum NameError {
    /// The name would be longer than a file name can be.
    #[error("its view's name would be {0} bytes long, and a name has at most 255; rename it")]
    TooLong(usize),
    /// Another entry has the name that would be left for it.
    #[error("its view's name {0:?} means another entry; rename one of them")]
    Taken(OsString),
}

/// One disk of an entry.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Candidate {
    name: OsString,
    disk: DiskNumber,
}

/// The name under which a disk of the image `name` appears beside its `siblings`.
///
/// # Errors
///
/// If no legal or unambiguous name is left.
pub fn view_name(
    name: &OsStr,
    disk: DiskNumber,
    claim: Claim,
    siblings: &impl Siblings,
) -> Result<OsString, NameError> {
    if claim == Claim::Own {
        return Ok(name.to_owned());
    }
    let me = Candidate::new(name, disk);
    let short = me.short_name();
    if !is_wanted_by_other(&short, &me, siblings) {
        return legal(short);
    }
    let full = me.full_name();
    let is_own = |name: &OsString| siblings.claim(name) == Some(Claim::Own);
    if full == short || siblings.called(&full).iter().any(is_own) {
        return Err(NameError::Taken(full));
    }
    legal(full)
}

/// The entry that appears under the view name `wanted`, which of its disks that is, and what the
/// entry claims; `None` if nothing appears under that name.
pub fn source_of(
    wanted: &OsStr,
    siblings: &impl Siblings,
) -> Option<(OsString, DiskNumber, Claim)> {
    candidates(wanted, siblings)
        .into_iter()
        .find_map(|Candidate { name, disk }| {
            let claim = siblings.claim(&name)?;
            let appears = claim.includes(disk)
                && view_name(&name, disk, claim, siblings).is_ok_and(|view| view == wanted);
            appears.then_some((name, disk, claim))
        })
}

/// The part of a source's name that its short view name keeps: all of it but an image extension,
/// and `.xz` after one.
pub fn stem(name: &OsStr) -> &OsStr {
    let unpacked = match split(name) {
        Some((inner, extension)) if extension.eq_ignore_ascii_case(XZ_EXTENSION) => inner,
        _ => name,
    };
    match split(unpacked) {
        Some((stem, extension)) if is_image_extension(extension) => stem,
        _ => name,
    }
}

/// `stem` with each image extension in each case, and with `xz` also those that `.xz` follows: all names that
/// [`Siblings::with_stem`] may find.
pub fn spellings(stem: &OsStr, xz: bool) -> impl Iterator<Item = OsString> {
    let packed = if xz { cases(XZ_EXTENSION) } else { Vec::new() };
    image_extensions()
        .flat_map(cases)
        .flat_map(move |extension| {
            let plain = join(stem, &extension);
            let packed: Vec<_> = packed.iter().map(|xz| join(&plain, xz)).collect();
            std::iter::once(plain).chain(packed)
        })
}

/// The name before its last dot, and the extension after it; `None` if it has none.
fn split(name: &OsStr) -> Option<(&OsStr, &OsStr)> {
    let path = Path::new(name);
    Some((path.file_stem()?, path.extension()?))
}

fn join(stem: &OsStr, extension: &str) -> OsString {
    let mut name = stem.as_bytes().to_vec();
    name.push(b'.');
    name.extend(extension.bytes());
    OsString::from_vec(name)
}

/// A word of few letters in all cases that they can have.
fn cases(word: &str) -> Vec<String> {
    word.chars().fold(vec![String::new()], |begun, letter| {
        let upper = letter.to_ascii_uppercase();
        let letters = std::iter::once(letter).chain((upper != letter).then_some(upper));
        let grown =
            letters.flat_map(|letter| begun.iter().map(move |word| format!("{word}{letter}")));
        grown.collect()
    })
}

impl Candidate {
    fn new(name: &OsStr, disk: DiskNumber) -> Self {
        Self {
            name: name.to_owned(),
            disk,
        }
    }

    fn short_name(&self) -> OsString {
        view_of(stem(&self.name), self.disk)
    }

    fn full_name(&self) -> OsString {
        view_of(&self.name, self.disk)
    }
}

fn view_of(stem: &OsStr, disk: DiskNumber) -> OsString {
    let mut name = stem.as_bytes().to_vec();
    if let Some(number) = disk {
        name.extend(format!("-{number}").bytes());
    }
    name.extend(SUFFIX);
    OsString::from_vec(name)
}

/// All disks that could appear under `view`: that of an entry of this name, and those whose names it can be made
/// from.
fn candidates(view: &OsStr, siblings: &impl Siblings) -> Vec<Candidate> {
    let called = |name: &OsStr, disk| {
        let names = siblings.called(name).into_iter();
        names.map(move |name| Candidate { name, disk })
    };
    let mut found: Vec<_> = called(view, None).collect();
    let rest = view.as_bytes().strip_suffix(SUFFIX).unwrap_or_default();
    let mut add = |stem: &[u8], disk| {
        if !stem.is_empty() {
            let stem = OsStr::from_bytes(stem);
            found.extend(called(stem, disk));
            let names = siblings.with_stem(stem);
            found.extend(names.into_iter().map(|name| Candidate { name, disk }));
        }
    };
    add(rest, None);
    if let Some((stem, number)) = numbered(rest) {
        add(stem, Some(number));
    }
    found
}

/// What stands before the number at the end of `stem`, and the number, if there is one as
/// [`view_of`] writes it.
fn numbered(stem: &[u8]) -> Option<(&[u8], u32)> {
    let dash = stem.iter().rposition(|&byte| byte == b'-')?;
    let digits = std::str::from_utf8(&stem[dash + 1..]).ok()?;
    let number: u32 = digits.parse().ok()?;
    (number > 0 && digits == number.to_string()).then_some((&stem[..dash], number))
}

/// Whether a disk other than `me` takes the name `view`, or would take it but for `me`.
fn is_wanted_by_other(view: &OsStr, me: &Candidate, siblings: &impl Siblings) -> bool {
    candidates(view, siblings).iter().any(|other| {
        other != me
            && match siblings.claim(&other.name) {
                None => false,
                Some(Claim::Own) => siblings.are_one(&other.name, view),
                Some(claim) => {
                    claim.includes(other.disk)
                        && (siblings.are_one(&other.short_name(), view)
                            || siblings.are_one(&other.full_name(), view)
                                && is_displaced(other, siblings))
                }
            }
    })
}

/// Whether `disk` has to appear under its full name. Each step of this recursion looks at a
/// shorter name, so it ends.
fn is_displaced(disk: &Candidate, siblings: &impl Siblings) -> bool {
    is_wanted_by_other(&disk.short_name(), disk, siblings)
}

fn legal(name: OsString) -> Result<OsString, NameError> {
    if name.len() > NAME_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    Ok(name)
}

#[cfg(test)]
mod tests;
