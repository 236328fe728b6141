//! Under which name a source appears.
//!
//! A name never silently means another image: where two entries of a folder would take one name,
//! the image gets its full name, or does not appear at all.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use thiserror::Error;

use crate::folder::select::{EXTENSIONS, is_image_extension};

/// Longest name of a directory entry in bytes (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// What follows the stem of a view's name.
const SUFFIX: &[u8] = b".vhd";

/// How an entry of a folder takes part in naming.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// It appears under its own name: a folder, or a fixed VHD called `*.vhd`.
    Own,
    /// It appears under a name made from its own.
    Derived,
}

/// The entries of a folder, as far as naming has to know them.
pub trait Siblings {
    /// What the entry `name` claims; nothing where it does not exist or does not appear.
    fn claim(&self, name: &OsStr) -> Option<Claim>;

    /// The entries called `stem` and an image extension in any case, whatever they are.
    fn with_stem(&self, stem: &OsStr) -> Vec<OsString>;
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

/// The name under which the image `name` appears beside its `siblings`.
///
/// # Errors
///
/// Where no legal or unambiguous name is left.
pub fn view_name(
    name: &OsStr,
    claim: Claim,
    siblings: &impl Siblings,
) -> Result<OsString, NameError> {
    if claim == Claim::Own {
        return Ok(name.to_owned());
    }
    let short = short_name(name);
    if !is_wanted_by_other(&short, name, siblings) {
        return legal(short);
    }
    let full = with_suffix(name);
    if full == short || siblings.claim(&full) == Some(Claim::Own) {
        return Err(NameError::Taken(full));
    }
    legal(full)
}

/// The entry that appears under the view name `wanted`, and what it claims; nothing where none does.
pub fn source_of(wanted: &OsStr, siblings: &impl Siblings) -> Option<(OsString, Claim)> {
    candidates(wanted, siblings).into_iter().find_map(|name| {
        let claim = siblings.claim(&name)?;
        let appears = view_name(&name, claim, siblings).is_ok_and(|view| view == wanted);
        appears.then_some((name, claim))
    })
}

/// The part of a source's name that its short view name keeps: all of it but an image extension.
pub fn stem(name: &OsStr) -> &OsStr {
    let path = Path::new(name);
    match (path.extension(), path.file_stem()) {
        (Some(extension), Some(stem)) if is_image_extension(extension) => stem,
        _ => name,
    }
}

/// `stem` with each image extension in each case: all names that [`Siblings::with_stem`] may find.
pub fn spellings(stem: &OsStr) -> impl Iterator<Item = OsString> {
    EXTENSIONS.iter().flat_map(move |extension| {
        (0..1_u32 << extension.len()).map(move |upper| {
            let mut name = stem.as_bytes().to_vec();
            name.push(b'.');
            name.extend(extension.bytes().enumerate().map(|(place, letter)| {
                if upper >> place & 1 == 1 {
                    letter.to_ascii_uppercase()
                } else {
                    letter
                }
            }));
            OsString::from_vec(name)
        })
    })
}

fn short_name(name: &OsStr) -> OsString {
    with_suffix(stem(name))
}

fn with_suffix(name: &OsStr) -> OsString {
    let mut name = name.as_bytes().to_vec();
    name.extend(SUFFIX);
    OsString::from_vec(name)
}

/// All entries that could appear under `view`: one of that name, and those it can be made from.
fn candidates(view: &OsStr, siblings: &impl Siblings) -> Vec<OsString> {
    let mut names = vec![view.to_owned()];
    if let Some(rest) = view
        .as_bytes()
        .strip_suffix(SUFFIX)
        .filter(|rest| !rest.is_empty())
    {
        let rest = OsStr::from_bytes(rest);
        names.push(rest.to_owned());
        names.extend(siblings.with_stem(rest));
    }
    names
}

/// Whether an entry other than `me` takes the name `view`, or would take it but for `me`.
fn is_wanted_by_other(view: &OsStr, me: &OsStr, siblings: &impl Siblings) -> bool {
    candidates(view, siblings).iter().any(|other| {
        other != me
            && match siblings.claim(other) {
                None => false,
                Some(Claim::Own) => other == view,
                Some(Claim::Derived) => {
                    short_name(other) == view
                        || with_suffix(other) == view && is_displaced(other, siblings)
                }
            }
    })
}

/// Whether `name` has to appear under its full name. Each step of this recursion looks at a
/// shorter name, so it ends.
fn is_displaced(name: &OsStr, siblings: &impl Siblings) -> bool {
    is_wanted_by_other(&short_name(name), name, siblings)
}

fn legal(name: OsString) -> Result<OsString, NameError> {
    if name.len() > NAME_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    struct Folder(BTreeMap<OsString, Claim>);

    impl Folder {
        fn of(entries: &[(&str, Claim)]) -> Self {
            Self(
                entries
                    .iter()
                    .map(|&(name, claim)| (name.into(), claim))
                    .collect(),
            )
        }

        fn view(&self, name: &str) -> Result<String, NameError> {
            let name = OsStr::new(name);
            let view = view_name(name, self.0[name], self)?;
            Ok(view.into_string().unwrap())
        }
    }

    impl Siblings for Folder {
        fn claim(&self, name: &OsStr) -> Option<Claim> {
            self.0.get(name).copied()
        }

        fn with_stem(&self, stem: &OsStr) -> Vec<OsString> {
            spellings(stem)
                .filter(|name| self.0.contains_key(name))
                .collect()
        }
    }

    use Claim::{Derived, Own};

    #[test]
    fn a_source_alone_takes_its_short_name() {
        let folder = Folder::of(&[
            ("disk.raw", Derived),
            ("b.IMG", Derived),
            ("c.bin", Derived),
            ("d", Derived),
        ]);
        assert_eq!(folder.view("disk.raw").unwrap(), "disk.vhd");
        assert_eq!(folder.view("b.IMG").unwrap(), "b.vhd");
        assert_eq!(folder.view("c.bin").unwrap(), "c.bin.vhd");
        assert_eq!(folder.view("d").unwrap(), "d.vhd");
    }

    #[test]
    fn two_that_want_one_name_get_their_full_names() {
        let folder = Folder::of(&[
            ("disk.raw", Derived),
            ("disk.img", Derived),
            ("Disk.raw", Derived),
        ]);
        assert_eq!(folder.view("disk.raw").unwrap(), "disk.raw.vhd");
        assert_eq!(folder.view("disk.img").unwrap(), "disk.img.vhd");
        assert_eq!(folder.view("Disk.raw").unwrap(), "Disk.vhd");
        assert_eq!(source_of(OsStr::new("disk.vhd"), &folder), None);
        let case = Folder::of(&[("disk.raw", Derived), ("disk.RAW", Derived)]);
        assert_eq!(case.view("disk.RAW").unwrap(), "disk.RAW.vhd");
    }

    #[test]
    fn a_vhd_or_a_folder_keeps_its_name() {
        let folder = Folder::of(&[("disk.vhd", Own), ("disk.raw", Derived)]);
        assert_eq!(folder.view("disk.vhd").unwrap(), "disk.vhd");
        assert_eq!(folder.view("disk.raw").unwrap(), "disk.raw.vhd");
    }

    #[test]
    fn a_displaced_source_displaces_in_turn() {
        let folder = Folder::of(&[
            ("a.raw", Derived),
            ("a.img", Derived),
            ("a.raw.raw", Derived),
            ("a.raw.raw.dd", Derived),
        ]);
        assert_eq!(folder.view("a.raw").unwrap(), "a.raw.vhd");
        assert_eq!(folder.view("a.raw.raw").unwrap(), "a.raw.raw.vhd");
        assert_eq!(folder.view("a.raw.raw.dd").unwrap(), "a.raw.raw.dd.vhd");
        let calm = Folder::of(&[("a.raw", Derived), ("a.raw.raw", Derived)]);
        assert_eq!(calm.view("a.raw.raw").unwrap(), "a.raw.vhd");
    }

    #[test]
    fn no_name_is_left() {
        let folder = Folder::of(&[
            ("a", Derived),
            ("a.raw", Derived),
            ("b.raw", Derived),
            ("b.vhd", Own),
            ("b.raw.vhd", Own),
        ]);
        assert_eq!(folder.view("a"), Err(NameError::Taken("a.vhd".into())));
        assert_eq!(folder.view("a.raw").unwrap(), "a.raw.vhd");
        assert_eq!(
            folder.view("b.raw"),
            Err(NameError::Taken("b.raw.vhd".into()))
        );
        let long = "x".repeat(252);
        for (name, length) in [
            (format!("{long}.dd"), 256),
            (format!("{}.disk", &long[..250]), 254),
        ] {
            let folder = Folder::of(&[(&name, Derived)]);
            let want = if length > 255 {
                Err(NameError::TooLong(length))
            } else {
                Ok(format!("{}.vhd", &long[..250]))
            };
            assert_eq!(folder.view(&name), want);
        }
    }

    fn names() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec!["raw", "RAW", "img", "vhd", "x"]);
        proptest::collection::vec(part, 1..5).prop_map(|parts| format!("a.{}", parts.join(".")))
    }

    proptest! {
        #[test]
        fn names_are_unique_found_again_and_stable(
            entries in proptest::collection::btree_map(names(), any::<bool>(), 1..12),
        ) {
            let folder = Folder(entries.iter().map(|(name, own)| {
                (name.into(), if *own && name.ends_with("vhd") { Own } else { Derived })
            }).collect());
            let mut seen = BTreeMap::new();
            for (name, &claim) in &folder.0 {
                let Ok(view) = view_name(name, claim, &folder) else { continue };
                prop_assert_eq!(seen.insert(view.clone(), name), None, "{:?} twice", view);
                prop_assert_eq!(source_of(&view, &folder), Some((name.clone(), claim)));
                if claim == Derived {
                    let rivals = folder.0.iter().filter(|(other, claim)| {
                        **claim == Derived && *other != name && short_name(other) == short_name(name)
                    }).count();
                    prop_assert!(rivals == 0 || view == with_suffix(name));
                }
            }
            for view in [OsStr::new("a.vhd"), OsStr::new("a.raw.vhd"), OsStr::new(".vhd"), OsStr::new("vhd")] {
                let found = source_of(view, &folder).map(|(name, _)| name);
                prop_assert_eq!(found.as_ref(), seen.get(view).copied());
            }
        }
    }
}
