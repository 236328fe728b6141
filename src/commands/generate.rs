//! `vhdfs generate`: man pages and completions, from the one definition of the command line.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use thiserror::Error;

use super::Failure;
use crate::cli::{Cli, GenerateArgs, HELPER_NAME, HelperArgs};

const MANUAL: &str = "vhdfs manual";

/// Exit status of the commands that are not named below.
const EXIT_STATUS: [(&str, &str); 3] = [
    ("0", "Done."),
    (
        "1",
        "It failed; one line on standard error says what, and what to do.",
    ),
    ("2", "The arguments are wrong."),
];
const CHECK_EXIT_STATUS: [(&str, &str); 3] = [
    ("0", "The image is ready."),
    ("1", "It is not ready."),
    ("2", "It could not be checked."),
];
const FILES: [(&str, &str); 4] = [
    ("/dev/fuse", "Device through which file systems are served."),
    (
        "/etc/fuse.conf",
        "Lets ordinary users share mounts where it holds the line user_allow_other.",
    ),
    (
        "/run/vhdfs, $XDG_RUNTIME_DIR/vhdfs, /tmp/vhdfs-UID",
        "Sockets of the daemons of root, of a user, and of a user without a session, for vhdfs status.",
    ),
    (
        "/dev/log",
        "Where daemons without --log-file send their messages; nowhere where it is missing.",
    ),
];
const ENVIRONMENT: [(&str, &str); 3] = [
    (
        "VHDFS_LOG",
        "What is logged, in place of -v: off, error, warn, info, debug or trace, also for parts of the program, such as vhdfs::image=debug.",
    ),
    ("NO_COLOR", "Where set and not empty, nothing is coloured."),
    (
        "FUSERMOUNT_PATH",
        "The program that mounts for ordinary users, in place of fusermount3 in PATH.",
    ),
];

/// Why nothing could be written.
#[derive(Debug, Error)]
#[error("{}: cannot be written: {}; name a folder that you may write [unwritable]", .0.display(), .1)]
struct WriteError(PathBuf, #[source] io::Error);

pub(super) fn run(args: &GenerateArgs) -> Result<(), Failure> {
    let failed = |error| WriteError(args.folder.clone(), error);
    write_man_pages(&args.folder).map_err(failed)?;
    write_completions(&args.folder.join("completions")).map_err(failed)?;
    Ok(())
}

fn write_man_pages(folder: &Path) -> io::Result<()> {
    let (user, administrator) = (folder.join("man1"), folder.join("man8"));
    fs::create_dir_all(&user)?;
    fs::create_dir_all(&administrator)?;
    let mut program = Cli::command().disable_help_subcommand(true);
    // Names of subcommands become complete by this.
    program.build();
    write_page(&user.join("vhdfs.1"), &program, "1")?;
    for command in program.get_subcommands().filter(|one| !one.is_hide_set()) {
        let name = format!("vhdfs-{}", command.get_name());
        write_page(&user.join(name + ".1"), command, "1")?;
    }
    let helper = administrator.join(format!("{HELPER_NAME}.8"));
    write_page(&helper, &HelperArgs::command(), "8")
}

fn write_page(path: &Path, command: &clap::Command, section: &str) -> io::Result<()> {
    let title = path.file_stem().unwrap_or_default().to_string_lossy();
    let example = command.get_after_help().map(ToString::to_string);
    // What stands behind the help is an example, and has a section of its own here.
    let page = Man::new(command.clone().after_help(""))
        .title(title.to_uppercase())
        .section(section)
        .source(concat!("vhdfs ", env!("CARGO_PKG_VERSION")))
        .manual(MANUAL);
    let mut out = BufWriter::new(File::create(path)?);
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    page.render_options_section(&mut out)?;
    if command.get_subcommands().next().is_some() {
        page.render_subcommands_section(&mut out)?;
    }
    if let Some(example) = &example {
        examples(example).to_writer(&mut out)?;
    }
    let exit_status = match command.get_name() {
        "check" => &CHECK_EXIT_STATUS,
        _ => &EXIT_STATUS,
    };
    terms("EXIT STATUS", exit_status).to_writer(&mut out)?;
    if command.get_name() != "check" {
        terms("ENVIRONMENT", &ENVIRONMENT).to_writer(&mut out)?;
        terms("FILES", &FILES).to_writer(&mut out)?;
    }
    see_also(&title).to_writer(&mut out)?;
    out.flush()
}

fn examples(text: &str) -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["EXAMPLES"]);
    page.control("nf", []);
    for line in text.lines().skip(1) {
        page.text([roman(line.trim_start())]);
    }
    page.control("fi", []);
    page
}

fn terms(heading: &str, terms: &[(&str, &str)]) -> Roff {
    let mut page = Roff::new();
    page.control("SH", [heading]);
    for (term, meaning) in terms {
        page.control("TP", []);
        page.text([bold(*term)]);
        page.text([roman(*meaning)]);
    }
    page
}

fn see_also(title: &str) -> Roff {
    let pages = [
        ("vhdfs", "(1)"),
        ("vhdfs-mount", "(1)"),
        ("mount.vhdfs", "(8)"),
        ("fusermount3", "(1)"),
        ("mount", "(8)"),
    ];
    let mut page = Roff::new();
    page.control("SH", ["SEE ALSO"]);
    let others: Vec<_> = pages.iter().filter(|(name, _)| *name != title).collect();
    for (index, (name, section)) in others.iter().enumerate() {
        let comma = if index + 1 < others.len() { "," } else { "" };
        page.text([bold(*name), roman(format!("{section}{comma}"))]);
    }
    page
}

fn write_completions(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Cli::command(), "vhdfs", folder)?;
    }
    Ok(())
}
