//! What the daemon and its broker say to one another: one request, one reply, a message each.
//!
//! The first messages of the daemon are how many folders of the mount point were made, and the mount
//! point; all others begin with a tag of one byte. A
//! file travels beside its message.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::folder::writers::Writer;
use crate::mount::table::DeviceNumber;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Longest message in bytes: a tag and a path or the text of an error.
const MESSAGE: usize = 8192;

/// What the daemon asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Request {
    /// End the mount; detach it with `lazy`.
    Unmount {
        /// The number of its device, and of no other mount.
        device: DeviceNumber,
        /// Even while it is in use.
        lazy: bool,
    },
    /// Remove the folders that were made for the mount, as far as they are empty.
    RemoveMountpoint,
    /// Make an unnamed file in the folder that comes with the request.
    UnnamedFile,
    /// Find out who has the file open for writing that comes with the request.
    Writers,
}

/// What the broker replies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reply {
    /// It was done; an unnamed file comes with the reply.
    Done,
    /// Nothing of ours is mounted there.
    NotMounted,
    /// It is in use.
    Busy,
    /// Another mount lies on it.
    Covered,
    /// The user may not.
    Denied,
    /// The system's error.
    Errno(i32),
    /// These processes write.
    Writers(Vec<Writer>),
    /// Another failure, in words.
    Failed(String),
}

impl Request {
    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Self::Unmount { device, lazy } => {
                let tag = if lazy { b'z' } else { b'u' };
                let (major, minor) = (device.0.to_le_bytes(), device.1.to_le_bytes());
                [&[tag][..], &major, &minor].concat()
            }
            Self::RemoveMountpoint => vec![b'r'],
            Self::UnnamedFile => vec![b'f'],
            Self::Writers => vec![b'w'],
        }
    }

    /// Returns `None` if the message is no request, such as the empty one of a daemon that is gone.
    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        match message.split_first()? {
            (tag @ (b'u' | b'z'), device) => {
                let (major, minor) = device.split_at_checked(4)?;
                let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
                Some(Self::Unmount {
                    device: (number(major)?, number(minor)?),
                    lazy: *tag == b'z',
                })
            }
            (b'r', []) => Some(Self::RemoveMountpoint),
            (b'f', []) => Some(Self::UnnamedFile),
            (b'w', []) => Some(Self::Writers),
            _ => None,
        }
    }
}

impl Reply {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut message = match self {
            Self::Done => vec![b'+'],
            Self::NotMounted => vec![b'n'],
            Self::Busy => vec![b'b'],
            Self::Covered => vec![b'c'],
            Self::Denied => vec![b'd'],
            Self::Errno(code) => [&b"e"[..], &code.to_le_bytes()].concat(),
            Self::Writers(writers) => {
                let lines = writers
                    .iter()
                    .map(|writer| format!("{} {}\n", writer.pid, writer.name.replace('\n', " ")));
                [b"w", lines.collect::<String>().as_bytes()].concat()
            }
            Self::Failed(text) => [b"-", text.as_bytes()].concat(),
        };
        message.truncate(MESSAGE);
        message
    }

    /// Returns `None` if the message is no reply, such as the empty one of a broker that is gone.
    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        let (tag, rest) = message.split_first()?;
        Some(match tag {
            b'+' => Self::Done,
            b'n' => Self::NotMounted,
            b'b' => Self::Busy,
            b'c' => Self::Covered,
            b'd' => Self::Denied,
            b'e' => Self::Errno(i32::from_le_bytes(rest.try_into().ok()?)),
            b'w' => {
                let lines = String::from_utf8_lossy(rest).into_owned();
                let writers = lines.lines().filter_map(|line| {
                    let (pid, name) = line.split_once(' ')?;
                    Some(Writer {
                        pid: pid.parse().ok()?,
                        name: name.to_owned(),
                    })
                });
                Self::Writers(writers.collect())
            }
            b'-' => Self::Failed(String::from_utf8_lossy(rest).into_owned()),
            _ => return None,
        })
    }
}

pub(super) fn send(
    socket: impl AsFd,
    message: &[u8],
    file: Option<BorrowedFd<'_>>,
) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    if let Some(file) = &file {
        attached.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(file)));
    }
    let message = [IoSlice::new(message)];
    // A peer that is gone is reported by EPIPE; its signal would end this process.
    let flags = SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(&socket, &message, &mut attached, flags))?;
    Ok(())
}

/// One message and the file that came with it; empty if the other side is gone.
pub(super) fn receive(socket: impl AsFd) -> rustix::io::Result<(Vec<u8>, Option<OwnedFd>)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        for request in [
            Request::Unmount {
                device: (0, 1 << 31),
                lazy: false,
            },
            Request::Unmount {
                device: (u32::MAX, 7),
                lazy: true,
            },
            Request::UnnamedFile,
            Request::Writers,
        ] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        for reply in [
            Reply::Done,
            Reply::NotMounted,
            Reply::Busy,
            Reply::Covered,
            Reply::Denied,
            Reply::Errno(-5),
            Reply::Writers(Vec::new()),
            Reply::Writers(vec![
                Writer {
                    pid: 7,
                    name: "a b".into(),
                },
                Writer {
                    pid: 8,
                    name: "c".into(),
                },
            ]),
            Reply::Failed("no".into()),
        ] {
            assert_eq!(Reply::decode(&reply.encode()), Some(reply));
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for message in [&b""[..], b"x", b"uu", b"e123"] {
            assert_eq!(Request::decode(message), None);
            assert_eq!(Reply::decode(message), None);
        }
        let long = Reply::Failed("n".repeat(2 * MESSAGE));
        assert_eq!(long.encode().len(), MESSAGE);
    }
}
