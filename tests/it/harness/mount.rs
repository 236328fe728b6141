//! A real mount by the real program, gone with the value.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::process::{Lab, copy_program, describe, run, tool, vhdfs};
use super::user::User;

/// How long something may hang before the test gives up on it; nothing is timed by this.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to mount; `Options::default()` mounts in the background as whoever runs the tests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    arguments: Vec<OsString>,
    foreground: bool,
    user: Option<User>,
    mountpoint: Option<PathBuf>,
    inherited: Option<PathBuf>,
}

impl Options {
    /// Further arguments of `vhdfs mount`.
    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|a| a.as_ref().to_os_string()));
        self
    }

    /// With `-f`; [`Mount::log`] then has what the program says.
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

    /// With this file open as a descriptor beyond the standard ones.
    pub(crate) fn inheriting(mut self, file: &Path) -> Self {
        self.inherited = Some(file.to_path_buf());
        self
    }

    /// Mounts, and panics with what the program says where that fails.
    #[track_caller]
    pub(crate) fn mount(self, source: &Path) -> Mount {
        let lab = Lab::new();
        let mountpoint = self.mountpoint.unwrap_or_else(|| lab.folder("mnt"));
        if let Some(user) = self.user {
            user.own(&mountpoint);
        }
        let mut mount = Mount {
            program: program(self.user, &lab),
            log: lab.path().join("log"),
            _lab: lab,
            mountpoint,
            user: self.user,
            foreground: None,
            mounted: false,
        };
        let mut command = match &self.inherited {
            None => mount.command("mount"),
            Some(file) => {
                let mut shell = Command::new(tool("bash"));
                shell.args(["-c", "exec \"$0\" mount \"${@:2}\" 9<\"$1\""]);
                shell.arg(&mount.program).arg(file);
                shell
            }
        };
        // Ordinary users may be unable to write beside the sources, which `always` takes.
        if self.user.is_none() {
            command.args(engine(&self.arguments));
        }
        command.args(self.arguments);
        if self.foreground {
            command.arg("-f");
        }
        command.arg(source).arg(&mount.mountpoint);
        if self.foreground {
            mount.start_foreground(command);
        } else {
            mount.start_background(command);
        }
        mount
    }
}

/// A mounted source. Dropping it unmounts and panics where that does not end cleanly.
#[derive(Debug)]
pub(crate) struct Mount {
    program: PathBuf,
    mountpoint: PathBuf,
    log: PathBuf,
    user: Option<User>,
    foreground: Option<Child>,
    mounted: bool,
    _lab: Lab,
}

impl Mount {
    /// A mount of `source` with no options.
    #[track_caller]
    pub(crate) fn new(source: &Path) -> Self {
        Options::default().mount(source)
    }

    /// A mount of `source` with further arguments.
    #[track_caller]
    pub(crate) fn with(source: &Path, arguments: &[&str]) -> Self {
        Options::default().args(arguments).mount(source)
    }

