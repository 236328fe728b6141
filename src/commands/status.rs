//! `vhdfs status`: what a running mount is doing.

use std::fmt::Write as _;
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration};

use super::Failure;
use super::print::{print, print_json};
use super::table::{Style, Table};
use crate::cli::StatusArgs;
use crate::daemon::Status;
use crate::mount::client::ask;
use crate::serve::fs::ViewState;

/// Headings of the table of open views.
const COLUMNS: [&str; 7] = [
    "OPEN VIEW OF",
    "ENGINE",
    "DELIVERED",
    "OF",
    "OPEN FOR",
    "FAILED READS",
    "READER",
];

pub(super) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let status = ask(&args.mountpoint)?;
    if args.json {
        print_json(&status)
    } else {
        print(&to_text(&status))
    }
}

fn to_text(status: &Status) -> String {
    let mut text = format!(
        "{} on {}: vhdfs {}, process {}, mounted for {}\n{}\n",
        status.source,
        status.mountpoint,
        status.version,
        status.pid,
        HumanDuration(Duration::from_secs(status.uptime)),
        status.totals.summary(status.views.len()),
    );
    let mut table = Table::new(&COLUMNS).right_aligned(2..6);
    for view in &status.views {
        table.add(style(view), cells(view));
    }
    let mut messages = Table::new(&["LATEST MESSAGES", ""]);
    for message in &status.messages {
        let cells = [message.level.clone(), message.text.clone()];
        messages.add(Style::Warning, cells);
    }
    for table in [table, messages].map(|table| table.to_string()) {
        if !table.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{table}");
        }
    }
    text
}

fn style(view: &ViewState) -> Style {
    if view.errors > 0 {
        Style::Warning
    } else {
        Style::Plain
    }
}

fn cells(view: &ViewState) -> [String; 7] {
    // What the kernel serves by itself is not counted.
    let delivered = match view.engine.as_str() {
        "passthrough" => "?".to_owned(),
        _ => HumanBytes(view.bytes).to_string(),
    };
    [
        view.source.clone(),
        view.engine.clone(),
        delivered,
        HumanBytes(view.view_size).to_string(),
        format!("{} s", view.seconds_open),
        view.errors.to_string(),
        view.reader.to_string(),
    ]
}
