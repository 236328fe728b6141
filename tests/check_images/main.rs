//! Images made by the real tools, judged by `check` and, where relocated, by those tools.
//!
//! The Debian packages with the tools are listed in `tests/packages-check.txt`. A missing tool
//! fails the test that needs it. The system images want root, as mmdebstrap does.

mod base;
mod broken;
mod containers;
mod disks;
mod hostile;
mod relocation;
mod system;
mod tools;
