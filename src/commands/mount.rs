//! `vhdfs mount`: in the foreground, or as a daemon that the command waits for.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use log::LevelFilter;
use thiserror::Error;

use super::{Failure, catalog_options};
use crate::cli::{MountArgs, Snapshot, kernel_options};
use crate::fs::Ownership;
use crate::image::Policy;
use crate::session::{self, Access};

/// Tells the daemon that it is one. Its standard output is a pipe to the command that waits.
const DAEMON: &str = "VHDFS_DAEMON";
/// What the daemon writes there once the mount answers.
const READY: &[u8] = b"ready\n";
/// Environment variable that sets the log level, in the syntax of env_logger.
const LOG: &str = "VHDFS_LOG";

/// What keeps the command from starting.
#[derive(Debug, Error)]
enum StartError {
    #[error("{}: cannot open the log file: {}", .0, .1)]
    LogFile(String, #[source] io::Error),
    #[error("cannot start the daemon: {0}")]
    Spawn(#[source] io::Error),
    /// It has told why itself.
    #[error("the daemon ended before the mount answered")]
    Daemon,
}

pub(super) fn run(args: MountArgs, arguments: Vec<OsString>) -> Result<(), Failure> {
    let args = args
        .with_options_applied(arguments.clone())
        .map_err(Failure::usage)?;
    if args.foreground {
        return serve(&args, || Ok(()));
    }
    if std::env::var_os(DAEMON).is_some() {
        return serve(&args, || detach(args.log_file.is_some()));
    }
    start_daemon(arguments)
}

fn serve(args: &MountArgs, ready: impl FnOnce() -> io::Result<()>) -> Result<(), Failure> {
    start_log(args)?;
    let options = session::Options {
        access: match (args.allow_other, args.allow_root) {
            (true, _) => Access::Other,
            (false, true) => Access::Root,
            (false, false) => Access::Owner,
        },
        auto_unmount: args.auto_unmount,
        direct_io: args.direct_io,
        snapshot: match args.snapshot {
            Snapshot::Auto => Policy::Auto,
            Snapshot::Always => Policy::Always,
            Snapshot::Never => Policy::Never,
        },
        snapshot_folder: args.snapshot_dir.clone(),
        threads: args.threads.into(),
        kernel: kernel_options(&args.options),
    };
    let ownership = Ownership {
        uid: args.uid,
        gid: args.gid,
        file_mode: args.file_mode,
        dir_mode: args.dir_mode,
    };
    let catalog = catalog_options(&args.selection, true)?;
    Ok(session::serve(
        &args.source,
        &args.mountpoint,
        catalog,
        ownership,
        &options,
        ready,
    )?)
}

/// Starts this program again in a session of its own and waits until its mount answers.
fn start_daemon(arguments: Vec<OsString>) -> Result<(), Failure> {
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_default();
    let mut daemon = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .env(DAEMON, "1")
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
        _ => Err(StartError::Daemon.into()),
    }
}

/// Lets go of the terminal and of the waiting command.
fn detach(keep_stderr: bool) -> io::Result<()> {
    // Fails only for a group leader, and the daemon of a command is none.
    let _ = rustix::process::setsid();
    rustix::process::chdir("/")?;
    rustix::io::write(io::stdout().as_fd(), READY)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    if !keep_stderr {
        rustix::stdio::dup2_stderr(&null)?;
    }
    Ok(())
}

fn start_log(args: &MountArgs) -> Result<(), Failure> {
    let level = match args.verbose {
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let mut builder = env_logger::Builder::new();
    // fuser reports what users can do nothing about, such as requests it does not know.
    builder
        .filter_level(level)
        .filter_module("fuser", LevelFilter::Error);
    builder.parse_env(LOG);
    if let Some(path) = &args.log_file {
        builder.target(env_logger::Target::Pipe(Box::new(open_log(path)?)));
    }
    builder.init();
    Ok(())
}

fn open_log(path: &Path) -> Result<File, StartError> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|error| StartError::LogFile(path.display().to_string(), error))
}
