//! The state of a running daemon, for `vhdfs status` and for the log.

use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use disk::cache::{Caches, Usage};
use indicatif::{HumanBytes, HumanCount};
use log::{debug, info};
use serde::{Deserialize, Serialize};

use super::socket::StatusSocket;
use crate::logging::{Message, Messages};
use crate::mount::table;
use crate::serve::fs::{Activity, Totals, ViewState};

/// How long the daemon waits for a client.
const PATIENCE: Duration = Duration::from_secs(5);

/// The state of a daemon at a moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// The source, as an absolute path.
    pub source: String,
    /// Where it is mounted, as an absolute path.
    pub mountpoint: String,
    /// The options of `vhdfs mount` that it was mounted with and that are not their defaults, such as
    /// `allow-other` and `include=*.bin`, sorted.
    #[serde(default)]
    pub options: Vec<String>,
    /// Whole seconds since it was mounted.
    pub uptime: u64,
    /// Sums since then.
    pub totals: Totals,
    /// Memory that what is kept of images takes.
    #[serde(default)]
    pub cache: CacheUse,
    /// Clones that are kept after their last close.
    #[serde(default)]
    pub kept_clones: u64,
    /// The open views, in the order in which they were opened.
    pub views: Vec<ViewState>,
    /// The latest warnings and errors, oldest first.
    pub messages: Vec<Message>,
}

/// Memory that is in use, in bytes; that of images that are not raw.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CacheUse {
    /// Pieces of tables.
    pub tables: u64,
    /// What was decompressed.
    pub blocks: u64,
    /// Limit of each of both: `--cache-size`.
    pub limit: u64,
}

impl From<Usage> for CacheUse {
    fn from(usage: Usage) -> Self {
        Self {
            tables: usage.tables,
            blocks: usage.blocks,
            limit: usage.limit,
        }
    }
}

/// What a daemon reports about itself.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    pub(super) source: PathBuf,
    pub(super) mountpoint: PathBuf,
    pub(super) options: Vec<String>,
    pub(super) activity: Arc<Activity>,
    pub(super) caches: Arc<Caches>,
    pub(super) messages: Arc<Messages>,
}

impl Reporter {
    fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            source: self.source.to_string_lossy().into_owned(),
            mountpoint: self.mountpoint.to_string_lossy().into_owned(),
            options: self.options.clone(),
            uptime: self.activity.uptime(),
            totals: self.activity.totals(),
            cache: self.caches.usage().into(),
            kept_clones: self.activity.kept_clones(),
            views: self.activity.views(),
            messages: self.messages.latest(),
        }
    }

    /// Writes the state to the log, a line for each open view.
    pub(super) fn log_state(&self) {
        let status = self.status();
        info!(
            "state: {}, kept clones: {}, mounted for {} s",
            status.totals.summary(status.views.len()),
            status.kept_clones,
            status.uptime
        );
        for view in &status.views {
            info!("state: {}", view.summary());
        }
    }

    /// Makes a socket that only the owner of the mount and root can reach. The mount works without
    /// it, so a failure is no more than a message.
    pub(super) fn bind(&self) -> Option<StatusSocket> {
        let bound = table::find(&self.mountpoint).and_then(|entry| {
            let entry = entry.ok_or(io::ErrorKind::NotFound)?;
            StatusSocket::bind(&entry)
        });
        bound
            .inspect_err(|error| info!("`vhdfs status` will not work for this mount: {error}"))
            .ok()
    }

    /// Sends the state to every client that connects.
    pub(super) fn listen(self, socket: Option<&StatusSocket>) -> io::Result<()> {
        let Some(socket) = socket else {
            return Ok(());
        };
        let listener = socket.listener.try_clone()?;
        thread::Builder::new()
            .name("status".into())
            .spawn(move || self.serve(&listener))?;
        Ok(())
    }

    fn serve(&self, listener: &UnixListener) {
        for connection in listener.incoming() {
            let sent = connection.and_then(|mut connection| {
                connection.set_write_timeout(Some(PATIENCE))?;
                connection.write_all(&serde_json::to_vec(&self.status())?)
            });
            if let Err(error) = sent {
                debug!("a status was not delivered: {error}");
            }
        }
    }
}

impl Totals {
    /// One line for people.
    pub fn summary(&self, open: usize) -> String {
        format!(
            "open views: {open}, delivered: {} in {} reads, failed reads: {}, opens: {}, refused opens: {}",
            HumanBytes(self.bytes),
            HumanCount(self.reads),
            self.errors,
            self.opens,
            self.refused_opens,
        )
    }
}

impl ViewState {
    /// One line for people.
    pub fn summary(&self) -> String {
        format!(
            "{}: {}, opened by {} {} s ago, delivered: {} of {}, failed reads: {}",
            self.source,
            self.engine,
            self.reader,
            self.seconds_open,
            HumanBytes(self.bytes),
            HumanBytes(self.view_size),
            self.errors,
        )
    }
}
