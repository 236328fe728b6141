//! What happens while a mount is served, up to its end.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::connection::Connection;
use crate::mount::error::MountError;
use crate::mount::unmount::UnmountError;

/// How long the mount may take to end after it was unmounted in order.
const ORDERLY_END: Duration = Duration::from_secs(10);

/// How long files that are still open are served after a signal has detached the mount.
const GRACE: Duration = Duration::from_secs(3);

/// What can happen while a mount is served.
pub(super) enum Event {
    /// SIGINT or SIGTERM: the mount is to end.
    End,
    /// SIGUSR1: its state is wanted in the log.
    LogState,
    /// It was unmounted, or its connection to the kernel failed.
    Ended(io::Result<()>),
}

/// Keeps signals from ending the process until they are watched.
pub(super) fn catch_signals() -> io::Result<Signals> {
    Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1])
}

/// Turns signals into events. SIGHUP is caught and does nothing.
pub(super) fn watch_signals(mut signals: Signals, events: Sender<Event>) -> io::Result<()> {
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in &mut signals {
                // The receiver is gone if the process is about to end.
                let _ = match signal {
                    SIGINT | SIGTERM => events.send(Event::End),
                    SIGUSR1 => events.send(Event::LogState),
                    _ => Ok(()),
                };
            }
        })?;
    Ok(())
}

/// Waits until the mount is to end, or has. Calls `log_state` each time its state is wanted, and
/// `stopping` once if it is to end.
pub(super) fn wait_for_the_end(
    mut connection: Connection,
    happened: &Receiver<Event>,
    log_state: impl Fn(),
    stopping: impl FnOnce(),
) -> Result<(), MountError> {
    for event in happened {
        match event {
            Event::LogState => log_state(),
            Event::End => {
                stopping();
                end_by_signal(&mut connection, happened);
                connection.ended();
                return Ok(());
            }
            Event::Ended(result) => {
                stopping();
                // A request that meets the end of an unmounted connection fails with ECONNABORTED.
                let result = match result {
                    Err(error) if connection.is_mounted() => Err(MountError::Serve(error)),
                    _ => Ok(()),
                };
                info!("{}: is unmounted", connection.mountpoint().display());
                if result.is_ok() {
                    connection.ended();
                }
                return result;
            }
        }
    }
    Ok(())
}

/// Unmounts; if files are open, detaches the mount and serves them a little longer. A second
/// signal ends that at once.
fn end_by_signal(connection: &mut Connection, happened: &Receiver<Event>) {
    let mountpoint = connection.mountpoint().to_owned();
    let mut patience = ORDERLY_END;
    match connection.unmount(false) {
        Ok(()) => info!("{}: is unmounted", mountpoint.display()),
        Err(UnmountError::Busy(_)) => {
            warn!(
                "{}: files are open; they can be read for {} s more [open-files]",
                mountpoint.display(),
                GRACE.as_secs()
            );
            patience = GRACE;
            if let Err(error) = connection.unmount(true) {
                warn!("{error}");
            }
        }
        Err(error) => {
            warn!("{error}");
            patience = GRACE;
        }
    }
    let latest = Instant::now() + patience;
    loop {
        let left = latest.saturating_duration_since(Instant::now());
        match happened.recv_timeout(left) {
            Ok(Event::LogState) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                warn!(
                    "{}: gone, with files still open [open-files]",
                    mountpoint.display()
                );
                connection.abort();
                return;
            }
        }
    }
}
