//! Read leases (fcntl(2), "Leases"): the kernel's guarantee that no process can write to a file.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::checked;

/// `F_SETSIG` (`asm-generic/fcntl.h`), the same on all architectures but MIPS and PA-RISC, which
/// vhdfs does not support.
const F_SETSIG: libc::c_int = 10;
/// `F_SETOWN_EX` and `F_OWNER_TID` (`asm-generic/fcntl.h`).
const F_SETOWN_EX: libc::c_int = 15;
const F_OWNER_TID: libc::c_int = 0;

/// `struct f_owner_ex` (`asm-generic/fcntl.h`).
#[repr(C)]
struct OwnerEx {
    kind: libc::c_int,
    pid: libc::pid_t,
}

const _: () = assert!(size_of::<OwnerEx>() == 8);
const _: () = assert!(size_of::<libc::signalfd_siginfo>() == 128);

/// Why there is no lease.
#[derive(Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The file is open for writing, or has a writable mapping. Network file
    /// systems say the same for other reasons.
    Writers,
    /// It takes the owner of the file, or `CAP_LEASE`.
    Denied,
    /// The file system has no leases.
    Unsupported,
}

/// The thread that is notified when a leased file is opened for writing.
#[derive(Clone, Copy, Debug)]
pub struct Receiver {
    thread: libc::pid_t,
}

/// Where the calling thread reads its notices.
#[derive(Debug)]
pub struct Signals {
    descriptor: OwnedFd,
}

/// A notice of the kernel to a receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notice {
    /// A writer waits for the lease on this descriptor.
    Of(RawFd),
    /// A writer waits for a lease; the queue of signals had no room to say which.
    OfSome,
}

/// The signal for leases: a real-time one, because they carry the descriptor.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 7
}

/// Makes the calling thread a receiver. It must go on reading its notices for as long as there
/// are leases.
///
/// # Errors
///
/// If the system has no descriptor left.
pub fn receive() -> io::Result<(Receiver, Signals)> {
    // SAFETY: the set is plain memory that sigemptyset initializes; all other calls read it or
    // take plain integers. Blocking signals concerns this thread only.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal());
        // In its place if the queue of the other is full; it would end the process.
        libc::sigaddset(&raw mut set, libc::SIGIO);
        let failed = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        let descriptor = checked(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC).into())?;
        let receiver = Receiver {
            // Not libc's: std refers to it weakly, and in a static program with link-time
            // optimization the call would then lead nowhere.
            thread: rustix::thread::gettid().as_raw_pid(),
        };
        let descriptor = OwnedFd::from_raw_fd(descriptor as RawFd);
        Ok((receiver, Signals { descriptor }))
    }
}

impl Signals {
    /// Waits until a process wants to write to a leased file.
    ///
    /// # Errors
    ///
    /// The system's own.
    pub fn wait(&self) -> io::Result<Notice> {
        let mut bytes = [0; size_of::<libc::signalfd_siginfo>()];
        let length = rustix::io::retry_on_intr(|| rustix::io::read(&self.descriptor, &mut bytes))?;
        if length != bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let number = |field: usize| {
            let place = bytes[field..].first_chunk().copied().unwrap_or_default();
            i32::from_ne_bytes(place)
        };
        let signo = number(mem::offset_of!(libc::signalfd_siginfo, ssi_signo));
        Ok(match signo == signal() {
            true => Notice::Of(number(mem::offset_of!(libc::signalfd_siginfo, ssi_fd))),
            false => Notice::OfSome,
        })
    }
}

/// Takes a read lease on a file that is open for reading only. `receiver` is notified when somebody
/// wants to write.
///
/// # Errors
///
/// The system's own, in the outer result.
pub fn take(file: impl AsFd, receiver: Receiver) -> io::Result<Result<(), Refusal>> {
    let fd = file.as_fd().as_raw_fd();
    let owner = OwnerEx {
        kind: F_OWNER_TID,
        pid: receiver.thread,
    };
    // SAFETY: the descriptor is open for the whole call; F_SETOWN_EX reads the structure, and the
    // other commands take plain integers.
    let taken = unsafe {
        checked(libc::fcntl(fd, F_SETOWN_EX, &raw const owner).into())?;
        checked(libc::fcntl(fd, F_SETSIG, signal()).into())?;
        checked(libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK).into())
    };
    let Err(error) = taken else { return Ok(Ok(())) };
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Ok(Err(Refusal::Writers)),
        Some(libc::EACCES | libc::EPERM) => Ok(Err(Refusal::Denied)),
        Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOLCK) => {
            Ok(Err(Refusal::Unsupported))
        }
        _ => Err(error),
    }
}

/// Whether the file still is under the read lease that was taken through this descriptor. It is
/// not if a writer waits.
pub fn is_held(file: impl AsFd) -> bool {
    // SAFETY: takes no argument, and the descriptor is open.
    let kind = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_GETLEASE) };
    kind == libc::F_RDLCK
}

/// Gives a lease back: who waits to write goes on.
pub fn give_back(file: impl AsFd) {
    // SAFETY: takes plain integers, and the descriptor is open.
    unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn receiver() -> (Receiver, mpsc::Receiver<Notice>) {
        let ((sender, notices), (made, receiver)) = (mpsc::channel(), mpsc::channel());
        thread::spawn(move || {
            let (receiver, signals) = receive().unwrap();
            made.send(receiver).unwrap();
            while let Ok(notice) = signals.wait() {
                if sender.send(notice).is_err() {
                    return;
                }
            }
        });
        (receiver.recv().unwrap(), notices)
    }

    #[test]
    fn writers_are_seen_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        fs::write(&path, [1; 10_000]).unwrap();
        let (receiver, notices) = receiver();
        let reader = File::open(&path).unwrap();
        let writer = File::options().write(true).open(&path).unwrap();
        assert_eq!(take(&reader, receiver).unwrap(), Err(Refusal::Writers));
        drop(writer);
        assert_eq!(take(&reader, receiver).unwrap(), Ok(()));
        assert!(is_held(&reader));
        // Other readers and another name do not matter.
        drop(File::open(&path).unwrap());
        let other = folder.path().join("other.raw");
        fs::rename(&path, &other).unwrap();
        assert!(is_held(&reader));
        let writing = thread::spawn(move || File::options().write(true).open(other).unwrap());
        assert_eq!(notices.recv().unwrap(), Notice::Of(reader.as_raw_fd()));
        assert!(!is_held(&reader));
        give_back(&reader);
        drop(writing.join().unwrap());
        assert!(!is_held(&reader));
        assert_eq!(take(&reader, receiver).unwrap(), Ok(()));
    }

    #[test]
    fn what_is_no_file_has_no_leases() {
        let (receiver, _told) = receiver();
        let null = File::open("/dev/null").unwrap();
        assert_eq!(take(&null, receiver).unwrap(), Err(Refusal::Unsupported));
    }
}
