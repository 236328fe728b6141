//! Who reads a view.

use std::{fmt, fs};

use serde::{Deserialize, Serialize};

/// The process that opened a view.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Reader {
    /// Its number in the daemon's namespace; 0 if it is in none that the daemon sees.
    pub pid: u32,
    /// What `ps` calls it; empty if that cannot be found out.
    pub name: String,
}

impl Reader {
    /// The process that `thread` belongs to: the kernel names the thread that asked.
    pub(super) fn of(thread: u32) -> Self {
        let about = |id: u32, file| fs::read_to_string(format!("/proc/{id}/{file}"));
        let status = about(thread, "status").unwrap_or_default();
        let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
        let pid = process
            .and_then(|process| process.trim().parse().ok())
            .unwrap_or(thread);
        let name = about(pid, "comm").unwrap_or_default();
        Self {
            pid,
            name: name.trim_end().to_owned(),
        }
    }
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.as_str(), self.pid) {
            ("", 0) => write!(f, "another namespace"),
            ("", pid) => write!(f, "process {pid}"),
            (name, pid) => write!(f, "{name} ({pid})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_named_as_far_as_they_are_known() {
        let reader = |pid, name: &str| Reader {
            pid,
            name: name.into(),
        };
        assert_eq!(reader(7, "azcopy").to_string(), "azcopy (7)");
        assert_eq!(reader(7, "").to_string(), "process 7");
        assert_eq!(reader(0, "").to_string(), "another namespace");
    }
}
