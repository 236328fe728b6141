//! The calling conventions of mount(8) and umount(8) for their helpers: `mount.vhdfs SOURCE
//! MOUNTPOINT [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]` and `umount.fuse.vhdfs MOUNTPOINT
//! [-flnrv] [-N NAMESPACE] [-t TYPE]` (mount(8) and umount(8), "External helpers").

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::Parser;

/// The name under which mount(8) looks for us.
pub const HELPER_NAME: &str = "mount.vhdfs";
/// The names under which mount(8) calls us: for `-t vhdfs`, and for the type as the kernel names it.
const MOUNT_HELPERS: [&str; 2] = [HELPER_NAME, "mount.fuse.vhdfs"];
/// The name under which umount(8) calls us.
const UNMOUNT_HELPER: &str = "umount.fuse.vhdfs";

/// Mount a folder of disk images as fixed VHDs; called by mount(8) and by fstab.
#[derive(Debug, Parser)]
#[command(
    name = HELPER_NAME,
    version,
    max_term_width = 100,
    after_help = "Examples:\n  mount -t vhdfs -o allow_other /srv/images /mnt/vhd\n  In /etc/fstab: /srv/images /mnt/vhd vhdfs allow_other,nofail,x-systemd.automount 0 0"
)]
pub struct HelperArgs {
    /// Folder of disk images, or a single image
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

/// Arguments of umount(8) to its helper.
#[derive(Debug, Parser)]
#[command(name = UNMOUNT_HELPER, version)]
struct UnmountHelperArgs {
    /// Where it is mounted
    mountpoint: OsString,
    /// Detach the mount even while it is in use
    #[arg(short)]
    lazy: bool,
    /// Does nothing: our daemons never keep the kernel waiting
    #[arg(short)]
    force: bool,
    /// Does nothing; umount(8) passes it on
    #[arg(short)]
    no_mtab: bool,
    /// Does nothing: the mount is read-only as it is
    #[arg(short)]
    read_only: bool,
    /// Does nothing; umount(8) passes it on
    #[arg(short)]
    verbose: bool,
    /// Does nothing; umount(8) passes it on
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<OsString>,
}

/// The arguments as `vhdfs` takes them, whichever convention the program was called by.
///
/// # Errors
///
/// If mount(8) or umount(8) asks for something that is unknown.
pub fn understand(arguments: Vec<OsString>) -> Result<Vec<OsString>, clap::Error> {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    let is_called = |helper: &str| name == Some(OsStr::new(helper));
    if is_called(UNMOUNT_HELPER) {
        return Ok(UnmountHelperArgs::try_parse_from(&arguments)?.into_umount());
    }
    if MOUNT_HELPERS.into_iter().any(is_called) || is_called_by_mount_fuse(&arguments) {
        return Ok(HelperArgs::try_parse_from(&arguments)?.into_mount());
    }
    Ok(arguments)
}

/// `mount -t fuse.vhdfs` without a helper of that name calls mount.fuse3(8), and that calls
/// `vhdfs SOURCE MOUNTPOINT [-o OPTIONS]`. No command has a slash in its name.
fn is_called_by_mount_fuse(arguments: &[OsString]) -> bool {
    let has_slash = |argument: &OsString| argument.as_bytes().contains(&b'/');
    arguments.len() > 2 && arguments[1..3].iter().all(has_slash)
}

impl HelperArgs {
    /// The arguments of the `vhdfs mount` that does the same.
    fn into_mount(self) -> Vec<OsString> {
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

impl UnmountHelperArgs {
    /// The arguments of the `vhdfs umount` that does the same.
    fn into_umount(self) -> Vec<OsString> {
        let lazy = self.lazy.then(|| "--lazy".into());
        let mut arguments: Vec<OsString> = vec!["vhdfs".into(), "umount".into()];
        arguments.extend(lazy);
        arguments.extend(["--".into(), self.mountpoint]);
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};

    fn called(arguments: &[&str]) -> Result<Vec<OsString>, clap::Error> {
        understand(arguments.iter().map(OsString::from).collect())
    }

    #[test]
    fn the_convention_of_mount_is_understood() {
        for name in ["/sbin/mount.vhdfs", "/sbin/mount.fuse.vhdfs", "vhdfs"] {
            let arguments = called(&[
                name,
                "/srv/-images",
                "/mnt/vhd",
                "-sfnv",
                "-o",
                "rw,allow_other,uid=7",
                "-t",
                "vhdfs",
            ])
            .unwrap();
            let Command::Mount(args) = Cli::try_parse_from(&arguments).unwrap().command else {
                unreachable!()
            };
            let args = args.with_options_applied(arguments).unwrap();
            assert!(args.sloppy && args.fake && args.allow_other);
            assert_eq!((args.verbose, args.uid), (1, Some(7)));
            assert_eq!(args.source, Path::new("/srv/-images"));
        }
        // Another namespace would have to be entered, which is not ours to do.
        assert!(called(&["mount.vhdfs", "s", "m", "-N", "1"]).is_err());
    }

    #[test]
    fn the_convention_of_umount_is_understood() {
        let arguments = called(&["/sbin/umount.fuse.vhdfs", "/mnt/vhd", "-lnrfv"]).unwrap();
        let Command::Umount(args) = Cli::try_parse_from(&arguments).unwrap().command else {
            unreachable!()
        };
        assert!(args.lazy);
        assert_eq!(args.mountpoint, Path::new("/mnt/vhd"));
    }

    #[test]
    fn commands_stay_as_they_are() {
        for arguments in [
            &["/usr/bin/vhdfs", "cat", "a/b"][..],
            &["vhdfs", "lst", "/srv"],
            &["vhdfs", "/srv"],
            &["vhdfs"],
        ] {
            let same: Vec<_> = arguments.iter().map(OsString::from).collect();
            assert_eq!(called(arguments).unwrap(), same);
        }
    }
}
