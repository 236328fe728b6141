//! An ordinary user, for what root may do and others may not.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use super::process::{describe, run, tool};

const NAME: &str = "vhdfs-test";

/// Somebody who runs commands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// An ordinary user: `vhdfs-test`, made where it is missing, or, where the tests do not run
    /// as root, whoever runs them.
    pub(crate) fn ordinary() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self {
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
            };
        }
        // Tests of one file run at once.
        static CREATION: Mutex<()> = Mutex::new(());
        let _creation = CREATION.lock().unwrap_or_else(|poison| poison.into_inner());
        Self::find().unwrap_or_else(|| {
            let mut command = Command::new(tool("useradd"));
            command.args(["--system", "--user-group", "--no-create-home", NAME]);
            let output = run(&mut command);
            // Another test process may have been faster.
            Self::find().unwrap_or_else(|| panic!("{}", describe(&command, &output)))
        })
    }

    fn find() -> Option<Self> {
        let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
        let mut fields = passwd
            .lines()
            .map(|line| line.split(':'))
            .find_map(|mut fields| (fields.next() == Some(NAME)).then_some(fields))?;
        fields.next()?;
        Some(Self {
            uid: fields.next()?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
        })
    }

    /// A command that this user will run, without any of root's groups.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        self.will_run(&mut command);
        command
    }

    /// Makes this user run the command.
    pub(crate) fn will_run(self, command: &mut Command) {
        if rustix::process::geteuid().is_root() {
            // The standard library drops all supplementary groups with the uid.
            command.uid(self.uid).gid(self.gid);
        }
        command.env("HOME", "/nonexistent");
    }

    /// Copies a file that perhaps only this user may read to one that everybody may.
    pub(crate) fn copy(self, from: &Path, to: &Path) {
        let output = run(self.command(tool("cat")).arg(from));
        assert!(output.status.success(), "{output:?}");
        fs::write(to, output.stdout).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    }

    /// Makes this user the owner of one file or folder.
    pub(crate) fn own(self, path: &Path) {
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
