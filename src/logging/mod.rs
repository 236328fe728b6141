//! Where messages go: the terminal, a file, or the machine's log.

mod messages;
mod system;

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use env_logger::{Builder, Target, WriteStyle};
use indicatif::MultiProgress;
use log::{LevelFilter, Log, Metadata, Record, debug};
use thiserror::Error;

use check::printable::printable;
pub use messages::{Message, Messages};
use system::{SystemLog, severity};

/// Environment variable that chooses what is logged, in the syntax of env_logger.
pub const VARIABLE: &str = "VHDFS_LOG";

/// Why logging cannot begin.
#[derive(Debug, Error)]
pub enum LogError {
    /// The log file cannot be opened.
    #[error("{}: cannot open the log file: {}; name a file in a folder that exists and that you may write [log-file]", .0.display(), .1)]
    File(PathBuf, #[source] io::Error),
    /// It is a FIFO without a reader.
    #[error("{}: nobody reads this FIFO; start its reader first, or name a file [log-fifo]", .0.display())]
    Unread(PathBuf),
}

/// Where messages go.
#[derive(Debug)]
pub enum Output {
    /// Standard error; on a terminal, above the progress bars.
    Terminal(MultiProgress),
    /// The end of this file.
    File(File),
    /// The journal or the syslog daemon, whichever listens at `/dev/log`; nowhere where none does.
    System,
}

impl Output {
    /// The end of the file at `path`, which is made where it is not there.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn file(path: &Path) -> Result<Self, LogError> {
        // Do not wait for the reader of a FIFO, neither here nor at a message.
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path);
        file.map(Self::File)
            .map_err(|error| match error.raw_os_error() {
                Some(libc::ENXIO) => LogError::Unread(path.to_owned()),
                _ => LogError::File(path.to_owned(), error),
            })
    }
}

/// Sends all messages of this process to `output`, once and for all. `verbosity` adds debugging (1)
/// and every request (2). Returns the memory of the latest warnings and errors.
pub fn start(verbosity: u8, output: Output) -> Arc<Messages> {
    let mut builder = Builder::new();
    builder.filter_level(match verbosity {
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    });
    // fuser reports what users can do nothing about, such as requests it does not know.
    builder.filter_module("fuser", LevelFilter::Error);
    builder.parse_env(VARIABLE).format_target(false);
    match output {
        Output::Terminal(_) if is_journal() => {
            builder.format(|out, record| {
                writeln!(out, "<{}>{}", severity(record.level()), record.args())
            });
        }
        Output::Terminal(bars) if io::stderr().is_terminal() => {
            let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            builder
                .target(Target::Pipe(Box::new(AboveBars(bars))))
                .write_style(if colours {
                    WriteStyle::Always
                } else {
                    WriteStyle::Never
                });
        }
        Output::Terminal(_) => {}
        Output::File(file) => {
            builder.target(Target::Pipe(Box::new(file)));
        }
        Output::System => {
            builder
                .format(system::format)
                .target(Target::Pipe(Box::new(SystemLog::default())));
        }
    }
    let messages = Arc::new(Messages::default());
    let logger = Remembering {
        logger: builder.build(),
        messages: messages.clone(),
    };
    log::set_max_level(logger.logger.filter());
    // Fails only where it was called before, and then that log goes on.
    let _ = log::set_boxed_logger(Box::new(logger));
    messages
}

/// Whether fuser reports that a request was gone before its reply: its reader was killed, or the mount
/// detached. That is no error of anybody.
fn is_reply_to_nobody(target: &str, text: impl FnOnce() -> String) -> bool {
    target == "fuser::reply" && text().ends_with("(os error 2)")
}

/// Whether standard error is the journal's, which then reads levels as sd-daemon(3) has them.
fn is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let Ok(found) = rustix::fs::fstat(io::stderr()) else {
        return false;
    };
    stream == format!("{}:{}", found.st_dev, found.st_ino)
}

/// Passes messages on, and remembers the grave ones.
struct Remembering {
    logger: env_logger::Logger,
    messages: Arc<Messages>,
}

impl Log for Remembering {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if is_reply_to_nobody(record.target(), || record.args().to_string()) {
            debug!("a reply came when its request was gone");
        } else if self.logger.matches(record) {
            // Names of files are others' text.
            let text = printable(&record.args().to_string());
            let pass = |record: &Record<'_>| {
                self.messages.remember(record);
                self.logger.log(record);
            };
            let mut shown = Record::builder();
            shown.metadata(record.metadata().clone());
            shown.module_path(record.module_path());
            shown.file(record.file()).line(record.line());
            pass(&shown.args(format_args!("{text}")).build());
        }
    }

    fn flush(&self) {
        self.logger.flush();
    }
}

/// Standard error above the bars, which are drawn anew.
struct AboveBars(MultiProgress);

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_that_come_too_late_are_no_errors() {
        let is_reply_to_nobody =
            |target, text: &str| is_reply_to_nobody(target, || text.to_owned());
        let late = "Failed to send FUSE reply: No such file or directory (os error 2)";
        assert!(is_reply_to_nobody("fuser::reply", late));
        assert!(!is_reply_to_nobody("vhdfs::serve::fs", late));
        let wrong = "Failed to send FUSE reply: Invalid argument (os error 22)";
        assert!(!is_reply_to_nobody("fuser::reply", wrong));
    }
}
