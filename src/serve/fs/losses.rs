//! Tells the log what does not appear although it is selected: once, however often it is listed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use log::{Level, info, log};
use parking_lot::Mutex;

use crate::folder::catalog::Skip;

/// Number of files of which it is remembered that the log was told; no more are told.
const MOST: usize = 4096;

/// The files of which the log was told.
#[derive(Debug, Default)]
pub(super) struct Losses {
    told: Mutex<HashSet<PathBuf>>,
}

impl Losses {
    /// Tells the log why the file at `path` below the source folder does not appear; returns whether
    /// it is the first time.
    pub(super) fn tell(&self, path: &Path, skip: &Skip) -> bool {
        let level = match skip.is_a_failure() {
            true => Level::Warn,
            false => Level::Info,
        };
        let is_last = {
            let mut told = self.told.lock();
            if told.len() == MOST || !told.insert(path.to_owned()) {
                return false;
            }
            told.len() == MOST
        };
        let path = path.display();
        match skip {
            // The catalog has: it knows versions.
            Skip::Refused(_) => {}
            _ => log!(level, "{path}: does not appear: {skip} [does-not-appear]"),
        }
        if is_last {
            info!("files that do not appear are not told any more: they are {MOST}");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_told_once_and_not_all_of_very_many() {
        let losses = Losses::default();
        for number in 0..MOST {
            let path = PathBuf::from(number.to_string());
            assert!(losses.tell(&path, &Skip::Device));
            assert!(!losses.tell(&path, &Skip::Device));
        }
        assert!(!losses.tell(Path::new("more"), &Skip::Device));
    }
}
