//! The commands in the documents work.
//!
//! Each block fenced as `sh` in README.md, CONTRIBUTING.md and docs/ is run by bash, which ends at
//! the first failure, in a folder of its own that is `~`: `~/images` and `/srv/images` hold two
//! images, `/mnt/vhd` is an empty folder, `$CONTAINER_URL` names a container of the emulator. A
//! block fenced as `sh not-run` is only for people; everything else that a shell could run must
//! be fenced as one of the two.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use crate::harness::mount::is_mount;
use crate::harness::process::{describe, repository};
use crate::harness::{Azurite, Lab, MIB, random_image, run, sparse_image, stdout_of, tool, vhdfs};

/// Words behind a fence that say that a shell could run what follows.
const SHELLS: [&str; 5] = ["sh", "bash", "shell", "console", "shell-session"];

/// A fenced block of a document.
struct Block {
    document: PathBuf,
    line: usize,
    /// What stands behind the fence.
    kind: String,
    text: String,
}

fn documents() -> Vec<PathBuf> {
    let top = ["README.md", "CONTRIBUTING.md"].map(|name| repository().join(name));
    let entries = repository().join("docs").read_dir().expect("docs");
    let pages = entries.map(|entry| entry.expect("an entry").path());
    let mut documents: Vec<_> = top.into_iter().chain(pages).collect();
    documents.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    documents.sort();
    documents
}

fn blocks_of(document: &Path) -> Vec<Block> {
    let text = fs::read_to_string(document).expect("a document");
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_inside = false;
    for (index, line) in text.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if is_inside => is_inside = false,
            Some(kind) => {
                is_inside = true;
                blocks.push(Block {
                    document: document.to_owned(),
                    line: index + 1,
                    kind: kind.trim().to_owned(),
                    text: String::new(),
                });
            }
            None if is_inside => {
                let block = blocks.last_mut().expect("a block");
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {}
        }
    }
    assert!(!is_inside, "{}: a block has no end", document.display());
    blocks
}

fn blocks() -> Vec<Block> {
    documents()
        .iter()
        .flat_map(|document| blocks_of(document))
        .collect()
}

/// Runs a block as a reader would who has the tools and two images.
fn run_block(block: &Block, azurite: &Rc<Azurite>, number: usize) {
    let place = format!("{}:{}", block.document.display(), block.line);
    let lab = Lab::new();
    random_image(&lab.path().join("images/disk.raw"), 1, 3 * MIB + 5);
    sparse_image(
        &lab.path().join("images/data.img"),
        2,
        8 * MIB,
        &[(MIB, 4096)],
    );
    let mountpoint = lab.folder("mnt");
    let script = block
        .text
        .replace("/mnt/vhd", mountpoint.to_str().unwrap())
        .replace("/srv/images", lab.path().join("images").to_str().unwrap());
    let container = azurite.container(&format!("docs{number}"));
    let mut command = Command::new(tool("bash"));
    command
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(lab.path())
        .env("HOME", lab.path())
        .env("PATH", path())
        .env("AZCOPY_LOG_LOCATION", lab.path())
        .env("AZCOPY_JOB_PLAN_LOCATION", lab.path())
        .env("CONTAINER_URL", &container.url);
    let output = run(&mut command);
    let left = is_mount(&mountpoint);
    if left {
        run(vhdfs().args(["umount", "--lazy"]).arg(&mountpoint));
    }
    assert!(
        output.status.success(),
        "{place}: {}",
        describe(&command, &output)
    );
    assert!(!left, "{place}: leaves a mount behind");
}

/// Where the program under test and the tools of the tests come first.
fn path() -> std::ffi::OsString {
    let own = [
        PathBuf::from(vhdfs().get_program()),
        tool("azcopy"),
        tool("qemu-img"),
    ];
    let own = own
        .iter()
        .map(|program| program.parent().expect("a folder").to_owned());
    let others = env::var_os("PATH").unwrap_or_default();
    let others: Vec<_> = env::split_paths(&others).collect();
    env::join_paths(own.chain(others)).expect("a PATH")
}

#[test]
fn what_is_marked_to_run_runs() {
    let azurite = Azurite::start();
    let blocks = blocks();
    let marked: Vec<_> = blocks.iter().filter(|block| block.kind == "sh").collect();
    assert!(
        marked.len() >= 5,
        "no more than {} blocks are run",
        marked.len()
    );
    for (number, block) in marked.into_iter().enumerate() {
        run_block(block, &azurite, number);
    }
}

#[test]
fn what_a_shell_could_run_is_marked() {
    for block in blocks() {
        let language = block.kind.split_whitespace().next().unwrap_or_default();
        let is_marked = block.kind == "sh" || block.kind == "sh not-run";
        assert!(
            is_marked || !SHELLS.contains(&language) && !block.kind.is_empty(),
            "{}:{}: {:?} is not one of `sh`, `sh not-run` and other languages",
            block.document.display(),
            block.line,
            block.kind
        );
    }
}

#[test]
fn every_option_and_only_those_are_described() {
    let page = fs::read_to_string(repository().join("docs/CONFIGURATION.md")).expect("a page");
    let help = stdout_of(vhdfs().args(["mount", "--help"]));
    let options = |text: &str| -> Vec<String> {
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-'));
        let mut options: Vec<_> = words
            .filter(|word| {
                let name = word.strip_prefix("--");
                name.is_some_and(|name| name.starts_with(|letter: char| letter.is_alphabetic()))
            })
            .map(str::to_owned)
            .collect();
        options.sort();
        options.dedup();
        options
    };
    let described = options(&page);
    for option in options(&help) {
        let is_general = ["--help", "--version"].contains(&option.as_str());
        assert!(
            is_general || described.contains(&option),
            "{option} is not described"
        );
    }
    let all: String = [
        "mount", "umount", "list", "check", "status", "inspect", "cat",
    ]
    .map(|command| stdout_of(vhdfs().args([command, "--help"])))
    .concat();
    // The tables are of ours; the text also speaks of other programs.
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with('|')).collect();
    for option in options(&rows.join("\n")) {
        assert!(options(&all).contains(&option), "{option} does not exist");
    }
}
