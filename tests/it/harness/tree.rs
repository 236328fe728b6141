//! What a folder shows, and what the program says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde_json::Value;

use super::mount::wait_until;
use super::process::{stdout_of, vhdfs};

/// Paths of all entries below a folder, relative to it; no link is followed.
pub(crate) fn tree(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        let entries = folder.join(&inner).read_dir();
        let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", inner.display()));
        for entry in entries {
            let entry = entry.expect("a folder's entry");
            let path = inner.join(entry.file_name());
            if entry.file_type().expect("its type").is_dir() {
                folders.push(path.clone());
            }
            assert!(found.insert(path.clone()), "{} twice", path.display());
        }
    }
    found
}

/// Panics where a folder does not hold exactly these entries, at any depth.
#[track_caller]
pub(crate) fn assert_tree<P: AsRef<Path>>(folder: &Path, expected: impl IntoIterator<Item = P>) {
    let expected: BTreeSet<PathBuf> = expected
        .into_iter()
        .map(|path| path.as_ref().to_path_buf())
        .collect();
    assert_eq!(tree(folder), expected);
}

/// The errno of something that must fail.
#[track_caller]
pub(crate) fn errno_of<T: Debug>(result: io::Result<T>) -> Errno {
    let error = result.expect_err("a failure");
    Errno::from_io_error(&error).unwrap_or_else(|| panic!("{error:?} has no errno"))
}

/// Polls until `done`, and panics where that never comes.
#[track_caller]
pub(crate) fn eventually(what: &str, done: impl FnMut() -> bool) {
    wait_until(what, done).unwrap_or_else(|error| panic!("{error}"));
}

/// What `vhdfs list --json` prints.
pub(crate) fn list(source: &Path, arguments: &[&str]) -> Value {
    let text = stdout_of(vhdfs().args(["list", "--json"]).args(arguments).arg(source));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// The views that `list` names, by source.
pub(crate) fn listed_views(list: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().expect("a text").to_string();
    let images = list["images"].as_array().expect("images");
    images
        .iter()
        .map(|image| (text(&image["source"]), text(&image["view"])))
        .collect()
}

/// The reasons that `list` gives, by source.
pub(crate) fn listed_reasons(list: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().expect("a text").to_string();
    let skipped = list["skipped"].as_array().expect("skipped");
    skipped
        .iter()
        .map(|entry| (text(&entry["source"]), text(&entry["reason"])))
        .collect()
}

/// Lines of a log that name something.
pub(crate) fn lines_with<'a>(log: &'a str, name: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(name)).collect()
}
