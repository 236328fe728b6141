//! Images that are not raw: each appears as the disk that qemu-img reads in it.

mod assembled;
mod chains;
mod compressed;
mod damage;
mod listing;
mod machines;
mod matrix;
mod memory;
mod oracles;
mod qcow2;
mod unusual;
mod upload;
mod written;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use crate::harness::oracle::oracle;
use crate::harness::process::describe;
use crate::harness::{run, run_ok, tool};

/// Makes an image of the disk in `raw`, in a format of qemu-img with these options.
fn convert(raw: &Path, format: &str, options: &str, image: &Path) {
    let mut command = Command::new(tool("qemu-img"));
    command.args(["convert", "-f", "raw", "-O", format]);
    if let Some(options) = options.strip_prefix("-c") {
        command.arg("-c");
        if !options.is_empty() {
            command.args(["-o", options]);
        }
    } else if !options.is_empty() {
        command.args(["-o", options]);
    }
    run_ok(command.arg(raw).arg(image));
}

/// Runs qemu-img in a folder, because names of backing files are relative to it.
fn qemu_img(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new(tool("qemu-img"));
    run_ok(command.current_dir(folder).args(arguments));
}

/// Makes an empty image in a folder; `arguments` are those of `qemu-img create`, separated by spaces.
fn create(folder: &Path, format: &str, arguments: &str) {
    let mut command = Command::new(tool("qemu-img"));
    command
        .current_dir(folder)
        .args(["create", "-q", "-f", format]);
    run_ok(command.args(arguments.split(' ')));
}

/// Makes `raw` the disk in an image, as qemu-img reads it.
fn unpack(image: &Path, format: &str, raw: &Path) {
    let mut command = Command::new(tool("qemu-img"));
    command.args(["convert", "-f", format, "-O", "raw"]);
    run_ok(command.arg(image).arg(raw));
}

/// Panics with every difference between `view` and what the oracle makes of the disk in `raw`, with the
/// name and the time of `image`.
#[track_caller]
fn verify(image: &Path, raw: &Path, view: &Path) {
    let mtime = fs::metadata(image).expect("an image").mtime();
    verify_at(image, mtime, raw, view);
}

/// The same, with the time of another file.
#[track_caller]
fn verify_at(image: &Path, mtime: i64, raw: &Path, view: &Path) {
    let mut command = oracle();
    command.arg("verify").arg("--name");
    command.arg(image.file_name().expect("a name"));
    command.arg("--mtime").arg(mtime.to_string());
    let output = run(command.args([raw, view]));
    assert!(output.status.success(), "{}", describe(&command, &output));
}
