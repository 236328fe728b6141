//! Which files of the source folder are taken for disk images, told from their path alone.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{Glob, GlobSet, GlobSetBuilder};

/// Extensions, in any case, of files that appear without being asked for.
pub const EXTENSIONS: [&str; 5] = ["raw", "img", "dd", "image", "disk"];

/// Extension, in any case, of files that appear as they are where they are a valid fixed VHD.
const VHD_EXTENSION: &str = "vhd";

/// What a path says about a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It appears if it is a raw image or a fixed VHD.
    Image,
    /// It appears only if it is a fixed VHD: its extension promises one.
    VhdOnly,
    /// It does not appear: nothing asks for it.
    Unselected,
    /// It does not appear: an exclude pattern matches it.
    Excluded,
}

/// The user's choice of files: `--all`, `--include` and `--exclude`.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    all: bool,
    include: GlobSet,
    exclude: GlobSet,
}

impl Selection {
    /// A selection of the default extensions, of what matches `include` and, with `all`, of every
    /// file; never of what matches `exclude`.
    ///
    /// Patterns are matched against the whole path below the source folder; `*` also matches `/`.
    /// A folder that is excluded excludes all below it.
    ///
    /// # Errors
    ///
    /// The first pattern that is not a valid glob.
    pub fn new(all: bool, include: &[String], exclude: &[String]) -> Result<Self, globset::Error> {
        Ok(Self {
            all,
            include: globs(include)?,
            exclude: globs(exclude)?,
        })
    }

    /// What to do with the file at `path`, given below the source folder.
    pub fn of_file(&self, path: &Path) -> Verdict {
        let extension = path.extension().unwrap_or_default();
        if self.excludes(path) {
            Verdict::Excluded
        } else if self.all || is_image_extension(extension) || self.include.is_match(path) {
            Verdict::Image
        } else if extension.eq_ignore_ascii_case(VHD_EXTENSION) {
            Verdict::VhdOnly
        } else {
            Verdict::Unselected
        }
    }

    /// Whether a pattern hides the file or folder at `path`, given below the source folder.
    pub fn excludes(&self, path: &Path) -> bool {
        self.exclude.is_match(path)
    }
}

/// Whether an entry of this name never appears.
pub fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

/// Whether a file of this extension appears without being asked for.
pub fn is_image_extension(extension: &OsStr) -> bool {
    EXTENSIONS
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}

/// Whether `name` has the extension of a VHD.
pub fn has_vhd_extension(name: &OsStr) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case(VHD_EXTENSION))
}

fn globs(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern)?);
    }
    set.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(all: bool, include: &[&str], exclude: &[&str]) -> Selection {
        let owned = |patterns: &[&str]| -> Vec<String> {
            patterns.iter().map(|&pattern| pattern.into()).collect()
        };
        Selection::new(all, &owned(include), &owned(exclude)).unwrap()
    }

    #[test]
    fn extensions_select_in_any_case() {
        let default = selection(false, &[], &[]);
        for path in ["a.raw", "a.IMG", "sub/a.Dd", "a.b.image", "a.disk"] {
            assert_eq!(default.of_file(Path::new(path)), Verdict::Image, "{path}");
        }
        assert_eq!(default.of_file(Path::new("a.VHD")), Verdict::VhdOnly);
        for path in ["a", "a.qcow2", "raw", "a.raw.txt", "a.vhdx"] {
            let verdict = default.of_file(Path::new(path));
            assert_eq!(verdict, Verdict::Unselected, "{path}");
        }
    }

    #[test]
    fn exclude_wins_over_all_include_and_extension() {
        let chosen = selection(true, &["*.bin"], &["sub/*", "secret.raw"]);
        assert_eq!(chosen.of_file(Path::new("x.bin")), Verdict::Image);
        assert_eq!(chosen.of_file(Path::new("anything")), Verdict::Image);
        assert_eq!(chosen.of_file(Path::new("secret.raw")), Verdict::Excluded);
        assert_eq!(chosen.of_file(Path::new("sub/x.bin")), Verdict::Excluded);
        assert!(chosen.excludes(Path::new("sub/deep")));
    }

    #[test]
    fn include_matches_the_path_below_the_folder() {
        let chosen = selection(false, &["*.bin", "vm?/disk"], &[]);
        for path in ["x.bin", "a/b/x.bin", "vm1/disk"] {
            assert_eq!(chosen.of_file(Path::new(path)), Verdict::Image, "{path}");
        }
        assert_eq!(chosen.of_file(Path::new("disk")), Verdict::Unselected);
        assert!(Selection::new(false, &["[".into()], &[]).is_err());
    }

    #[test]
    fn names_need_not_be_utf8() {
        let path = Path::new(OsStr::from_bytes(b"\xff\xfe.raw"));
        assert_eq!(selection(false, &[], &[]).of_file(path), Verdict::Image);
        assert_eq!(
            selection(false, &[], &["*.raw"]).of_file(path),
            Verdict::Excluded
        );
    }
}
