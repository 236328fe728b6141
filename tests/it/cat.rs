//! `vhdfs cat`: ranges, outputs that are whole or absent, and copies that take no space.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{
    FileSystem, Lab, MIB, MemoryFs, oracle_verify, random_image, run, run_ok, snapshot_of,
    sparse_image, tool, vhdfs,
};

fn cat(arguments: &[&str], image: &Path) -> Output {
    run(vhdfs().arg("cat").args(arguments).arg(image))
}

fn to_file(arguments: &[&str], image: &Path, output: &Path) -> Output {
    run(vhdfs()
        .arg("cat")
        .args(arguments)
        .arg("--output")
        .args([output, image]))
}

/// Bytes of the file system that are in use.
fn used(path: &Path) -> u64 {
    let found = rustix::fs::statvfs(path).expect("a file system");
    (found.f_blocks - found.f_bfree) * found.f_frsize
}

#[test]
fn ranges_are_those_bytes_of_the_view() {
    let lab = Lab::new();
    let image = lab.path().join("a.raw");
    sparse_image(&image, 1, 3 * MIB + 5, &[(0, 70_000), (2 * MIB, 5000)]);
    let whole = run_ok(vhdfs().arg("cat").arg(&image)).stdout;
    let end = 4 * MIB as usize + 512;
    assert_eq!(whole.len(), end);
    for (range, place) in [
        ("0-512", 0..512),
        ("65536-1M", 65536..MIB as usize),
        ("2097151-2MiB", 2_097_151..2_097_152),
        ("1M-", MIB as usize..end),
        ("4M-4194816", end - 512..end),
        ("3M-4M", 3 * MIB as usize..4 * MIB as usize),
    ] {
        let output = cat(&["--range", range], &image);
        assert!(output.status.success(), "{range}");
        assert!(output.stdout == whole[place.clone()], "{range}");
        let file = lab.path().join("part");
        assert!(to_file(&["--range", range], &image, &file).status.success());
        assert!(
            fs::read(&file).expect("the part") == whole[place],
            "{range} in a file"
        );
    }
    for (range, said) in [
        ("0-5M", "4194816 bytes"),
        ("5M-", "not inside"),
        ("5-5", "not behind"),
        ("5", "not a range"),
        ("-5", "not a size"),
    ] {
        let output = cat(&["--range", range], &image);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{range}: {text}");
        assert!(text.contains(said), "{range}: {text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn an_output_on_the_file_system_of_its_image_shares_its_blocks() {
    for kind in ["xfs", "btrfs"] {
        let fs = FileSystem::new(kind, 512 * MIB);
        let image = fs.path().join("a.raw");
        random_image(&image, 1, 64 * MIB + 700);
        rustix::fs::syncfs(File::open(fs.path()).expect("a folder")).expect("on disk");
        let before = used(fs.path());
        let (output, redirected) = (fs.path().join("a.vhd"), fs.path().join("b.vhd"));
        assert!(to_file(&["--progress"], &image, &output).status.success());
        let file = File::create(&redirected).expect("an output");
        let status = vhdfs().arg("cat").arg(&image).stdout(file).status();
        assert!(status.expect("vhdfs runs").success());
        rustix::fs::syncfs(File::open(fs.path()).expect("a folder")).expect("on disk");
        let grown = used(fs.path()).saturating_sub(before);
        assert!(grown < 8 * MIB, "{kind}: {grown} bytes more");
        oracle_verify(&image, &output);
        oracle_verify(&image, &redirected);
        // Writing one does not change the other.
        let file = File::options()
            .write(true)
            .open(&output)
            .expect("the output");
        file.write_all_at(b"changed", 0).expect("a write");
        oracle_verify(&image, &redirected);
    }
}

#[test]
fn an_output_keeps_holes() {
    let lab = Lab::new();
    let image = lab.path().join("a.raw");
    sparse_image(&image, 1, 1 << 40, &[(0, 4096), (1 << 39, 70_000)]);
    let output = lab.path().join("a.vhd");
    assert!(
        to_file(&["--min-size=2T"], &image, &output)
            .status
            .success()
    );
    let meta = output.metadata().expect("the output");
    assert_eq!(meta.len(), (2 << 40) + 512);
    assert!(meta.blocks() * 512 < MIB, "{} blocks", meta.blocks());
    // Also a hole at the end.
    let part = lab.path().join("part");
    assert!(to_file(&["--range=1M-1G"], &image, &part).status.success());
    let meta = part.metadata().expect("the part");
    assert_eq!((meta.len(), meta.blocks()), ((1 << 30) - MIB, 0));
}

#[test]
fn an_output_is_there_whole_or_as_it_was() {
    let lab = Lab::new();
    let image = lab.path().join("a.raw");
    random_image(&image, 1, 4 * MIB);
    let full = lab.folder("full");
    let memory = MemoryFs::of_size(&full, 2 * MIB);
    let target = full.join("a.vhd");
    for old in [None, Some("old")] {
        if let Some(old) = old {
            fs::write(&target, old).expect("a file");
        }
        let output = to_file(&[], &image, &target);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("a.vhd") && text.contains("make room"),
            "{text}"
        );
        let left = fs::read_dir(&full).expect("a folder").count();
        assert_eq!(left, usize::from(old.is_some()));
        assert_eq!(fs::read_to_string(&target).ok().as_deref(), old);
    }
    fs::remove_file(&target).expect("removed");
    // Redirected, the file is somebody else's, but what was written is taken back.
    let file = File::create(&target).expect("an output");
    let output = Command::new(vhdfs().get_program())
        .arg("cat")
        .arg(&image)
        .stdout(file)
        .output();
    assert_eq!(output.expect("vhdfs runs").status.code(), Some(1));
    assert_eq!(target.metadata().expect("the output").len(), 0);
    drop(memory);
    let found = to_file(&[], &image, &lab.path().join("nowhere/a.vhd"));
    assert_eq!(found.status.code(), Some(1));
}

#[test]
fn an_image_is_never_its_own_output() {
    let lab = Lab::new();
    let image = lab.path().join("a.raw");
    random_image(&image, 1, MIB);
    let link = lab.path().join("link.vhd");
    std::os::unix::fs::symlink("a.raw", &link).expect("a link");
    let before = snapshot_of(&image);
    let append = File::options()
        .append(true)
        .open(&image)
        .expect("the image");
    let shell = Command::new(vhdfs().get_program())
        .arg("cat")
        .arg(&image)
        .stdout(append)
        .output()
        .expect("vhdfs runs");
    for output in [
        shell,
        to_file(&[], &image, &image),
        to_file(&[], &image, &link),
    ] {
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("the image itself"), "{text}");
    }
    before.assert_unchanged(&image);
}

#[test]
fn outputs_that_cannot_be_replaced_are_written() {
    let lab = Lab::new();
    let image = lab.path().join("a.raw");
    random_image(&image, 1, MIB);
    assert!(
        to_file(&[], &image, Path::new("/dev/null"))
            .status
            .success()
    );
    let pipe = lab.path().join("pipe");
    run_ok(Command::new(tool("mkfifo")).arg(&pipe));
    let mut writer = vhdfs()
        .args(["cat", "--output"])
        .args([&pipe, &image])
        .spawn()
        .expect("vhdfs runs");
    let copy = lab.path().join("a.vhd");
    fs::write(&copy, fs::read(&pipe).expect("the pipe")).expect("a copy");
    assert!(writer.wait().expect("its end").success());
    oracle_verify(&image, &copy);
}
