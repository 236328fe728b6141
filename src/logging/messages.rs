//! The latest warnings and errors, for those who ask a running daemon.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use log::{Level, Record};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

/// How many are remembered.
const CAPACITY: usize = 32;

/// A warning or an error.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Message {
    /// When, in seconds since 1970.
    pub time: u64,
    /// `warn` or `error`.
    pub level: String,
    /// What.
    pub text: String,
}

/// The latest warnings and errors of this process.
#[derive(Debug, Default)]
pub struct Messages {
    latest: Mutex<VecDeque<Message>>,
    /// Whether a command waits at the terminal for the mount, and should show them.
    awaited: AtomicBool,
}

impl Messages {
    /// The latest, oldest first.
    pub fn latest(&self) -> Vec<Message> {
        self.lock().iter().cloned().collect()
    }

    /// Whether they are written to standard error, too.
    pub fn show(&self, awaited: bool) {
        self.awaited.store(awaited, Ordering::Release);
    }

    pub(super) fn remember(&self, record: &Record<'_>) {
        if record.level() > Level::Warn {
            return;
        }
        let text = record.args().to_string();
        if self.awaited.load(Ordering::Acquire) {
            eprintln!("vhdfs: {text}");
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut latest = self.lock();
        if latest.len() == CAPACITY {
            latest.pop_front();
        }
        latest.push_back(Message {
            time: time.map_or(0, |time| time.as_secs()),
            level: record.level().as_str().to_ascii_lowercase(),
            text,
        });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.latest.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_grave_messages_are_kept() {
        let messages = Messages::default();
        for number in 0..CAPACITY + 3 {
            for level in [Level::Info, Level::Warn] {
                let record = format_args!("{number}").to_string();
                messages.remember(
                    &Record::builder()
                        .level(level)
                        .args(format_args!("{record}"))
                        .build(),
                );
            }
        }
        let latest = messages.latest();
        assert_eq!(latest.len(), CAPACITY);
        assert_eq!(
            (latest[0].text.as_str(), latest[0].level.as_str()),
            ("3", "warn")
        );
    }
}
