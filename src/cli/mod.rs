//! The command line: what users type, and nothing of what it does.

mod helper;
mod mount_options;
mod size;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::folder::settle;
use crate::serve::image::GptPolicy;
use check::Generation;

pub use helper::{HELPER_NAME, HelperArgs, understand};
pub use mount_options::{OptionError, kernel_options};
pub use size::Span;

/// Groups of options in the help.
const APPEARS: &str = "What appears";
const READERS: &str = "Who may read";
const CONSISTENCY: &str = "Consistency";
const SPEED: &str = "Speed";
const SYSTEM: &str = "System";

/// Show raw disk images as Azure-ready fixed VHDs, without converting or copying them.
#[derive(Debug, Parser)]
#[command(
    name = "vhdfs",
    version,
    max_term_width = 100,
    propagate_version = true
)]
#[command(
    after_help = "Example:\n  vhdfs mount ~/images /mnt/vhd\n  azcopy copy '/mnt/vhd/*' 'https://ACCOUNT.blob.core.windows.net/vhds?SAS' --recursive --blob-type PageBlob\n  vhdfs umount /mnt/vhd\n\n`vhdfs COMMAND -h` is short, `vhdfs COMMAND --help` says more; `vhdfs --version --verbose` says what this system can do."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mount the images of a folder, or a single image
    Mount(Box<MountArgs>),
    /// End a mount
    #[command(visible_alias = "unmount")]
    Umount(UmountArgs),
    /// Show what is mounted, who reads what, and how fast
    Status(StatusArgs),
    /// Tell what would appear in a mount, what would not, and why
    List(ListArgs),
    /// Show the layout of a raw image, or the footer of a VHD
    Inspect(InspectArgs),
    /// Write the VHD of an image to standard output, for hosts without FUSE
    Cat(CatArgs),
    /// Show which ranges of a view hold data, and which are zeros
    Map(MapArgs),
    /// Write sums that prove what views hold
    Manifest(ManifestArgs),
    /// Tell whether a file, a stream or a download holds a view
    Verify(VerifyArgs),
    /// Tell whether Azure would take and boot an image
    Check(CheckArgs),
    /// Make three small images to try vhdfs on
    #[command(hide = true)]
    Demo(DemoArgs),
    /// Write man pages and completions for packages
    #[command(hide = true)]
    Generate(GenerateArgs),
}

/// Which files are images.
#[derive(Args, Clone, Debug, Default)]
pub struct SelectionArgs {
    /// Show every file, whatever its extension
    #[arg(help_heading = APPEARS, long)]
    pub all: bool,
    /// Also show files whose path below the source folder matches (`*` matches `/` too)
    #[arg(help_heading = APPEARS, long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Never show files or folders whose path below the source folder matches
    #[arg(help_heading = APPEARS, long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Also show block devices, and links to them
    #[arg(help_heading = APPEARS, hide_short_help = true, long)]
    pub allow_devices: bool,
}

/// What decides the bytes of a view.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ViewArgs {
    /// What becomes of a GPT whose backup is not at the end of the disk that appears
    #[arg(help_heading = APPEARS, long, value_enum, value_name = "HOW", default_value_t)]
    pub gpt: Gpt,
    /// Show smaller disks in this size, such as 30G or 32GiB, with zeros behind them
    #[arg(
        help_heading = APPEARS,
        long, value_name = "SIZE", value_parser = size::virtual_size,
        allow_hyphen_values = true
    )]
    pub min_size: Option<u64>,
    /// Also open the backing files and external data files that qcow2 images name
    #[arg(help_heading = APPEARS, long)]
    pub chains: bool,
    /// Also show images that are compressed with xz, such as `disk.raw.xz`
    #[arg(help_heading = APPEARS, long)]
    pub compressed: bool,
}

impl ViewArgs {
    /// Whether views are as they are without any option.
    pub fn is_default(&self) -> bool {
        self.min_size.is_none() && matches!(self.gpt, Gpt::Keep) && !self.chains
    }
}

