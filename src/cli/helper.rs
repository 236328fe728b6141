//! The calling convention of mount(8) for its helpers: `mount.vhdfs SOURCE MOUNTPOINT [-sfnv]
//! [-N NAMESPACE] [-o OPTIONS] [-t TYPE]` (mount(8), "External helpers").

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Parser;

/// The name under which mount(8) looks for us.
pub const HELPER_NAME: &str = "mount.vhdfs";

/// Mount a folder of raw disk images as fixed VHDs; called by mount(8) and by fstab.
#[derive(Debug, Parser)]
#[command(
    name = HELPER_NAME,
    version,
    max_term_width = 100,
    after_help = "Examples:\n  mount -t vhdfs -o allow_other /srv/images /mnt/vhd\n  In /etc/fstab: /srv/images /mnt/vhd vhdfs allow_other,nofail,x-systemd.automount 0 0"
)]
pub struct HelperArgs {
    /// Folder of raw images, or a single image
    pub source: OsString,
    /// Empty folder to mount on
    pub mountpoint: OsString,
    /// Ignore options that are unknown
    #[arg(short)]
    pub sloppy: bool,
    /// Check the arguments, and mount nothing
    #[arg(short)]
    pub fake: bool,
    /// Does nothing; mount(8) passes it on
    #[arg(short)]
    pub no_mtab: bool,
    /// Log more; twice for every request
    #[arg(short, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Options of `vhdfs mount` by name, and those of mount(8)
    #[arg(short = 'o', long, value_name = "NAME[=VALUE],…")]
    pub options: Vec<OsString>,
    /// Does nothing; mount(8) passes it on
    #[arg(short = 't', value_name = "TYPE")]
    pub kind: Option<OsString>,
}

/// Whether mount(8) called the program, to judge from its own name.
pub fn is_helper(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(HELPER_NAME))
}

impl HelperArgs {
    /// The arguments of the `vhdfs mount` that does the same.
    pub fn into_mount(self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["vhdfs".into(), "mount".into()];
        for (given, flag) in [(self.sloppy, "--sloppy"), (self.fake, "--fake")] {
            if given {
                arguments.push(flag.into());
            }
        }
        arguments.extend((0..self.verbose).map(|_| "-v".into()));
        for options in self.options {
            arguments.extend(["-o".into(), options]);
        }
        arguments.extend(["--".into(), self.source, self.mountpoint]);
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn the_convention_of_mount_is_understood() {
        let called = [
            "/sbin/mount.vhdfs",
            "/srv/-images",
            "/mnt/vhd",
            "-sfnv",
            "-o",
            "rw,allow_other,uid=7",
            "-t",
            "vhdfs",
        ];
        assert!(is_helper(OsStr::new(called[0])));
        assert!(!is_helper(OsStr::new("/usr/bin/vhdfs")));
        let arguments = HelperArgs::try_parse_from(called).unwrap().into_mount();
        let Command::Mount(args) = Cli::try_parse_from(&arguments).unwrap().command else {
            unreachable!()
        };
        let args = args.with_options_applied(arguments).unwrap();
        assert!(args.sloppy && args.fake && args.allow_other);
        assert_eq!((args.verbose, args.uid), (1, Some(7)));
        assert_eq!(args.source, Path::new("/srv/-images"));
        // Another namespace would have to be entered, which is not ours to do.
        assert!(HelperArgs::try_parse_from(["x", "s", "m", "-N", "1"]).is_err());
    }
}