    /// The mount point.
    pub(crate) fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// A file or folder below the mount point.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.mountpoint.join(name)
    }

    /// What a program in the foreground has said so far.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Process ids of the program that serves this mount.
    pub(crate) fn pids(&self) -> Vec<u32> {
        pids(&self.program, &self.mountpoint)
    }

    /// Unmounts with `vhdfs umount` and checks that nothing is left.
    #[track_caller]
    pub(crate) fn unmount(mut self) {
        if let Err(error) = self.end() {
            panic!("{error}");
        }
    }

    /// Waits until the program has gone and checks the same: for a test that ended the mount its
    /// own way.
    #[track_caller]
    pub(crate) fn wait_gone(mut self) {
        self.mounted = false;
        if let Err(error) = self.ended() {
            panic!("{error}");
        }
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(user) = self.user {
            user.will_run(&mut command);
        }
        command.arg(subcommand);
        command
    }

    #[track_caller]
    fn start_background(&mut self, mut command: Command) {
        let output = run(&mut command);
        assert!(output.status.success(), "{}", describe(&command, &output));
        self.mounted = true;
        assert!(
            is_mount(&self.mountpoint),
            "{command:?} returned before the mount was there"
        );
    }

    #[track_caller]
    fn start_foreground(&mut self, mut command: Command) {
        let log = File::create(&self.log).expect("a log");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let mut exited = None;
        wait_until("the mount", || {
            exited = child.try_wait().expect("look at the program");
            exited.is_some() || is_mount(&self.mountpoint)
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        if let Some(status) = exited {
            panic!("{command:?}: {status}\n{}", self.log());
        }
        self.foreground = Some(child);
        self.mounted = true;
    }

    fn end(&mut self) -> Result<(), String> {
        self.mounted = false;
        let mut command = self.command("umount");
        command.arg(&self.mountpoint);
        // Another test that starts a program holds what this one had open, for a moment.
        let mut output = run(&mut command);
        let _ = wait_until("the mount to be idle", || {
            let busy = String::from_utf8_lossy(&output.stderr).contains("it is in use");
            if busy {
                output = run(&mut command);
            }
            !busy
        });
        if !output.status.success() {
            detach(&self.mountpoint);
            return Err(describe(&command, &output));
        }
        self.ended()
    }

    fn ended(&mut self) -> Result<(), String> {
        let gone = wait_until("the end of the mount", || !is_mount(&self.mountpoint));
        if gone.is_err() {
            detach(&self.mountpoint);
        }
        gone?;
        if let Some(mut child) = self.foreground.take() {
            let mut status = None;
            let waited = wait_until("the end of the program", || {
                status = child.try_wait().expect("look at the program");
                status.is_some()
            });
            if waited.is_err() {
                let _ = child.kill();
                let _ = child.wait();
            }
            waited?;
            if !status.is_some_and(|status| status.success()) {
                return Err(format!("the program: {status:?}\n{}", self.log()));
            }
        }
        wait_until("the end of the program", || self.pids().is_empty())?;
        // A panic in a request is answered with EIO; it must not go unseen.
        let log = self.log();
        if log.contains("panicked") {
            return Err(log);
        }
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let ended = if self.mounted { self.end() } else { Ok(()) };
        if let Some(mut child) = self.foreground.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Err(error) = ended {
            if thread::panicking() {
                eprintln!("{error}");
            } else {
                panic!("{error}");
            }
        }
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

/// Whether the very folder is a mount point; asks the kernel's table, not the file system, which
/// may hang or be dead.
pub(crate) fn is_mount(folder: &Path) -> bool {
    let table = fs::read("/proc/self/mountinfo").expect("the mount table");
    // The table writes spaces and the like as octal; names of test folders have none.
    table
        .split(|&byte| byte == b'\n')
        .any(|line| line.split(|&byte| byte == b' ').nth(4) == Some(folder.as_os_str().as_bytes()))
}

/// Polls until `done`; an error that names `what` where it hangs.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) -> Result<(), String> {
    let began = Instant::now();
    while !done() {
        if began.elapsed() > PATIENCE {
            return Err(format!("waited {PATIENCE:?} for {what}"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Process ids of `program` with `mountpoint` as an argument.
pub(crate) fn pids(program: &Path, mountpoint: &Path) -> Vec<u32> {
    let program = fs::canonicalize(program).expect("the program");
    let serves = |pid: &u32| {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        fs::read_link(folder.join("exe")).is_ok_and(|exe| exe == program)
            && fs::read(folder.join("cmdline")).is_ok_and(|line| {
                line.split(|&byte| byte == 0)
                    .any(|word| word == mountpoint.as_os_str().as_bytes())
            })
    };
    fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(serves)
        .collect()
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

fn detach(mountpoint: &Path) {
    let _ = run(Command::new(tool("umount")).arg("-l").arg(mountpoint));
}
