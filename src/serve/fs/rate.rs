//! How fast bytes are read now, without a lock and without a thread that looks at a clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Length of a window. The rate is that of the current one and the one before.
const WINDOW: Duration = Duration::from_secs(3);

/// Bytes in the current window of time and in the one before. Threads that meet at the border of two
/// windows may lose a read from the rate; it is for people.
#[derive(Debug, Default)]
pub(super) struct Rate {
    window: AtomicU64,
    current: AtomicU64,
    before: AtomicU64,
}

impl Rate {
    /// `bytes` were read at `now`, which counts from any fixed moment.
    pub(super) fn add(&self, now: Duration, bytes: u64) {
        let window = window_of(now);
        let last = self.window.swap(window, Ordering::Relaxed);
        if last != window {
            let current = self.current.swap(0, Ordering::Relaxed);
            let before = if window == last + 1 { current } else { 0 };
            self.before.store(before, Ordering::Relaxed);
        }
        self.current.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes per second at `now`, over three to six seconds.
    pub(super) fn per_second(&self, now: Duration) -> u64 {
        let window = window_of(now);
        let current = self.current.load(Ordering::Relaxed);
        let bytes = match window.saturating_sub(self.window.load(Ordering::Relaxed)) {
            0 => current.saturating_add(self.before.load(Ordering::Relaxed)),
            1 => current,
            _ => 0,
        };
        let first = WINDOW.as_secs() * window.saturating_sub(1);
        let span = now.saturating_sub(Duration::from_secs(first));
        average(bytes, span)
    }
}

/// Bytes per second of `bytes` in `span`, which counts for a millisecond at least.
pub(super) fn average(bytes: u64, span: Duration) -> u64 {
    let milliseconds = span.as_millis().max(1);
    let rate = u128::from(bytes) * 1000 / milliseconds;
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn window_of(now: Duration) -> u64 {
    now.as_secs() / WINDOW.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let rate = Rate::default();
        let at = Duration::from_secs_f64;
        assert_eq!(rate.per_second(at(0.0)), 0);
        rate.add(at(0.5), 1000);
        assert_eq!(rate.per_second(at(1.0)), 1000);
        rate.add(at(4.0), 3000);
        assert_eq!(rate.per_second(at(4.0)), 1000);
        assert_eq!(rate.per_second(at(6.0)), 1000);
        assert_eq!(rate.per_second(at(9.0)), 0);
        rate.add(at(30.0), 60);
        assert_eq!(rate.per_second(at(30.0)), 20);
        assert_eq!(average(u64::MAX, Duration::ZERO), u64::MAX);
    }
}
