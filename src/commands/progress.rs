//! A bar on the terminal for what takes its time.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const TEMPLATE: &str =
    "{msg} [{bar:24}] {bytes} of {total_bytes} ({percent} %), {bytes_per_sec}, {eta} left";

/// How far a command is, drawn on standard error if that is a terminal; gone when it ends.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Of `size` bytes in all, under the name `doing`.
    pub(super) fn new(size: u64, doing: &str) -> Self {
        let target = match io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr_with_hz(5),
            false => ProgressDrawTarget::hidden(),
        };
        Self::on(target, size, doing)
    }

    /// As [`Progress::new`] if `wanted`, and else nothing on any terminal.
    pub(super) fn if_wanted(wanted: bool, size: u64, doing: &str) -> Self {
        match wanted {
            true => Self::on(ProgressDrawTarget::stderr_with_hz(5), size, doing),
            false => Self::on(ProgressDrawTarget::hidden(), size, doing),
        }
    }

    fn on(target: ProgressDrawTarget, size: u64, doing: &str) -> Self {
        let style = ProgressStyle::with_template(TEMPLATE);
        let bar = ProgressBar::with_draw_target(Some(size), target)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_message(doing.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        Self(bar)
    }

    /// So many bytes more are done.
    pub(super) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Progress {
    /// Takes the bar away while `print` writes to the terminal.
    pub(super) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_one() {
        ProgressStyle::with_template(TEMPLATE).unwrap();
    }
}
