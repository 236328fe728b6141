//! Which files of the source folder are taken for disk images, by their path alone.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{Glob, GlobSet, GlobSetBuilder};

/// Extensions of raw images.
const RAW_EXTENSIONS: [&str; 5] = ["raw", "img", "dd", "image", "disk"];

/// Extensions that name a container.
const CONTAINER_EXTENSIONS: [&str; 8] = [
    "vhd", "vhdx", "avhdx", "vdi", "vmdk", "ova", "qcow2", "qcow",
];

/// Extension of a VHD.
const VHD_EXTENSION: &str = "vhd";

/// Extension that follows that of a compressed image.
pub const XZ_EXTENSION: &str = "xz";

/// What a path says about a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It appears if it is an image in any format, raw included.
    Image,
    /// It appears if it is an image in any format but raw: its extension promises a container.
    Container,
    /// It does not appear: its extensions are those of a compressed image, and nothing asks for it.
    Compressed,
    /// It does not appear: nothing asks for it.
    Unselected,
    /// It does not appear: an exclude pattern matches it.
    Excluded,
}

/// The user's choice of files: `--all`, `--include`, `--exclude` and `--compressed`.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    all: bool,
    include: GlobSet,
    exclude: GlobSet,
    compressed: bool,
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
            compressed: false,
        })
    }

    /// Also selects compressed images: an extension of an image, and `.xz`.
    pub fn with_compressed(mut self, compressed: bool) -> Self {
        self.compressed = compressed;
        self
    }

    /// What to do with the file at `path`, given below the source folder.
    pub fn of_file(&self, path: &Path) -> Verdict {
        if self.excludes(path) {
            return Verdict::Excluded;
        }
        if self.all || self.include.is_match(path) {
            return Verdict::Image;
        }
        let verdict = Self::of_extensions(path);
        let is_plain = path.extension().is_some_and(is_image_extension);
        match verdict {
            Verdict::Image | Verdict::Container if !is_plain && !self.compressed => {
                Verdict::Compressed
            }
            verdict => verdict,
        }
    }

    /// What to do with a file at `path` that the user named: only an extension that promises a
    /// container is a reason not to take it for raw, as for every other file.
    pub fn of_named_file(&self, path: &Path) -> Verdict {
        let is_asked_for = self.all || self.include.is_match(path);
        match Self::of_extensions(path) {
            Verdict::Container if !is_asked_for => Verdict::Container,
            _ => Verdict::Image,
        }
    }

    /// Whether a pattern hides the file or folder at `path`, given below the source folder.
    pub fn excludes(&self, path: &Path) -> bool {
        self.exclude.is_match(path)
    }

    /// Whether a file whose name ends in `.xz` may be selected.
    pub fn may_select_xz(&self) -> bool {
        self.compressed || self.all || !self.include.is_empty()
    }

    /// What an extension, or the one before `.xz`, promises.
    fn of_extensions(path: &Path) -> Verdict {
        let extension = path.extension().unwrap_or_default();
        if !extension.eq_ignore_ascii_case(XZ_EXTENSION) {
            return Self::of_extension(extension);
        }
        let inner = Path::new(path.file_stem().unwrap_or_default());
        Self::of_extension(inner.extension().unwrap_or_default())
    }

    fn of_extension(extension: &OsStr) -> Verdict {
        if is_one_of(&RAW_EXTENSIONS, extension) {
            Verdict::Image
        } else if is_one_of(&CONTAINER_EXTENSIONS, extension) {
            Verdict::Container
        } else {
            Verdict::Unselected
        }
    }
}

/// Whether an entry of this name never appears.
pub fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

/// Extensions, in lower case, of files that appear without being asked for.
pub fn image_extensions() -> impl Iterator<Item = &'static str> {
    RAW_EXTENSIONS.into_iter().chain(CONTAINER_EXTENSIONS)
}

/// Whether a file of this extension, in any case, appears without being asked for.
pub fn is_image_extension(extension: &OsStr) -> bool {
    Selection::of_extension(extension) != Verdict::Unselected
}

/// Whether `name` has the extension of a VHD.
pub fn has_vhd_extension(name: &OsStr) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case(VHD_EXTENSION))
}

fn is_one_of(known: &[&str], extension: &OsStr) -> bool {
    known
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
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
        for path in [
            "a.VHD", "a.vhdx", "a.avhdx", "a.vdi", "a.Vmdk", "a.ova", "a.qcow2", "a.QCOW",
        ] {
            let verdict = default.of_file(Path::new(path));
            assert_eq!(verdict, Verdict::Container, "{path}");
        }
        for path in [
            "a",
            "raw",
            "a.raw.txt",
            "a.iso",
            "a.xz",
            "a.tar.xz",
            "a.raw.gz",
        ] {
            let verdict = default.of_file(Path::new(path));
            assert_eq!(verdict, Verdict::Unselected, "{path}");
        }
    }

    #[test]
    fn compressed_images_have_to_be_asked_for() {
        for (path, verdict) in [
            ("a.raw.xz", Verdict::Image),
            ("a.VMDK.XZ", Verdict::Container),
        ] {
            let default = selection(false, &[], &[]);
            assert_eq!(default.of_file(Path::new(path)), Verdict::Compressed);
            let chosen = default.with_compressed(true);
            assert_eq!(chosen.of_file(Path::new(path)), verdict);
            assert_eq!(chosen.of_file(Path::new("a.xz")), Verdict::Unselected);
            let all = selection(true, &[], &[]);
            assert_eq!(all.of_file(Path::new(path)), Verdict::Image);
        }
    }

    #[test]
    fn what_is_named_is_taken_but_for_a_false_promise() {
        let default = selection(false, &[], &["*"]);
        for path in ["a", "a.raw", "a.raw.xz"] {
            assert_eq!(default.of_named_file(Path::new(path)), Verdict::Image);
        }
        let chosen = selection(false, &["*.vhd"], &[]);
        assert_eq!(chosen.of_named_file(Path::new("a.vhd")), Verdict::Image);
        for path in ["a.vdi", "a.vdi.xz"] {
            assert_eq!(chosen.of_named_file(Path::new(path)), Verdict::Container);
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