/// Arguments of `vhdfs mount`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vhdfs mount --mkdir ~/images ~/vhds\n  vhdfs mount ~/images /mnt/vhd --include '*.bin' --exclude 'old/*'"
)]
pub struct MountArgs {
    /// Folder of raw images, or a single image
    pub source: PathBuf,
    /// Empty folder to mount on
    pub mountpoint: PathBuf,
    /// Mount only if everything appears that is selected
    #[arg(help_heading = APPEARS, long)]
    pub strict: bool,
    /// Make the mount point, and remove it when it is unmounted
    #[arg(help_heading = SYSTEM, long)]
    pub mkdir: bool,
    /// Stay in the foreground and log to standard error
    #[arg(help_heading = SYSTEM, short, long)]
    pub foreground: bool,
    /// Which files are images.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Let all users read what the shown owners and modes permit
    #[arg(help_heading = READERS, long)]
    pub allow_other: bool,
    /// Let root read, too
    #[arg(help_heading = READERS, long, conflicts_with = "allow_other")]
    pub allow_root: bool,
    /// Unmount when the daemon is killed
    #[arg(help_heading = SYSTEM, hide_short_help = true, long)]
    pub auto_unmount: bool,
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
    /// When opened views become point-in-time snapshots
    #[arg(help_heading = CONSISTENCY, long, value_enum, value_name = "WHEN", default_value_t)]
    pub snapshot: Snapshot,
    /// Make snapshots in this folder, which must be on the file system of the images
    #[arg(help_heading = CONSISTENCY, hide_short_help = true, long, value_name = "DIR")]
    pub snapshot_dir: Option<PathBuf>,
    /// What the views hold.
    #[command(flatten)]
    pub view: ViewArgs,
    /// What to do where somebody has an image open for writing when its view is opened
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    pub writers: Writers,
    /// Confine the daemon to reading the source folder, once it is mounted
    #[arg(help_heading = SYSTEM, hide_short_help = true, long, value_enum, value_name = "WHEN", default_value_t)]
    pub sandbox: Sandbox,
    /// Memory for tables of images that are not raw, and as much for what was decompressed
    #[arg(
        help_heading = SPEED,
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
    /// Append the log to this file
    #[arg(help_heading = SYSTEM, hide_short_help = true, long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Log more; twice for every request
    #[arg(help_heading = SYSTEM, short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Ignore options of `-o` that are unknown
    #[arg(long, hide = true)]
    pub sloppy: bool,
    /// Check the arguments, and mount nothing
    #[arg(long, hide = true)]
    pub fake: bool,
    /// The options above by name, and those of mount(8)
    #[arg(help_heading = SYSTEM, short = 'o', long, value_name = "NAME[=VALUE],…")]
    pub options: Vec<String>,
    /// What was given that makes a difference to the mount, sorted: `allow-other`, `uid=7`.
    #[arg(skip)]
    pub named: Vec<String>,
}

/// What becomes of a GPT whose backup is not at the end of the padded disk.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Gpt {
    /// It appears as it is
    #[default]
    Keep,
    /// The view carries it with the backup moved to the end
    Relocate,
}

impl From<Gpt> for GptPolicy {
    fn from(gpt: Gpt) -> Self {
        match gpt {
            Gpt::Keep => Self::Keep,
            Gpt::Relocate => Self::Relocate,
        }
    }
}

/// What is done where somebody has an image open for writing.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Writers {
    /// Opening its view fails
    #[default]
    Refuse,
    /// Its view is a snapshot, the disk as it would be after a power cut; where the file system can
    Snapshot,
    /// Its view is what is there, and may be of several moments
    Allow,
}

impl From<Writers> for settle::Writers {
    fn from(writers: Writers) -> Self {
        match writers {
            Writers::Refuse => Self::Refuse,
            Writers::Snapshot => Self::Snapshot,
            Writers::Allow => Self::Allow,
        }
    }
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
#[command(after_help = "Examples:\n  vhdfs status\n  vhdfs status --watch /mnt/vhd")]
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

/// Arguments of `vhdfs demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Folder for the images; made where it is missing
    pub folder: PathBuf,
}

/// Arguments of `vhdfs generate`.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// Folder for `man1`, `man8` and `completions`; made where it is missing
    pub folder: PathBuf,
}

/// Arguments of `vhdfs list`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vhdfs list ~/images\n  vhdfs list --json ~/images --exclude 'old/*'"
)]
pub struct ListArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Do not break lines to fit the terminal
    #[arg(long)]
    pub wide: bool,
    /// Which files are images.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What the views hold.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Folder of raw images, or a single image
    pub source: PathBuf,
}

/// Arguments of `vhdfs inspect`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vhdfs inspect ~/images/disk.raw\n  vhdfs inspect --json ~/images/disk.raw"
)]
pub struct InspectArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// What the views hold.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Raw image or VHD
    pub file: PathBuf,
}

/// Arguments of `vhdfs cat`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vhdfs cat ~/images/disk.raw > disk.vhd\n  vhdfs cat --range 4M-8M ~/images/disk.raw | sha256sum"
)]
pub struct CatArgs {
    /// What the views hold.
    #[command(flatten)]
    pub view: ViewArgs,
    /// What to do where somebody has the image open for writing
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    pub writers: Writers,
    /// Only the bytes from START up to and without END; END may be left out, both may have K, M, G, T or P
    #[arg(long, value_name = "START-END", value_parser = size::span, allow_hyphen_values = true)]
    pub range: Option<Span>,
    /// Write to this file, which appears when it is complete
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Draw a bar on standard error
    #[arg(long)]
    pub progress: bool,
    /// Raw image
    pub image: PathBuf,
}

