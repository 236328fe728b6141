//! The helper: a small process outside of the sandbox that does for the daemon the two things that
//! no sandboxed process can.
//!
//! It ends this one mount, which takes CAP_SYS_ADMIN or a setuid program, and Landlock permits no
//! unmounting at all. And it makes unnamed files for snapshots beside the sources, so that the
//! daemon itself needs no right to write below the source folder. It does nothing else, for nobody
//! else, and ends with the daemon.

use std::env;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::cmsg_space;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::thread::CapabilitySet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{forbid_new_privileges, reduce_capabilities};
use crate::mount::unmount::{UnmountError, unmount};
use crate::serve::image::UnnamedFiles;

/// Tells the helper that it is one. Its standard input and output are sockets to the daemon.
const HELPER: &str = "VHDFS_HELPER";
/// Longest message: a tag and a path or an error's text.
const MESSAGE: usize = 8192;

/// Requests and answers; what follows the tag is a path, a text or nothing.
mod tag {
    pub(super) const UNMOUNT: u8 = b'u';
    pub(super) const DETACH: u8 = b'z';
    pub(super) const DONE: u8 = b'+';
    pub(super) const NOT_MOUNTED: u8 = b'n';
    pub(super) const BUSY: u8 = b'b';
    pub(super) const DENIED: u8 = b'd';
    pub(super) const FAILED: u8 = b'-';
}

/// The daemon's side of the helper. The helper ends when it is dropped.
#[derive(Debug)]
pub struct Helper {
    mountpoint: PathBuf,
    unmounting: Mutex<OwnedFd>,
    /// Apart from the other, so that a file system that hangs does not keep the mount from ending.
    files: Mutex<OwnedFd>,
}

impl Helper {
    /// Starts the helper, which will be able to unmount `mountpoint`.
    ///
    /// # Errors
    ///
    /// Where the process cannot be started.
    pub fn start(mountpoint: &Path) -> io::Result<Self> {
        let pair = || {
            let flags = SocketFlags::CLOEXEC;
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        };
        let ((unmounting, its_unmounting), (files, its_files)) = (pair()?, pair()?);
        Command::new("/proc/self/exe")
            .arg0("vhdfs-helper")
            .env(HELPER, "1")
            // It must not keep in use what the daemon lets go of.
            .current_dir("/")
            .stdin(Stdio::from(its_unmounting))
            .stdout(Stdio::from(its_files))
            .stderr(Stdio::null())
            .spawn()?;
        send(&unmounting, mountpoint.as_os_str().as_bytes(), None)?;
        Ok(Self {
            mountpoint: mountpoint.to_owned(),
            unmounting: Mutex::new(unmounting),
            files: Mutex::new(files),
        })
    }

    /// Unmounts as [`unmount`] does.
    ///
    /// # Errors
    ///
    /// As there, or where the helper was killed.
    pub fn unmount(&self, lazy: bool) -> Result<(), UnmountError> {
        let path = self.mountpoint.clone();
        let request = [if lazy { tag::DETACH } else { tag::UNMOUNT }];
        let answer = match ask(&self.unmounting, &request, None) {
            Ok((answer, _)) => answer,
            Err(error) => {
                let text = format!(
                    "the helper that unmounts is gone ({error}); run `vhdfs umount` when vhdfs has ended"
                );
                return Err(UnmountError::Failed(path, io::Error::other(text)));
            }
        };
        Err(match answer.split_first() {
            Some((&tag::DONE, _)) => return Ok(()),
            Some((&tag::NOT_MOUNTED, _)) => UnmountError::NotMounted(path),
            Some((&tag::BUSY, _)) => UnmountError::Busy(path),
            Some((&tag::DENIED, _)) => UnmountError::Denied(path),
            Some((_, text)) => {
                let text = String::from_utf8_lossy(text).into_owned();
                UnmountError::Failed(path, io::Error::other(text))
            }
            None => UnmountError::Failed(path, io::ErrorKind::UnexpectedEof.into()),
        })
    }
}

impl UnnamedFiles for Helper {
    fn unnamed_file(&self, folder: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
        let (answer, file) = ask(&self.files, &[tag::DONE], Some(folder))?;
        match (answer.split_first(), file) {
            (Some((&tag::DONE, _)), Some(file)) => Ok(file),
            (Some((&tag::FAILED, code)), _) => Err(errno_from(code)),
            _ => Err(Errno::PIPE),
        }
    }
}

