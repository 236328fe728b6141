//! Which views a folder must have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::{Mount, errno_of, list, listed_views, oracle_verify, random_image, snapshot_of, tree};

/// Makes a small image at each path.
pub(crate) fn images(folder: &Path, paths: &[&str]) {
    for (seed, path) in paths.iter().enumerate() {
        random_image(&folder.join(path), seed as u64, 600 + seed as u64);
    }
}

/// Panics where a mount, single look-ups in a fresh one and `list` do not all show exactly these
/// views, given by source.
#[track_caller]
pub(crate) fn assert_views(folder: &Path, arguments: &[&str], expected: &[(&str, &str)]) {
    let before = snapshot_of(folder);
    let views: BTreeMap<String, String> = expected
        .iter()
        .map(|&(source, view)| (source.to_string(), view.to_string()))
        .collect();
    assert_eq!(listed_views(&list(folder, arguments)), views);
    // Look-ups before any listing: each has to find its name alone.
    let mount = Mount::with(folder, arguments);
    // Callers say what appears; why the rest does not is the matter of `list`.
    mount.allow_log("does not appear: ");
    for (source, view) in &views {
        oracle_verify(&folder.join(source), &mount.join(view));
    }
    let files = tree(mount.path())
        .into_iter()
        .filter(|path| mount.join(path).is_file());
    assert_eq!(
        files.collect::<Vec<_>>(),
        sorted(views.values().map(PathBuf::from))
    );
    mount.unmount();
    before.assert_unchanged(folder);
}

/// Panics where there is an entry, or where anything but its absence keeps it from being found.
#[track_caller]
pub(crate) fn assert_missing(path: &Path) {
    assert_eq!(
        errno_of(path.symlink_metadata()),
        Errno::NOENT,
        "{}",
        path.display()
    );
}

fn sorted(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut paths: Vec<_> = paths.collect();
    paths.sort();
    paths
}
