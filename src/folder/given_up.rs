//! Versions that were given up because of a write: their times may be those of other bytes.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};

use lru::LruCache;
use parking_lot::Mutex;

use super::metadata::Version;

/// Number of parts with a lock each: a thread that must wait for a core while it holds one should
/// not hold up a writer of another file.
const PARTS: usize = 64;

/// Number of versions that a part remembers one by one. About 150 bytes each.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new((1 << 14) / PARTS).unwrap();

/// Counts for each version how it was given up, so that it never comes back as itself.
#[derive(Debug)]
pub struct GivenUp {
    is_any: AtomicBool,
    /// The latest number that was given to a version.
    latest: AtomicU64,
    /// By inode.
    parts: [Part; PARTS],
    listener: OnceLock<Listener>,
}

/// Wants to know when a version is given up.
struct Listener(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// Versions of some inodes.
#[derive(Debug)]
struct Part {
    /// Versions on their way to `known`: who gives one up has a writer waiting, and waits for no lock, whose holder may
    /// be waiting for a core.
    noted: mpsc::Sender<Version>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    noted: mpsc::Receiver<Version>,
    /// Each with its number, the oldest numbers at the end.
    numbers: LruCache<Version, u64>,
    /// The number of all that are not, or no longer, remembered.
    others: u64,
}

impl Default for Part {
    fn default() -> Self {
        let (sender, noted) = mpsc::channel();
        let known = Known {
            noted,
            numbers: LruCache::new(REMEMBERED),
            others: 0,
        };
        Self {
            noted: sender,
            known: Mutex::new(known),
        }
    }
}

impl Default for GivenUp {
    fn default() -> Self {
        Self {
            is_any: AtomicBool::new(false),
            latest: AtomicU64::new(0),
            parts: [(); PARTS].map(|()| Part::default()),
            listener: OnceLock::new(),
        }
    }
}

impl GivenUp {
    /// Gives a version up: from now on it has another number. [`Self::tell`] is to follow.
    pub fn note(&self, version: Version) {
        self.is_any.store(true, Ordering::Release);
        // The receiver is there as long as the sender.
        let _ = self.part(&version).noted.send(version);
    }

    /// Tells the listener that a version was given up.
    pub fn tell(&self) {
        if let Some(Listener(tell)) = self.listener.get() {
            tell();
        }
    }

    /// Has `tell` called whenever a version was given up, by whoever gives it up. Only the first listener counts.
    pub fn listen(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _ = self.listener.set(Listener(Box::new(tell)));
    }

    /// The version's number: 0 if it never was given up, another after each time.
    pub fn number_of(&self, version: &Version) -> u64 {
        if !self.is_any.load(Ordering::Acquire) {
            return 0;
        }
        let mut known = self.part(version).known.lock();
        known.take_noted(&self.latest);
        let number = known.numbers.peek(version).copied();
        number.unwrap_or(known.others)
    }

    fn part(&self, version: &Version) -> &Part {
        &self.parts[(version.inode % PARTS as u64) as usize]
    }
}

impl Known {
    fn take_noted(&mut self, latest: &AtomicU64) {
        for version in self.noted.try_iter() {
            let number = latest.fetch_add(1, Ordering::Relaxed) + 1;
            if let Some((forgotten, number)) = self.numbers.push(version, number)
                && forgotten != version
            {
                // All that are not remembered get a number that none of them had before.
                self.others = number;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::metadata::Timestamp;

    fn version(inode: u64) -> Version {
        let time = Timestamp {
            seconds: 7,
            nanoseconds: 0,
        };
        Version {
            file_system: 1,
            device: 2,
            inode,
            size: 3,
            mtime: time,
            ctime: time,
        }
    }

    #[test]
    fn a_version_never_gets_a_number_again() {
        let given_up = GivenUp::default();
        // All in one part.
        let version = |number: u64| version(number * PARTS as u64);
        let (one, other) = (version(0), version(1));
        let mut seen = [(); 2].map(|()| std::collections::HashSet::new());
        for round in 0..5 {
            for (version, seen) in [one, other].iter().zip(&mut seen) {
                assert!(seen.insert(given_up.number_of(version)), "{round}");
                given_up.note(*version);
            }
        }
        assert_eq!(given_up.number_of(&version(2)), 0);
        for inode in 0..REMEMBERED.get() as u64 {
            given_up.note(version(inode + 10));
        }
        assert!(seen[0].insert(given_up.number_of(&one)));
        assert!(seen[1].insert(given_up.number_of(&other)));
        assert_ne!(given_up.number_of(&version(2)), 0);
    }

    #[test]
    fn giving_up_waits_for_nobody_who_looks_a_version_up() {
        let given_up = std::sync::Arc::<GivenUp>::default();
        let version = version(1);
        let looking_up = given_up.part(&version).known.lock();
        let (sender, is_noted) = mpsc::channel();
        let giving_up = given_up.clone();
        std::thread::spawn(move || {
            giving_up.note(version);
            sender.send(())
        });
        let noted = is_noted.recv_timeout(std::time::Duration::from_secs(20));
        drop(looking_up);
        noted.expect("it is noted");
        assert_ne!(given_up.number_of(&version), 0);
    }
}
