//! Where refusals are provoked, and what every one of them must be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::process::{copy_program, describe, repository};
use crate::harness::root::elsewhere;
use crate::harness::{Lab, MIB, User, random_image, run};

/// A source folder, an empty folder to mount on, and the program where everybody can run it.
pub(crate) struct Place {
    pub(crate) lab: Lab,
    pub(crate) source: PathBuf,
    pub(crate) mountpoint: PathBuf,
    pub(crate) program: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let lab = Lab::new();
        let (source, mountpoint) = (lab.folder("source"), lab.folder("mnt"));
        random_image(&source.join("disk.raw"), 1, MIB);
        User::ordinary().own(&mountpoint);
        let program = lab.path().join("vhdfs");
        copy_program(&program);
        Self {
            lab,
            source,
            mountpoint,
            program,
        }
    }

    pub(crate) fn vhdfs(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command
    }

    /// `vhdfs mount OPTIONS SOURCE MOUNTPOINT`
    pub(crate) fn mount(&self, options: &[&str]) -> Command {
        let mut command = self.vhdfs(&["mount"]);
        command
            .args(options)
            .arg(&self.source)
            .arg(&self.mountpoint);
        command
    }

    /// The same as somebody who is not root.
    pub(crate) fn mount_as_user(&self, options: &[&str]) -> Command {
        let mut command = self.mount(options);
        User::ordinary().will_run(&mut command);
        command
    }

    /// The same where `preparation` has changed the machine.
    pub(crate) fn mount_elsewhere(
        &self,
        preparation: &str,
        user: Option<User>,
        options: &[&str],
    ) -> Command {
        let mut command = elsewhere(preparation, user);
        command.arg(&self.program).arg("mount").args(options);
        command.arg(&self.source).arg(&self.mountpoint);
        command
    }

    /// An ordinary file of this text.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.lab.path().join(name);
        fs::write(&path, text).expect("write a file");
        path
    }
}

/// Runs a command that must fail with `status`, nothing on standard output, and one line that
/// holds each of `words`: the culprit, and what to do.
#[track_caller]
pub(crate) fn refused(mut command: Command, status: i32, words: &[&str]) {
    let output = run(&mut command);
    let what = describe(&command, &output);
    assert_eq!(output.status.code(), Some(status), "{what}");
    assert!(output.stdout.is_empty(), "{what}");
    let text = String::from_utf8(output.stderr).expect("a message");
    assert!(
        text.starts_with("vhdfs: ") && text.ends_with('\n'),
        "{what}"
    );
    assert_eq!(text.lines().count(), 1, "{what}");
    let id = text.trim_end().rsplit(' ').next().unwrap_or_default();
    let page = repository().join("docs/TROUBLESHOOTING.md");
    let page = fs::read_to_string(page).expect("the document");
    assert!(
        page.contains(&format!("\n### {id}\n")),
        "no section {id:?}: {what}"
    );
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {what}");
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a name of a test")
}
