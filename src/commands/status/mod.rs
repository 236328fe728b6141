//! `vhdfs status`: what is mounted, who reads what, and how fast.

mod prometheus;
mod text;

use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::Failure;
use super::print::{print, print_json};
use super::table::output_width;
use crate::cli::StatusArgs;
use crate::daemon::Status;
use crate::mount::client::{StatusError, ask, ask_for};
use crate::mount::table::{self, MountEntry};

/// How often `--watch` asks again.
const INTERVAL: Duration = Duration::from_secs(1);
/// Moves the cursor to the top of the terminal and erases what is below (ECMA-48).
const FROM_THE_TOP: &str = "\u{1b}[H\u{1b}[J";

/// What is known about one mount.
#[derive(Debug)]
struct Mount {
    entry: MountEntry,
    status: Result<Status, StatusError>,
}

/// All mounts, for programs.
#[derive(Debug, Serialize)]
struct All<'a> {
    mounts: Vec<&'a Status>,
    /// Mounts whose daemons did not reply.
    silent: Vec<Silent>,
}

#[derive(Debug, Serialize)]
struct Silent {
    mountpoint: String,
    reason: String,
}

pub(super) fn run(args: &StatusArgs) -> Result<(), Failure> {
    if !args.watch {
        return show(args, "");
    }
    let top = if io::stdout().is_terminal() {
        FROM_THE_TOP
    } else {
        ""
    };
    loop {
        show(args, top)?;
        thread::sleep(INTERVAL);
    }
}

fn show(args: &StatusArgs, before: &str) -> Result<(), Failure> {
    let width = output_width(args.wide);
    let text = match &args.mountpoint {
        Some(mountpoint) => {
            let status = ask(mountpoint)?;
            match (args.json, args.prometheus) {
                (true, _) => return print_json(&status),
                (_, true) => prometheus::metrics(&[Ok(&status)]),
                _ => text::of_mount(&status, width),
            }
        }
        None => {
            let mounts = all()?;
            match (args.json, args.prometheus) {
                (true, _) => return print_json(&All::of(&mounts)),
                (_, true) => {
                    let states: Vec<_> = mounts.iter().map(Mount::state).collect();
                    prometheus::metrics(&states)
                }
                _ => text::of_all(&mounts, width),
            }
        }
    };
    print(&format!("{before}{text}"))
}

/// Every mount of this user; of all users for root.
fn all() -> io::Result<Vec<Mount>> {
    let me = rustix::process::geteuid();
    let entries = table::ours()?.into_iter();
    let entries = entries.filter(|entry| me.is_root() || entry.user == me.as_raw());
    let mounts = entries.map(|entry| Mount {
        status: ask_for(&entry),
        entry,
    });
    Ok(mounts.collect())
}

impl Mount {
    /// The state, or the mount point of a daemon that does not reply.
    fn state(&self) -> Result<&Status, String> {
        let mountpoint = || self.entry.mountpoint.to_string_lossy().into_owned();
        self.status.as_ref().map_err(|_| mountpoint())
    }
}

impl<'a> All<'a> {
    fn of(mounts: &'a [Mount]) -> Self {
        let silent = mounts.iter().filter_map(|mount| {
            let reason = mount.status.as_ref().err()?.to_string();
            let mountpoint = mount.entry.mountpoint.to_string_lossy().into_owned();
            Some(Silent { mountpoint, reason })
        });
        Self {
            mounts: mounts
                .iter()
                .filter_map(|mount| mount.status.as_ref().ok())
                .collect(),
            silent: silent.collect(),
        }
    }
}