/// How a map is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum MapFormat {
    /// Sizes, and a picture of the disk
    #[default]
    Text,
    /// One JSON document
    Json,
    /// `offset length` of each range that holds data, a line each
    Pages,
}

/// Arguments of `vhdfs map`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vhdfs map ~/images/disk.raw\n  vhdfs map --probe --format pages ~/images/disk.raw"
)]
pub struct MapArgs {
    /// Print one JSON document
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// How to print it
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub format: MapFormat,
    /// Read all data, and find what holds zeros only
    #[arg(long)]
    pub probe: bool,
    /// Size of the blocks of zeros that are looked for, a multiple of 512 bytes (default: 4K)
    #[arg(
        long, value_name = "SIZE", value_parser = size::granularity, requires = "probe",
        allow_hyphen_values = true
    )]
    pub granularity: Option<u64>,
    /// What the view holds.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Raw image
    pub image: PathBuf,
}

impl MapArgs {
    /// How to print the map.
    pub fn format(&self) -> MapFormat {
        match self.json {
            true => MapFormat::Json,
            false => self.format,
        }
    }

    /// The size of the blocks to look for, in bytes; `None` where nothing is to be read.
    pub fn granularity(&self) -> Option<u64> {
        self.probe.then(|| self.granularity.unwrap_or(4096))
    }
}

/// Arguments of `vhdfs manifest`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vhdfs manifest --output images.json ~/images\n  vhdfs manifest ~/images/disk.raw > disk.json"
)]
pub struct ManifestArgs {
    /// Write to this file, which appears when it is complete
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Leave out the sums of whole views, which have to go through every hole: fast for sparse disks
    #[arg(long)]
    pub blocks_only: bool,
    /// Which files are images.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What the views hold.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Folder of raw images, or a single image
    pub source: PathBuf,
}

/// Arguments of `vhdfs verify`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vhdfs verify images.json downloads/disk.vhd\n  vhdfs cat ~/images/disk.raw | vhdfs verify images.json - --view disk.vhd\n\nExit status:\n  0 equal · 1 not · 2 could not be told"
)]
pub struct VerifyArgs {
    /// Tell all blocks that differ, not the first only
    #[arg(long)]
    pub all: bool,
    /// Only the bytes from START up to and without END, multiples of 4M; a stream holds these alone
    #[arg(long, value_name = "START-END", value_parser = size::span, allow_hyphen_values = true)]
    pub range: Option<Span>,
    /// Which view of the manifest the file should hold; by default the one that is called like it
    #[arg(long = "view", value_name = "NAME")]
    pub view_name: Option<String>,
    /// What `vhdfs manifest` wrote
    pub manifest: PathBuf,
    /// File, view, block device or pipe; `-` for standard input
    pub file: PathBuf,
}

/// Arguments of `vhdfs check`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vhdfs check --generation 2 ~/images/debian.raw\n  vhdfs check --json --data-disk ~/images/data.img\n\nExit status:\n  0 ready · 1 not ready · 2 wrong arguments, or an image cannot be read · 3 could not be told"
)]
pub struct CheckArgs {
    /// Print one JSON document; an array where several images or a folder are named
    #[arg(long)]
    pub json: bool,
    /// Generation of the virtual machine; by default the one that the image looks like
    #[arg(long, value_name = "NUMBER", value_parser = generation)]
    pub generation: Option<Generation>,
    /// Leave out what matters only for booting
    #[arg(long)]
    pub data_disk: bool,
    /// What the views hold.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Print what a finding means, where its rule comes from, and what to do
    #[arg(long, value_name = "ID", exclusive = true)]
    pub explain: Option<String>,
    /// Raw images, VHDs, views on a mount, or folders of them
    #[arg(value_name = "IMAGE|FOLDER", required_unless_present = "explain", num_args = 1..)]
    pub images: Vec<PathBuf>,
}

fn generation(text: &str) -> Result<Generation, String> {
    let number = text.parse().ok();
    number
        .and_then(Generation::from_number)
        .ok_or_else(|| "1 or 2".into())
}

fn octal_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err("not an octal mode between 0 and 7777".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(octal_mode("0640"), Ok(0o640));
        for wrong in ["8", "10000", "-1", "", "rw"] {
            assert!(octal_mode(wrong).is_err(), "{wrong}");
        }
    }
}
