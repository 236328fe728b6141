//! The machine's log: datagrams to `/dev/log`, where systemd's journal listens as well as every
//! syslog daemon (RFC 3164 as glibc's syslog(3) sends it, without a time stamp: both add one).

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;

use env_logger::fmt::Formatter;
use log::{Level, Record};

const SOCKET: &str = "/dev/log";

/// The facility of daemons, in the place that RFC 3164 gives it.
const DAEMON: u8 = 3 << 3;

/// Longest text of a message in characters, of up to four bytes: syslog daemons cut off what is
/// behind 8 KiB.
const LONGEST: usize = 2000;

/// Severity of RFC 3164.
pub(super) fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Writes one message in the form of a datagram.
pub(super) fn format(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let text = record.args().to_string().replace('\n', " ");
    let text: String = text.chars().take(LONGEST).collect();
    let priority = DAEMON | severity(record.level());
    write!(out, "<{priority}>vhdfs[{}]: {text}", std::process::id())
}

/// Connects when there is something to say, and again when the listener was restarted. A message
/// that cannot be delivered at once is lost: no reader of an image should wait for a log.
#[derive(Debug, Default)]
pub(super) struct SystemLog(Option<UnixDatagram>);

impl SystemLog {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if let Some(socket) = &self.0 {
            match socket.send(message) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
                result => return result.map(drop),
            }
        }
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(SOCKET)?;
        self.0.insert(socket).send(message).map(drop)
    }
}

impl Write for SystemLog {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let _ = self.send(message);
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