/// Whether this process was started as a helper.
pub fn is_helper() -> bool {
    env::var_os(HELPER).is_some()
}

/// Is the helper, until the daemon ends.
pub fn run_helper() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    // A signal to the daemon's group, from a terminal or a service manager, is for the daemon, which
    // then still needs the helper.
    let _ = rustix::process::setsid();
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    if rustix::process::geteuid().is_root() {
        let kept = CapabilitySet::SYS_ADMIN | CapabilitySet::DAC_OVERRIDE;
        reduce_capabilities(kept)?;
        // Ordinary users need the setuid program that unmounts for them.
        forbid_new_privileges().map_err(io::Error::other)?;
    }
    let files = io::stdout().as_fd().try_clone_to_owned()?;
    thread::Builder::new()
        .name("files".into())
        .spawn(move || make_files(&files))?;
    let daemon = io::stdin();
    let (mountpoint, _) = receive(&daemon)?;
    let mountpoint = PathBuf::from(std::ffi::OsString::from_vec(mountpoint));
    loop {
        let (request, _) = receive(&daemon)?;
        let result = match request.first() {
            Some(&tag::UNMOUNT) => unmount(&mountpoint, false),
            Some(&tag::DETACH) => unmount(&mountpoint, true),
            // The daemon has ended.
            _ => return Ok(()),
        };
        send(&daemon, &answer_for(result), None)?;
    }
}

fn answer_for(result: Result<(), UnmountError>) -> Vec<u8> {
    match result {
        Ok(()) => vec![tag::DONE],
        Err(UnmountError::NotMounted(_)) => vec![tag::NOT_MOUNTED],
        Err(UnmountError::Busy(_)) => vec![tag::BUSY],
        Err(UnmountError::Denied(_)) => vec![tag::DENIED],
        Err(UnmountError::Failed(_, error)) => {
            let mut answer = vec![tag::FAILED];
            answer.extend(error.to_string().into_bytes());
            answer.truncate(MESSAGE);
            answer
        }
    }
}

/// Makes an unnamed file in each folder that the daemon sends, until it ends.
fn make_files(daemon: &OwnedFd) {
    while let Ok((_, Some(folder))) = receive(daemon) {
        // EXCL: nobody can give the file a name.
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&folder, ".", flags, Mode::RUSR | Mode::WUSR);
        let sent = match &made {
            Ok(file) => send(daemon, &[tag::DONE], Some(file.as_fd())),
            Err(error) => {
                let mut answer = vec![tag::FAILED];
                answer.extend(error.raw_os_error().to_le_bytes());
                send(daemon, &answer, None)
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn errno_from(code: &[u8]) -> Errno {
    let code = code.try_into().map(i32::from_le_bytes);
    code.map_or(Errno::PIPE, Errno::from_raw_os_error)
}

/// Sends a request and waits for its answer; others wait meanwhile.
fn ask(
    socket: &Mutex<OwnedFd>,
    request: &[u8],
    file: Option<BorrowedFd<'_>>,
) -> rustix::io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
    send(&*socket, request, file)?;
    match receive(&*socket)? {
        (answer, _) if answer.is_empty() => Err(Errno::PIPE),
        received => Ok(received),
    }
}

fn send(socket: impl AsFd, message: &[u8], file: Option<BorrowedFd<'_>>) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    if let Some(file) = &file {
        attached.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(file)));
    }
    let message = [IoSlice::new(message)];
    // Whoever is gone is told by EPIPE; its signal would end this process.
    let flags = SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(&socket, &message, &mut attached, flags))?;
    Ok(())
}

/// One message and the file that came with it; empty where the other side is gone.
fn receive(socket: impl AsFd) -> rustix::io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut message = vec![0; MESSAGE];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::io::retry_on_intr(|| {
        let mut message = [IoSliceMut::new(&mut message)];
        rustix::net::recvmsg(&socket, &mut message, &mut attached, flags)
    })?;
    message.truncate(received.bytes);
    let mut files = attached.drain().filter_map(|attached| match attached {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let file = files.next().and_then(|mut files| files.next());
    Ok((message, file))
}
