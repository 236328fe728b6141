//! Copies of the image that was prepared right, with something broken.

use std::path::{Path, PathBuf};

use check::{Level, Options, Report};

use super::base::{self, base, grub_cfg};
use super::tools::{Folder, check, ids, output};

/// Findings of the image that was prepared right.
pub(crate) const RIGHT: &[&str] = &["agent-version", "cmdline-rootdelay-long", "size-upload"];

/// A copy of the right image with a root file system that is changed by debugfs.
pub(crate) struct Broken {
    folder: Folder,
    image: PathBuf,
    script: String,
    files: usize,
}

impl Broken {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        let image = folder.copy("disk.raw", &base().image);
        Self {
            folder,
            image,
            script: String::new(),
            files: 0,
        }
    }

    pub(crate) fn command(mut self, command: &str) -> Self {
        self.script.push_str(command);
        self.script.push('\n');
        self
    }

    pub(crate) fn remove(self, path: &str) -> Self {
        self.command(&format!("rm {path}"))
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        self.command(&format!("mkdir {path}"))
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.command(&format!("symlink {path} {target}"))
    }

    /// Writes a file, in place of the one that is there.
    pub(crate) fn write(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.files += 1;
        let file = self
            .folder
            .file(&format!("file{}", self.files), bytes.as_ref());
        self.put(path, &file)
    }

    /// Writes a program.
    pub(crate) fn program(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        use std::os::unix::fs::PermissionsExt;
        self.files += 1;
        let file = self
            .folder
            .file(&format!("file{}", self.files), bytes.as_ref());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        self.put(path, &file)
    }

    pub(crate) fn put(self, path: &str, file: &Path) -> Self {
        let file = file.display().to_string();
        self.remove(path).command(&format!("write {file} {path}"))
    }

    /// The text of a file in the right image.
    pub(crate) fn text(&self, path: &str) -> String {
        let file = base().root.join(path.trim_start_matches('/'));
        std::fs::read_to_string(file).expect("the file is there")
    }

    pub(crate) fn replace(self, path: &str, from: &str, to: &str) -> Self {
        let text = self.text(path);
        assert!(text.contains(from), "{path} has no {from}");
        self.write(path, text.replace(from, to))
    }

    pub(crate) fn cmdline(self, cmdline: &str) -> Self {
        self.write("/boot/grub/grub.cfg", grub_cfg(&base().kernel, cmdline))
    }

    pub(crate) fn apply(&self) {
        let device = format!("{}?offset={}", self.image.display(), base::ROOT_START);
        let output = output(
            "debugfs",
            &[&"-w", &"-f", &"-", &device],
            self.script.as_bytes(),
        );
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        // Removing what is about to be written anew may find nothing.
        let failed = |line: &&str| !line.starts_with("debugfs") && !line.contains("File not found");
        let failed = errors.lines().find(|line| !line.is_empty() && failed(line));
        assert_eq!(failed, None, "{}", self.script);
    }

    /// Asserts which findings come and go.
    pub(crate) fn expect_change(self, more: &[&str], less: &[&str]) {
        let mut expected: Vec<_> = RIGHT.iter().chain(more).copied().collect();
        expected.retain(|id| !less.contains(id));
        expected.sort_unstable();
        let report = self.report();
        assert_eq!(ids(&report), expected, "{report}");
        let decides = |level| level == Level::Error || level == Level::Unknown;
        let ready = !report.findings.iter().any(|finding| decides(finding.level));
        assert_eq!(report.ready, ready);
    }

    /// What `check` says of it.
    pub(crate) fn report(&self) -> Report {
        self.apply();
        check(&self.image, Options::default())
    }

    /// Asserts which findings come where no initial RAM disk is read.
    pub(crate) fn expect_before_initrd(self, more: &[&str]) {
        self.expect_change(more, &["cmdline-rootdelay-long"]);
    }

    pub(crate) fn expect(self, more: &[&str]) {
        self.expect_change(more, &[]);
    }
}
