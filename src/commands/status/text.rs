//! The state of mounts for people.

use std::fmt::Write as _;
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration};

use super::Mount;
use crate::commands::table::{Style, Table};
use crate::daemon::Status;
use crate::serve::fs::ViewState;

/// Headings of the table of open views.
const VIEWS: [&str; 8] = [
    "OPEN VIEW OF",
    "AT",
    "SIZE",
    "NOW",
    "MEAN",
    "LEFT",
    "ERR",
    "READER",
];
/// Headings of the table of mounts.
const MOUNTS: [&str; 7] = [
    "MOUNT POINT",
    "OPEN",
    "NOW",
    "DELIVERED",
    "ERR",
    "FOR",
    "SOURCE",
];

/// A line for each mount.
pub(super) fn of_all(mounts: &[Mount], width: usize) -> String {
    if mounts.is_empty() {
        return "nothing is mounted\n".to_owned();
    }
    let mut table = Table::new(&MOUNTS).right_aligned(1..6).within(width);
    for mount in mounts {
        let mountpoint = mount.entry.mountpoint.display().to_string();
        let (style, cells) = match &mount.status {
            Ok(status) => (Style::Plain, line(mountpoint, status)),
            Err(_) => {
                let mut cells = [(); 7].map(|()| "?".to_owned());
                cells[0] = mountpoint;
                cells[6] = "its daemon does not answer".to_owned();
                (Style::Warning, cells)
            }
        };
        table.add(style, cells);
    }
    table.to_string()
}

fn line(mountpoint: String, status: &Status) -> [String; 7] {
    let rate = status.views.iter().map(|view| view.rate);
    let rate = rate.fold(0, u64::saturating_add);
    [
        mountpoint,
        status.views.len().to_string(),
        per_second(rate),
        HumanBytes(status.totals.bytes).to_string(),
        status.totals.errors.to_string(),
        clock(status.uptime),
        status.source.clone(),
    ]
}

/// One mount, with what is open and what went wrong last.
pub(super) fn of_mount(status: &Status, width: usize) -> String {
    let mut text = format!(
        "{} on {}: vhdfs {}, process {}, mounted for {}\n{}\n",
        status.source,
        status.mountpoint,
        status.version,
        status.pid,
        HumanDuration(Duration::from_secs(status.uptime)),
        status.totals.summary(status.views.len()),
    );
    let totals = &status.totals;
    if totals.given_up + totals.skipped > 0 {
        let _ = writeln!(
            text,
            "given up because of writers: {}, files that do not appear: {}",
            totals.given_up, totals.skipped,
        );
    }
    let cache = &status.cache;
    if cache.tables + cache.blocks > 0 {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "cache: {} of tables, {} decompressed, of {} each",
            HumanBytes(cache.tables),
            HumanBytes(cache.blocks),
            HumanBytes(cache.limit),
        );
    }
    if status.kept_clones > 0 {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "clones kept after their last close: {}",
            status.kept_clones
        );
    }
    let mut views = Table::new(&VIEWS)
        .right_aligned(1..7)
        .within(width)
        .dropping(4);
    for view in &status.views {
        let style = match view.errors {
            0 => Style::Plain,
            _ => Style::Warning,
        };
        views.add(style, cells(view));
    }
    let mut messages = Table::new(&["LATEST MESSAGES", ""]).within(width);
    for message in &status.messages {
        let cells = [message.level.clone(), message.text.clone()];
        messages.add(Style::Warning, cells);
    }
    for table in [views, messages].map(|table| table.to_string()) {
        if !table.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{table}");
        }
    }
    text
}

fn cells(view: &ViewState) -> [String; 8] {
    // What the kernel serves by itself is not counted.
    let is_counted = view.engine != "passthrough";
    let or_unknown = |text: String| if is_counted { text } else { "?".to_owned() };
    [
        format!("{} ({})", view.source, view.engine),
        or_unknown(HumanBytes(view.position).to_string()),
        HumanBytes(view.view_size).to_string(),
        or_unknown(per_second(view.rate)),
        or_unknown(per_second(view.average_rate)),
        or_unknown(view.seconds_left.map_or("-".to_owned(), clock)),
        view.errors.to_string(),
        view.reader.to_string(),
    ]
}

fn per_second(bytes: u64) -> String {
    match bytes {
        0 => "-".to_owned(),
        bytes => format!("{}/s", HumanBytes(bytes)),
    }
}

/// Hours, minutes and seconds, or days and hours.
fn clock(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes}:{:02}", seconds % 60),
        (0, ..) => format!("{hours}:{:02}:{:02}", minutes % 60, seconds % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn times_are_short() {
        let texts = [59, 61, 3661, 90_061].map(clock);
        assert_eq!(texts, ["59 s", "1:01", "1:01:01", "1 d 1 h"]);
    }
}
