//! Arguments of `vhdfs mount`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{APPEARS, CONSISTENCY, READERS, SPEED, SYSTEM, SelectionArgs, ViewArgs, Writers, size};

/// Arguments of `vhdfs mount`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vhdfs mount --mkdir ~/images ~/vhds\n  vhdfs mount ~/images /mnt/vhd --include '*.bin' --exclude 'old/*'"
)]
pub struct MountArgs {
    /// Folder of disk images, or a single image
    pub source: PathBuf,
    /// Empty folder to mount on
    pub mountpoint: PathBuf,
    /// Mount only if everything appears that is selected
    #[arg(help_heading = APPEARS, long)]
    pub strict: bool,
    /// Which files are images.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What the views hold.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Let all users read what owners and modes permit
    #[arg(help_heading = READERS, long)]
    pub allow_other: bool,
    /// Let root read, too
    #[arg(help_heading = READERS, long, conflicts_with = "allow_other")]
    pub allow_root: bool,
    /// Owner of everything in the mount
    #[arg(help_heading = READERS, hide_short_help = true, long)]
    pub uid: Option<u32>,
    /// Group of everything in the mount
    #[arg(help_heading = READERS, hide_short_help = true, long)]
    pub gid: Option<u32>,
    /// Permission bits of the views, octal
    #[arg(help_heading = READERS, hide_short_help = true, long, value_name = "MODE", value_parser = octal_mode)]
    pub file_mode: Option<u32>,
    /// Permission bits of the folders, octal
    #[arg(help_heading = READERS, hide_short_help = true, long, value_name = "MODE", value_parser = octal_mode)]
    pub dir_mode: Option<u32>,
    /// Views of images that somebody writes
    ///
    /// `refuse`, the default: opening one fails. `snapshot`: it is a snapshot, the disk as it would be
    /// after a power cut, if the file system can. `allow`: it is what is there, and may be of several
    /// moments.
    #[arg(
        help_heading = CONSISTENCY, long, value_enum, value_name = "refuse|snapshot|allow", default_value_t,
        hide_possible_values = true, hide_default_value = true
    )]
    pub writers: Writers,
    /// Views as point-in-time snapshots
    ///
    /// `auto`, the default: if the file system can clone, and cloning is cheap and harmless. `always`:
    /// opening fails if there can be none. `never`: the image itself is read.
    #[arg(
        help_heading = CONSISTENCY, long, value_enum, value_name = "auto|always|never", default_value_t,
        hide_possible_values = true, hide_default_value = true
    )]
    pub snapshot: Snapshot,
    /// Make snapshots in this folder, which must be on the file system of the images
    #[arg(help_heading = CONSISTENCY, hide_short_help = true, long, value_name = "DIR")]
    pub snapshot_dir: Option<PathBuf>,
    /// Memory for tables of images that are not raw, and as much for what was decompressed
    #[arg(
        help_heading = SPEED, hide_short_help = true,
        long, value_name = "SIZE", default_value = "64M", value_parser = size::cache_size,
        allow_hyphen_values = true
    )]
    pub cache_size: u64,
    /// Read past the kernel's page cache: faster for readers of large blocks
    #[arg(help_heading = SPEED, hide_short_help = true, long)]
    pub direct_io: bool,
    /// Number of threads that receive requests
    #[arg(help_heading = SPEED, hide_short_help = true, long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=64))]
    pub threads: u16,
    /// Make the mount point, and remove it at unmount
    ///
    /// It is removed only if it was made, and is empty.
    #[arg(help_heading = SYSTEM, long)]
    pub mkdir: bool,
    /// Stay in the foreground, log to standard error
    #[arg(help_heading = SYSTEM, short, long)]
    pub foreground: bool,
    /// Unmount when the daemon is killed
    #[arg(help_heading = SYSTEM, hide_short_help = true, long)]
    pub auto_unmount: bool,
    /// Confine the daemon to reading the source folder, once it is mounted
    #[arg(help_heading = SYSTEM, hide_short_help = true, long, value_enum, value_name = "WHEN", default_value_t)]
    pub sandbox: Sandbox,
    /// Append the log to this file
    #[arg(help_heading = SYSTEM, hide_short_help = true, long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Log more; twice for every request
    #[arg(help_heading = SYSTEM, short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// The options above by name, and mount(8)'s
    #[arg(help_heading = SYSTEM, short = 'o', long, value_name = "NAME[=VALUE],…")]
    pub options: Vec<String>,
    /// Ignore options of `-o` that are unknown
    #[arg(long, hide = true)]
    pub sloppy: bool,
    /// Check the arguments, and mount nothing
    #[arg(long, hide = true)]
    pub fake: bool,
    /// What was given that makes a difference to the mount, sorted: `allow-other`, `uid=7`.
    #[arg(skip)]
    pub named: Vec<String>,
}

/// When opened views become snapshots.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Snapshot {
    /// Where the file system can clone, and cloning is cheap and harmless
    #[default]
    Auto,
    /// Always; opening fails where it cannot be
    Always,
    /// Never
    Never,
}

/// How much of a sandbox there must be.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Sandbox {
    /// As much as the kernel has
    #[default]
    Auto,
    /// All of it; mounting fails where the kernel lacks something
    Require,
    /// None
    Off,
}

fn octal_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err("not an octal mode between 0 and 7777".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        assert_eq!(octal_mode("0640"), Ok(0o640));
        for wrong in ["8", "10000", "-1", "", "rw"] {
            assert!(octal_mode(wrong).is_err(), "{wrong}");
        }
    }
}
