//! How the tests mount.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::log::{self, Log, Wanted};
use super::mount::Mount;
use super::process::{Lab, copy_program, tool, vhdfs};
use super::user::User;

/// How to mount; `Options::default()` mounts in the background as whoever runs the tests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// A command that runs the program, which is appended to it with its arguments.
    through: Vec<OsString>,
    foreground: bool,
    user: Option<User>,
    mountpoint: Option<PathBuf>,
    wanted: Wanted,
}

impl Options {
    /// Further arguments of `vhdfs mount`.
    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|a| a.as_ref().to_os_string()));
        self
    }

    /// With `-f`.
    pub(crate) fn foreground(mut self) -> Self {
        self.foreground = true;
        self
    }

    /// As this user, who becomes the owner of the mount point.
    pub(crate) fn user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// On a folder of the test's own.
    pub(crate) fn at(mut self, mountpoint: &Path) -> Self {
        self.mountpoint = Some(mountpoint.to_path_buf());
        self
    }

    /// With a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Run by this command, which gets the program and its arguments as further arguments.
    pub(crate) fn through(mut self, name: &str, arguments: &[&str]) -> Self {
        self.through.push(tool(name).into());
        self.through.extend(arguments.iter().map(Into::into));
        self
    }

    /// With this file open as a descriptor beyond the standard ones.
    pub(crate) fn inheriting(self, file: &Path) -> Self {
        let file = file.to_str().expect("a path of a test");
        self.through("bash", &["-c", "exec \"${@:1}\" 9<\"$0\"", file])
    }

    /// By its end the program shall have logged a line that holds `words`, grave or not.
    pub(crate) fn expect_log(mut self, words: &str) -> Self {
        self.wanted.expect(words);
        self
    }

    /// The program may log warnings and errors that hold `words`.
    pub(crate) fn allow_log(mut self, words: &str) -> Self {
        self.wanted.allow(words);
        self
    }

    /// Mounts, and panics with what the program says where that fails.
    #[track_caller]
    pub(crate) fn mount(self, source: &Path) -> Mount {
        let lab = Lab::new();
        let mountpoint = self.mountpoint.clone();
        let mountpoint = mountpoint.unwrap_or_else(|| lab.folder("mnt"));
        let log = log::chosen_by(&self.arguments);
        let is_log_chosen = log.is_some();
        let log = log.unwrap_or_else(|| lab.path().join("log"));
        if let Some(user) = self.user {
            user.own(&mountpoint);
            File::create(&log).expect("a log");
            user.own(&log);
        }
        let program = program(self.user, &lab);
        let mut command = self.command(&program);
        if self.foreground {
            command.arg("-f");
        } else if !is_log_chosen {
            command.arg("--log-file").arg(&log);
        }
        command.arg(source).arg(&mountpoint);
        let mut mount = Mount {
            program,
            mountpoint,
            log: Log::new(log, self.wanted),
            user: self.user,
            foreground: None,
            mounted: false,
            said: String::new(),
            _lab: lab,
        };
        if self.foreground {
            mount.start_foreground(command);
        } else {
            mount.start_background(command);
        }
        mount
    }

    /// The command but for what depends on the mount.
    fn command(&self, program: &Path) -> Command {
        let mut words = self.through.iter().map(OsString::as_os_str);
        let mut command = Command::new(words.next().unwrap_or(program.as_os_str()));
        if !self.through.is_empty() {
            command.args(words).arg(program);
        }
        if let Some(user) = self.user {
            user.will_run(&mut command);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.arg("mount");
        // Ordinary users may be unable to write beside the sources, which `always` takes.
        if self.user.is_none() {
            command.args(engine(&self.arguments));
        }
        command.args(&self.arguments);
        command
    }
}

/// The engine that the whole run of tests is to use, where the test does not choose one.
fn engine(arguments: &[OsString]) -> Option<OsString> {
    let chosen = arguments
        .iter()
        .any(|argument| argument.to_string_lossy().contains("snapshot"));
    let policy = std::env::var_os("VHDFS_TEST_SNAPSHOT").filter(|_| !chosen)?;
    let mut option = OsString::from("--snapshot=");
    option.push(policy);
    Some(option)
}

/// The program where its user can run it: the build may lie below a folder closed to others.
fn program(user: Option<User>, lab: &Lab) -> PathBuf {
    if user.is_none() {
        return PathBuf::from(vhdfs().get_program());
    }
    let copy = lab.path().join("vhdfs");
    copy_program(&copy);
    copy
}
