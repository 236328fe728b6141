//! `vhdfs --version --verbose`: the program, and what this system can do for it.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};

use super::Failure;
use super::print::print;
use crate::mount::options::helper;

/// Where the kernel lists its security modules.
const SECURITY_MODULES: &str = "/sys/kernel/security/lsm";
/// First kernel that passes reads of an opened file through to another.
const PASSTHROUGH: (u32, u32) = (6, 9);

/// Whether these arguments ask for the version and more.
pub(super) fn is_asked_for(arguments: &[OsString]) -> bool {
    let given = |names: [&str; 2]| {
        arguments
            .iter()
            .skip(1)
            .any(|one| names.iter().any(|name| one == name))
    };
    let only = arguments.iter().skip(1).all(|one| {
        ["--version", "-V", "--verbose", "-v"]
            .iter()
            .any(|name| one == name)
    });
    only && given(["--version", "-V"]) && given(["--verbose", "-v"])
}

pub(super) fn run() -> Result<(), Failure> {
    let system = rustix::system::uname();
    let kernel = system.release().to_string_lossy();
    print(&format!(
        "vhdfs {}\ncommit: {}\ntarget: {}\nkernel: {kernel}\n/dev/fuse: {}\nfusermount3: {}\nLandlock: {}\npassthrough of clones: {}\n",
        env!("CARGO_PKG_VERSION"),
        env!("VHDFS_COMMIT"),
        env!("VHDFS_TARGET"),
        device(),
        helper().map_or("missing".to_owned(), |path| path.display().to_string()),
        landlock(),
        passthrough(&kernel),
    ))
}

fn device() -> String {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    opened.map_or_else(|error| error.to_string(), |_| "usable".to_owned())
}

fn landlock() -> &'static str {
    match fs::read_to_string(SECURITY_MODULES) {
        Ok(modules) if modules.trim().split(',').any(|module| module == "landlock") => "in force",
        Ok(_) => "not enabled (`lsm=landlock,…` at boot)",
        Err(_) => "unknown: /sys/kernel/security is not mounted",
    }
}

fn passthrough(kernel: &str) -> &'static str {
    let mut numbers = kernel
        .split(|letter: char| !letter.is_ascii_digit())
        .map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return "unknown";
    };
    if (major, minor) < PASSTHROUGH {
        "no: takes Linux 6.9"
    } else if rustix::process::geteuid().is_root() {
        "yes, where the file system clones"
    } else {
        "no: takes root"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_said_only_where_it_is_asked_for() {
        let asked =
            |line: &str| is_asked_for(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(asked("vhdfs --version --verbose") && asked("vhdfs -v -V"));
        assert!(!asked("vhdfs --version") && !asked("vhdfs mount --version -v") && !asked("vhdfs"));
    }

    #[test]
    fn kernels_are_told_apart() {
        assert!(passthrough("6.1.0-32-amd64").contains("6.9"));
        assert!(!passthrough("6.12.0").contains("6.9") && !passthrough("10.0").contains("6.9"));
        assert_eq!(passthrough("x"), "unknown");
    }
}
