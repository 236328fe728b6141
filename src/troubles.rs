//! From the id at the end of a message to its section of docs/TROUBLESHOOTING.md, which is compiled in.
//!
//! A message names its id in its own text: `… the mount point is not empty; … [mountpoint-full]`. The
//! section's heading is the id, and each of its messages is quoted in it, with `…` for what varies.
//! A test compares both ways.

/// The document.
const PAGE: &str = include_str!("../docs/TROUBLESHOOTING.md");

/// The id of messages that name none: errors of the system that are passed on as they are.
const OTHER: &str = "system";

/// A section of the document.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    /// What messages end with, in brackets.
    pub id: &'static str,
    /// The section, from its heading on.
    pub text: &'static str,
}

/// All of them, in the order of the document.
pub fn all() -> impl Iterator<Item = Trouble> {
    PAGE.split("\n### [").skip(1).filter_map(|rest| {
        let (id, after) = rest.split_once("]\n")?;
        let end = after.find("\n## ").unwrap_or(after.len());
        Some(Trouble {
            id,
            text: after[..end].trim(),
        })
    })
}

/// The one with this id, which may stand in its brackets.
pub fn find(id: &str) -> Option<Trouble> {
    let id = id.trim_start_matches('[').trim_end_matches(']');
    all().find(|trouble| trouble.id == id)
}

/// The message with an id at its end.
pub fn with_id(message: &str) -> String {
    match id_of(message) {
        Some(_) => message.to_owned(),
        None => format!("{message} [{OTHER}]"),
    }
}

/// The id that a message ends with.
fn id_of(message: &str) -> Option<&str> {
    let (_, id) = message.strip_suffix(']')?.rsplit_once(" [")?;
    let is_id = |letter: char| letter.is_ascii_lowercase() || letter == '-';
    (!id.is_empty() && id.chars().all(is_id)).then_some(id)
}

impl Trouble {
    /// The messages that the section quotes, a line each, with `…` for what varies.
    pub fn messages(self) -> impl Iterator<Item = &'static str> {
        self.text.lines().filter_map(|line| line.strip_prefix("> "))
    }
}

#[cfg(test)]
mod tests;
