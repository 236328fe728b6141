//! How a folder compares names: byte by byte, or without regard to the case of letters.
//!
//! Which of both holds is a matter of the file system, on some of the single folder. Where neither its
//! kind nor its flags tell, a name is tried in another case.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, IFlags};
use unicode_normalization::UnicodeNormalization;

use super::filesystem::{FileSystemKind, Names};

/// `FS_CASEFOLD_FL` of `linux/fs.h`.
const CASEFOLD: IFlags = IFlags::from_bits_retain(0x4000_0000);

/// Number of names that are tried before a folder counts as one that tells cases apart.
const TRIED: usize = 16;

/// What is known of how a folder compares names without a look at them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Comparison {
    /// Byte by byte.
    Exact,
    /// Without regard to case.
    IgnoringCase,
    /// A name has to be tried.
    Unknown,
}

impl Comparison {
    /// That of an open folder. Costs a system call or two, and reads nothing.
    pub(super) fn of(folder: BorrowedFd<'_>) -> Self {
        match FileSystemKind::of(folder).map(FileSystemKind::names) {
            Ok(Names::Exact) => Self::Exact,
            Ok(Names::IgnoringCase) => Self::IgnoringCase,
            Ok(Names::ByFlag) => {
                let flags = rustix::fs::ioctl_getflags(folder).unwrap_or(IFlags::empty());
                match flags.contains(CASEFOLD) {
                    true => Self::IgnoringCase,
                    false => Self::Exact,
                }
            }
            Ok(Names::Unknown) | Err(_) => Self::Unknown,
        }
    }
}

/// Whether an open folder that holds these `names`, in the order of their bytes, ignores case: it
/// finds an entry under a name that is not among them.
pub(super) fn ignores_case(folder: &OwnedFd, names: &[OsString]) -> bool {
    match Comparison::of(folder.as_fd()) {
        Comparison::Exact => false,
        Comparison::IgnoringCase => true,
        Comparison::Unknown => names
            .iter()
            .filter_map(|name| Some((name, in_other_case(name)?)))
            .filter(|(_, other)| names.binary_search(other).is_err())
            .take(TRIED)
            // One that is gone by now tells nothing.
            .find(|(name, _)| exists(folder.as_fd(), name))
            .is_some_and(|(_, other)| exists(folder.as_fd(), &other)),
    }
}

/// Whether an open folder finds an entry that it has as `name` in another case, too. Then it ignores
/// case, or has two entries; `None` if the name has no letters.
pub(super) fn is_found_in_other_case(folder: BorrowedFd<'_>, name: &OsStr) -> Option<bool> {
    Some(exists(folder, &in_other_case(name)?))
}

fn exists(folder: BorrowedFd<'_>, name: &OsStr) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// What all names have in common that a file system may take for one.
///
/// Two names that differ here are two on every file system that is known; the other way round, some
/// file systems tell names apart that are equal here. Case is folded as by Unicode, the decomposition
/// is canonical, and characters that nobody sees do not count, as on ext4 (`Documentation/filesystems/ext4`).
pub(super) fn fold(name: &OsStr) -> OsString {
    let Some(text) = name.to_str() else {
        return name.to_ascii_lowercase();
    };
    if text.is_ascii() {
        return text.to_ascii_lowercase().into();
    }
    let seen = text.nfd().filter(|letter| !is_ignorable(*letter));
    // Up and down again, so that all forms of a letter come out as one: sharp s, final sigma, dotless i.
    let lower = seen.flat_map(char::to_lowercase);
    let folded = lower
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase);
    folded.nfd().collect::<String>().into()
}

/// `Default_Ignorable_Code_Point` of Unicode 15, but for what is not assigned.
fn is_ignorable(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0001}' | '\u{e0020}'..='\u{e007f}' | '\u{e0100}'..='\u{e01ef}'
    )
}

/// The name with the case of its ASCII letters turned round; `None` if it has none.
fn in_other_case(name: &OsStr) -> Option<OsString> {
    let turned = name.as_bytes().iter().map(|byte| match byte {
        b'a'..=b'z' => byte.to_ascii_uppercase(),
        _ => byte.to_ascii_lowercase(),
    });
    let turned = OsString::from_vec(turned.collect());
    (turned != name).then_some(turned)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    fn folded(name: &str) -> String {
        fold(OsStr::new(name)).into_string().unwrap()
    }

    #[test]
    fn names_that_some_file_system_takes_for_one_fold_alike() {
        for (one, other) in [
            ("Disk.RAW", "dISK.raw"),
            ("Größe.raw", "GRÖSSE.RAW"),
            // Composed and decomposed.
            ("\u{e9}.raw", "E\u{301}.RAW"),
            ("\u{30ac}", "\u{30ab}\u{3099}"),
            ("ΛΟΓΟΣ.img", "λογος.img"),
            // The sign of Kelvin, and what nobody sees.
            ("\u{212a}.raw", "k.raw"),
            ("a\u{200b}.raw", "A.raw"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} and {other}");
        }
        for (one, other) in [
            ("a.raw", "b.raw"),
            ("a.raw", "a.img"),
            ("é", "e"),
            ("日", "本"),
        ] {
            assert_ne!(folded(one), folded(other), "{one} and {other}");
        }
        let bytes = |bytes| fold(OsStr::from_bytes(bytes));
        assert_eq!(bytes(b"\xffA.raw"), bytes(b"\xffa.RAW"));
        assert_ne!(bytes(b"\xffa.raw"), bytes(b"\xfea.raw"));
    }

    #[test]
    fn every_letter_folds_as_its_other_cases_do() {
        let has_cases = |letter: &char| {
            !letter.to_lowercase().eq([*letter]) || !letter.to_uppercase().eq([*letter])
        };
        for letter in ('\0'..=char::MAX).filter(has_cases) {
            let once = folded(&letter.to_string());
            assert_eq!(folded(&once), once, "{letter}");
            for other in [
                letter.to_uppercase().to_string(),
                letter.to_lowercase().to_string(),
            ] {
                assert_eq!(folded(&other), once, "{letter} and {other}");
            }
        }
    }

    #[test]
    fn letters_are_turned_round() {
        let turned = |name: &str| in_other_case(OsStr::new(name));
        assert_eq!(turned("Disk-1.raw"), Some("dISK-1.RAW".into()));
        assert_eq!(turned("ä日.x"), Some("ä日.X".into()));
        assert_eq!(turned("1.日"), None);
        let bytes = OsStr::from_bytes(b"\xffa");
        assert_eq!(in_other_case(bytes).unwrap().as_bytes(), b"\xffA");
    }

    #[test]
    fn links_in_both_cases_are_two_entries() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        File::create(path("a.raw")).unwrap();
        fs::hard_link(path("a.raw"), path("A.RAW")).unwrap();
        let opened = File::open(folder.path()).unwrap().into();
        assert!(!ignores_case(&opened, &["A.RAW".into(), "a.raw".into()]));
        // So it would be if the folder listed one of them alone and the kind of the file system told nothing.
        assert_eq!(
            is_found_in_other_case(opened.as_fd(), OsStr::new("a.raw")),
            Some(true)
        );
        assert_eq!(
            is_found_in_other_case(opened.as_fd(), OsStr::new("1")),
            None
        );
    }
}
