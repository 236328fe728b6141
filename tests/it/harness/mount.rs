//! A real mount by the real program, gone with the value.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::log::Log;
use super::options::Options;
use super::process::{Lab, describe, run, tool};
use super::user::User;

/// How long something may hang before the test gives up on it; nothing is timed by this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mounted source. Dropping it unmounts, and panics where that does not end cleanly or where
/// something grave was logged that the test did not ask for.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(super) program: PathBuf,
    pub(super) mountpoint: PathBuf,
    pub(super) log: Log,
    pub(super) user: Option<User>,
    pub(super) foreground: Option<Child>,
    pub(super) mounted: bool,
    pub(super) said: String,
    /// Holds the mount point and the log.
    pub(super) _lab: Lab,
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

    /// What the command that mounted in the background has said.
    pub(crate) fn said(&self) -> &str {
        &self.said
    }

    /// What the program has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Where it does so.
    pub(crate) fn log_file(&self) -> &Path {
        self.log.path()
    }

    /// By its end the program shall have logged a line that holds `words`, grave or not.
    pub(crate) fn expect_log(&self, words: &str) {
        self.log.want(|wanted| wanted.expect(words));
    }

    /// The program may log warnings and errors that hold `words`.
    pub(crate) fn allow_log(&self, words: &str) {
        self.log.want(|wanted| wanted.allow(words));
    }

    /// Sends a signal to the program.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        for pid in self.pids() {
            let pid = Pid::from_raw(pid as i32).expect("a process id");
            kill_process(pid, signal).expect("send a signal");
        }
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

    #[track_caller]
    pub(super) fn start_background(&mut self, mut command: Command) {
        let output = run(&mut command);
        assert!(output.status.success(), "{}", describe(&command, &output));
        let said = [output.stdout, output.stderr].concat();
        self.said = String::from_utf8(said).expect("text");
        self.mounted = true;
        assert!(
            is_mount(&self.mountpoint),
            "{command:?} returned before the mount was there"
        );
    }

    #[track_caller]
    pub(super) fn start_foreground(&mut self, mut command: Command) {
        let mut options = File::options();
        let log = options.create(true).append(true).open(self.log.path());
        let log = log.expect("a log");
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
        let mut command = Command::new(&self.program);
        if let Some(user) = self.user {
            user.will_run(&mut command);
        }
        command.arg("umount").arg(&self.mountpoint);
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
        self.log.judge()
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

fn detach(mountpoint: &Path) {
    let _ = run(Command::new(tool("umount")).arg("-l").arg(mountpoint));
}
