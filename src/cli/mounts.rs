//! Arguments of the commands for mounts that are there.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `vhdfs umount`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  vhdfs umount /mnt/vhd\n  vhdfs umount --lazy /mnt/vhd")]
pub struct UmountArgs {
    /// Detach the mount even while it is in use; open files go on
    #[arg(short = 'z', long)]
    pub lazy: bool,
    /// Where it is mounted
    pub mountpoint: PathBuf,
}

/// Arguments of `vhdfs status`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  vhdfs status\n  vhdfs status --json /mnt/vhd")]
pub struct StatusArgs {
    /// Print one JSON document
    #[arg(long, conflicts_with_all = ["prometheus", "watch"])]
    pub json: bool,
    /// Print metrics in the text format of Prometheus
    #[arg(long, conflicts_with = "watch")]
    pub prometheus: bool,
    /// Print it again every second, until interrupted
    #[arg(long)]
    pub watch: bool,
    /// Do not break lines to fit the terminal
    #[arg(long)]
    pub wide: bool,
    /// Where it is mounted; all mounts of yours by default, and all of vhdfs for root
    pub mountpoint: Option<PathBuf>,
}
