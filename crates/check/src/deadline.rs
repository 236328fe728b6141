//! When a check ends, whatever is left to read.

use std::time::Duration;

/// Tells when a check has taken long enough: this library has no clock of its own.
pub trait Deadline {
    /// Whether the time is over. Asked at every read, so it should be quick.
    fn has_passed(&self) -> bool;

    /// How long a check may take, for the report.
    fn limit(&self) -> Duration;
}

/// No deadline: only the number of bytes that are read is limited.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDeadline;

impl Deadline for NoDeadline {
    fn has_passed(&self) -> bool {
        false
    }

    fn limit(&self) -> Duration {
        Duration::MAX
    }
}

/// Why a check was cut short.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cut {
    /// It took longer than this.
    Time(Duration),
    /// It would have read more bytes than this.
    Bytes(u64),
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Time(limit) => write!(f, "it took longer than {} s", limit.as_secs()),
            Self::Bytes(limit) => write!(f, "more than {} MiB would have to be read", limit >> 20),
        }
    }
}
