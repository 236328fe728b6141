//! A bar on the terminal for each view that is being read.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::serve::fs::{Activity, ViewState};

/// How often the bars follow the reads.
const INTERVAL: Duration = Duration::from_millis(200);

const TEMPLATE: &str =
    "{msg} [{bar:24}] {bytes} of {total_bytes} ({percent} %), {bytes_per_sec}, {prefix}";

/// Draws on `terminal` what `activity` counts, until the process ends.
///
/// # Errors
///
/// If no thread can be started.
pub(super) fn start(terminal: MultiProgress, activity: Arc<Activity>) -> io::Result<()> {
    let mut bars = Bars {
        terminal,
        shown: HashMap::new(),
    };
    thread::Builder::new()
        .name("progress".into())
        .spawn(move || {
            loop {
                bars.follow(&activity.views());
                thread::sleep(INTERVAL);
            }
        })?;
    Ok(())
}

struct Bars {
    terminal: MultiProgress,
    shown: HashMap<u64, ProgressBar>,
}

impl Bars {
    fn follow(&mut self, views: &[ViewState]) {
        self.shown.retain(|number, bar| {
            let is_open = views.iter().any(|view| view.number == *number);
            if !is_open {
                bar.finish_and_clear();
                self.terminal.remove(bar);
            }
            is_open
        });
        // Who opened a view only to look at it gets no bar.
        for view in views.iter().filter(|view| view.bytes > 0) {
            let terminal = &self.terminal;
            let bar = self.shown.entry(view.number).or_insert_with(|| {
                let style = ProgressStyle::with_template(TEMPLATE);
                let bar = ProgressBar::new(view.view_size)
                    .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                    .with_message(view.source.clone())
                    .with_prefix(view.reader.to_string());
                terminal.add(bar)
            });
            // A reader that begins again, as azcopy does three times, begins at 0 again.
            bar.set_position(view.position.min(view.view_size));
        }
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
