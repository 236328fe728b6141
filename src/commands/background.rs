//! The daemon, and the command that waits until its mount replies.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use log::error;
use rustix::process::{Resource, Rlimit, getppid, getrlimit, setrlimit};
use thiserror::Error;

use super::Failure;
use crate::advice;

/// Set for the daemon: the process id of the command that started it and waits at the
/// other end of its standard output. A process that inherits it further has another parent.
const WAITING: &str = "VHDFS_DAEMON";
/// What the daemon writes there once the mount replies.
const READY: &[u8] = b"ready\n";

/// What keeps the daemon from starting.
#[derive(Debug, Error)]
enum StartError {
    #[error("cannot start the daemon: {}{} [start]", .0, advice::on_resources(.0))]
    Spawn(#[source] io::Error),
    #[error("the daemon ended before the mount replied; `-f` shows what happens [daemon-ended]")]
    Ended,
}

/// Whether this process was started by [`start`].
pub(super) fn is_daemon() -> bool {
    let waiting = env::var(WAITING).ok();
    let waiting = waiting.and_then(|pid| pid.parse().ok());
    waiting.is_some() && waiting == getppid().map(|pid| pid.as_raw_pid())
}

/// Starts this program again with the same arguments and waits until its mount replies. What it
/// says until then goes to our standard error.
pub(super) fn start(arguments: Vec<OsString>) -> Result<(), Failure> {
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_default();
    let mut daemon = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .env(WAITING, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(StartError::Spawn)?;
    let mut said = Vec::new();
    if let Some(pipe) = daemon.stdout.take() {
        pipe.take(READY.len() as u64)
            .read_to_end(&mut said)
            .map_err(StartError::Spawn)?;
    }
    if said == READY {
        return Ok(());
    }
    let status = daemon.wait().map_err(StartError::Spawn)?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        // Its message is on standard error already.
        Some(code) if code != 0 => std::process::exit(code.into()),
        _ => Err(StartError::Ended.into()),
    }
}

/// What takes the place of the terminal; to be opened before the sandbox forbids it.
pub(super) fn open_null() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null")
}

/// Lets go of the terminal and of everything else that was inherited, and then signals the waiting
/// command that the mount replies.
pub(super) fn detach(null: &File) -> io::Result<()> {
    // Fails only for the leader of a process group, and the daemon of a command is none.
    let _ = rustix::process::setsid();
    rustix::process::chdir("/")?;
    rustix::stdio::dup2_stdin(null)?;
    rustix::stdio::dup2_stderr(null)?;
    std::panic::set_hook(Box::new(|panic| error!("{panic} [bug]")));
    // Who sees the word may look at once: by then nothing is left of the terminal.
    let waiting = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(null)?;
    rustix::io::write(waiting, READY)?;
    Ok(())
}

/// Makes the most of what the system allows this process: every open image takes a descriptor.
pub(super) fn prepare_process() {
    // Started through /proc/self/exe, the kernel would call it `exe`.
    let _ = rustix::thread::set_name(c"vhdfs");
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // A process that may not raise it goes on with what there is.
    let _ = setrlimit(Resource::Nofile, raised);
}
