//! `vhdfs manifest` and `vhdfs verify`: proof of what a view holds.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::harness::{
    Lab, MIB, MemoryFs, Mount, eventually, random_image, run, run_ok, set_mtime, snapshot_of,
    sparse_image, stdout_of, tool, vhdfs,
};
use serde_json::Value;

const BLOCK: u64 = 4 * MIB;

fn manifest_of(source: &Path, arguments: &[&str]) -> Value {
    let text = stdout_of(vhdfs().arg("manifest").args(arguments).arg(source));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

fn cat(image: &Path, to: &Path) {
    let output = File::create(to).expect("an output");
    let status = vhdfs().arg("cat").arg(image).stdout(output).status();
    assert!(status.expect("vhdfs runs").success());
}

/// The sum that coreutils makes of some bytes of a file.
fn sum(program: &str, file: &Path, offset: u64, length: u64) -> String {
    let mut bytes = vec![0; length as usize];
    let file = File::open(file).expect("a file");
    file.read_exact_at(&mut bytes, offset).expect("a read");
    let mut child = Command::new(tool(program))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("coreutils");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(&bytes)
        .expect("written");
    let output = child.wait_with_output().expect("its end");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_whitespace().next().expect("a sum").to_owned()
}

/// An image of three blocks and a half: data, hole, stored zeros, data.
fn image(path: &Path) {
    sparse_image(
        path,
        1,
        14 * MIB,
        &[(0, BLOCK as usize), (13 * MIB, 300_000)],
    );
    let file = File::options().write(true).open(path).expect("the image");
    file.write_all_at(&vec![0; BLOCK as usize], 2 * BLOCK)
        .expect("zeros");
}

fn verify(arguments: &[&str], manifest: &Path, file: &Path) -> Output {
    run(vhdfs().arg("verify").args(arguments).args([manifest, file]))
}

/// Panics where `verify` does not end with this status, and this in what it says.
#[track_caller]
fn assert_verdict(output: &Output, status: i32, said: &str) {
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert!(text.contains(said), "{said:?} in {text}");
}

/// A view, its manifest and a copy of it.
struct Fixture {
    lab: Lab,
    image: PathBuf,
    manifest: PathBuf,
    copy: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let lab = Lab::new();
        let image_path = lab.folder("source").join("disk.raw");
        image(&image_path);
        set_mtime(&image_path, 1_700_000_000, 0);
        let (manifest, copy) = (lab.path().join("m.json"), lab.path().join("disk.vhd"));
        let mut command = vhdfs();
        run_ok(
            command
                .args(["manifest", "--output"])
                .arg(&manifest)
                .arg(&image_path),
        );
        cat(&image_path, &copy);
        Self {
            lab,
            image: image_path,
            manifest,
            copy,
        }
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        let file = File::options()
            .write(true)
            .open(&self.copy)
            .expect("the copy");
        file.write_all_at(bytes, offset).expect("a write");
    }
}

#[test]
fn sums_are_those_of_the_usual_tools() {
    let fixture = Fixture::new();
    let text = fs::read(&fixture.manifest).expect("the manifest");
    let manifest: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(manifest, manifest_of(&fixture.image, &[]));
    assert_eq!(
        (&manifest["schema"], &manifest["block_size"]),
        (&1.into(), &BLOCK.into())
    );
    let view = &manifest["views"][0];
    let size = 14 * MIB + 512;
    assert_eq!(
        (&view["view"], &view["view_size"]),
        (&"disk.vhd".into(), &size.into())
    );
    let copy = &fixture.copy;
    assert_eq!(view["sha256"], sum("sha256sum", copy, 0, size));
    assert_eq!(view["md5"], sum("md5sum", copy, 0, size));
    let inspected = stdout_of(vhdfs().args(["inspect", "--json"]).arg(copy));
    let inspected: Value = serde_json::from_str(&inspected).expect("JSON");
    assert_eq!(view["unique_id"], inspected["footer"]["unique_id"]);
    let blocks = view["blocks"].as_array().expect("blocks");
    assert_eq!(blocks.len(), 4);
    assert_eq!(blocks[0], sum("sha256sum", copy, 0, BLOCK));
    assert!(blocks[1].is_null() && blocks[2].is_null(), "{blocks:?}");
    assert_eq!(
        blocks[3],
        sum("sha256sum", copy, 3 * BLOCK, size - 3 * BLOCK)
    );
    let alone = manifest_of(&fixture.image, &["--blocks-only"]);
    let alone = &alone["views"][0];
    assert!(alone["sha256"].is_null() && alone["md5"].is_null());
    assert_eq!(alone["blocks"], view["blocks"]);
}

#[test]
fn a_folder_has_one_manifest_and_each_host_the_same() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    for (number, name) in ["a.raw", "sub/b.img", "sub/c.dd"].into_iter().enumerate() {
        random_image(&folder.join(name), number as u64, MIB + number as u64);
    }
    fs::write(folder.join("notes.txt"), "no image").expect("a file");
    let before = snapshot_of(&folder);
    let options = ["--exclude=*c.dd", "--min-size=9M"];
    let manifest = manifest_of(&folder, &options);
    let views: Vec<_> = manifest["views"]
        .as_array()
        .expect("views")
        .iter()
        .collect();
    let names: Vec<_> = views
        .iter()
        .map(|view| view["view"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, ["a.vhd", "sub/b.vhd"]);
    let file = lab.path().join("m.json");
    fs::write(&file, manifest.to_string()).expect("a manifest");
    let mount = Mount::with(&folder, &options);
    mount.allow_log("smaller than 20 MiB");
    for name in names {
        assert_verdict(&verify(&[], &file, &mount.join(name)), 0, "equal");
    }
    // Neither its name nor an option says which view this should be.
    let other = lab.path().join("other");
    fs::copy(mount.join("a.vhd"), &other).expect("a copy");
    mount.unmount();
    assert_verdict(&verify(&[], &file, &other), 2, "--view");
    assert_verdict(&verify(&["--view=a.vhd"], &file, &other), 0, "equal");
    assert_verdict(
        &verify(&["--view=b.vhd"], &file, &other),
        2,
        "holds no view",
    );
    assert_verdict(
        &verify(&["--view=sub/b.vhd"], &file, &other),
        1,
        "another disk",
    );
    before.assert_unchanged(&folder);
}

#[test]
fn the_first_block_that_differs_is_told_or_all_of_them() {
    let fixture = Fixture::new();
    let check = |arguments: &[&str], status, said: &str| {
        assert_verdict(
            &verify(arguments, &fixture.manifest, &fixture.copy),
            status,
            said,
        );
    };
    check(&[], 0, "equal, 14680576 bytes");
    fixture.write(BLOCK + 5, b"x");
    fixture.write(13 * MIB, b"changed");
    check(&[], 1, "at offset 4194309");
    let all = verify(&["--all"], &fixture.manifest, &fixture.copy);
    assert_verdict(&all, 1, "2 blocks differ");
    assert_verdict(&all, 1, "at offset 12582912");
    check(&["--range=0-4M"], 0, "equal, 4194304 bytes");
    check(&["--range=8M-12M"], 0, "equal");
    check(&["--range=4M-8M"], 1, "4194309");
    check(&["--range=12M-"], 1, "12582912");
    for (range, said) in [
        ("0-5M", "multiples of"),
        ("512-4M", "multiples of"),
        ("0-1G", "not inside"),
        ("20M-", "not inside"),
        ("8M-4M", "not behind"),
        ("x-y", "not a size"),
        ("7", "not a range"),
    ] {
        check(&["--range", range], 2, said);
    }
}

#[test]
fn sizes_and_versions_are_told_before_any_block() {
    let fixture = Fixture::new();
    let copy = || {
        File::options()
            .write(true)
            .open(&fixture.copy)
            .expect("the copy")
    };
    // Another version of the image: its time is part of the unique id.
    set_mtime(&fixture.image, 1_700_000_007, 0);
    let changed = fixture.lab.path().join("changed.vhd");
    cat(&fixture.image, &changed);
    assert_verdict(&verify(&[], &fixture.manifest, &changed), 1, "unique id");
    // The size of a file counts whatever its bytes are.
    copy().set_len(14 * MIB).expect("shorter");
    assert_verdict(
        &verify(&[], &fixture.manifest, &fixture.copy),
        1,
        "has 14680064 bytes",
    );
    copy().set_len(20 * MIB).expect("longer");
    assert_verdict(
        &verify(&[], &fixture.manifest, &fixture.copy),
        1,
        "has 20971520 bytes",
    );
}

/// What `verify` makes of a stream of these bytes.
fn stream(fixture: &Fixture, arguments: &[&str], bytes: &[u8]) -> Output {
    let mut child = vhdfs()
        .arg("verify")
        .args(arguments)
        .arg(&fixture.manifest)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("vhdfs runs");
    // It may have seen enough before the end.
    let _ = child.stdin.take().expect("a pipe").write_all(bytes);
    child.wait_with_output().expect("its end")
}

#[test]
fn streams_and_pipes_are_judged_like_files() {
    let fixture = Fixture::new();
    let bytes = fs::read(&fixture.copy).expect("the copy");
    assert_verdict(&stream(&fixture, &[], &bytes), 0, "standard input: equal");
    assert_verdict(
        &stream(&fixture, &[], &bytes[..9_000_000]),
        1,
        "ends after 9000000 bytes",
    );
    assert_verdict(
        &stream(&fixture, &[], &[&bytes[..], b"x"].concat()),
        1,
        "goes on behind",
    );
    assert_verdict(&stream(&fixture, &[], b""), 1, "ends after 0 bytes");
    let mut wrong = bytes.clone();
    wrong[BLOCK as usize] = 1;
    assert_verdict(&stream(&fixture, &[], &wrong), 1, "at offset 4194304");
    let part = &bytes[3 * BLOCK as usize..];
    assert_verdict(&stream(&fixture, &["--range=12M-"], part), 0, "equal");
    let pipe = fixture.lab.path().join("pipe");
    run_ok(Command::new(tool("mkfifo")).arg(&pipe));
    let mut writer = vhdfs()
        .arg("cat")
        .arg(&fixture.image)
        .stdout(Stdio::null())
        .args(["--output"])
        .arg(&pipe)
        .spawn()
        .expect("vhdfs runs");
    assert_verdict(&verify(&[], &fixture.manifest, &pipe), 0, "equal");
    assert!(writer.wait().expect("its end").success());
}

#[test]
fn manifests_that_are_none_are_told() {
    let fixture = Fixture::new();
    let good = fs::read_to_string(&fixture.manifest).expect("the manifest");
    let other = fixture.lab.path().join("other.json");
    for (text, said) in [
        (
            good.replace("\"schema\": 1", "\"schema\": 2"),
            "schema is 2",
        ),
        (
            good.replace("4194304", "1048576"),
            "blocks have 1048576 bytes",
        ),
        (good[..good.len() / 2].to_owned(), "only a part"),
        (good.replacen("null,", "", 1), "sums for"),
        (good.replace("14680576", "0"), "which no view has"),
        (String::new(), "only a part"),
        ("{}".into(), "no manifest"),
        (
            "{\"schema\": 1, \"block_size\": 4194304, \"views\": []}".into(),
            "holds no view",
        ),
    ] {
        fs::write(&other, text).expect("a manifest");
        assert_verdict(&verify(&[], &other, &fixture.copy), 2, said);
    }
    assert_verdict(
        &verify(&[], &fixture.lab.path().join("none"), &fixture.copy),
        2,
        "No such file",
    );
    assert_verdict(
        &verify(&[], &fixture.manifest, &fixture.lab.path().join("none")),
        2,
        "No such",
    );
    assert_verdict(
        &verify(&[], &fixture.manifest, fixture.lab.path()),
        2,
        "directory",
    );
    // All blocks right, and the whole wrong: the manifest was tampered with.
    let mut value: Value = serde_json::from_str(&good).expect("JSON");
    value["views"][0]["md5"] = "0".repeat(32).into();
    fs::write(&other, value.to_string()).expect("a manifest");
    assert_verdict(&verify(&[], &other, &fixture.copy), 1, "contradicts itself");
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn an_output_is_there_whole_or_as_it_was() {
    let lab = Lab::new();
    let image = lab.path().join("large.raw");
    sparse_image(&image, 1, 1 << 40, &[(0, 512)]);
    let full = lab.folder("full");
    let memory = MemoryFs::of_size(&full, 1 << 20);
    let target = full.join("m.json");
    fs::write(&target, "old").expect("a file");
    // A manifest of a TiB of holes takes 2 MiB.
    let mut command = vhdfs();
    command
        .args(["manifest", "--blocks-only", "--output"])
        .args([&target, &image]);
    let output = run(&mut command);
    assert_verdict(&output, 1, "make room");
    assert_verdict(&output, 1, "m.json");
    assert_eq!(names(&full), ["m.json"]);
    assert_eq!(fs::read_to_string(&target).expect("the file"), "old");
    drop(memory);
    // Nor does it take the place of the image.
    let before = snapshot_of(&image);
    let mut command = vhdfs();
    let output = run(command
        .args(["manifest", "--blocks-only", "--output"])
        .args([&image, &image]));
    assert_verdict(&output, 1, "is the image itself");
    before.assert_unchanged(&image);
}

#[test]
fn an_image_that_changes_while_it_is_hashed_fails_by_its_name() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let image = folder.join("changing.raw");
    // The sums of the whole go through every zero: that takes many seconds.
    sparse_image(&image, 1, 64 << 30, &[(0, 512)]);
    let target = lab.path().join("m.json");
    let mut command = vhdfs();
    command
        .args(["manifest", "--output"])
        .args([&target, &folder]);
    let child = command.stderr(Stdio::piped()).spawn().expect("vhdfs runs");
    let files = format!("/proc/{}/fd", child.id());
    let is_open = || {
        let entries = fs::read_dir(&files).expect("a process");
        let mut links = entries
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        links.any(|link| link.ends_with("changing.raw"))
    };
    eventually("the image is open", is_open);
    let file = File::options().write(true).open(&image).expect("the image");
    file.write_all_at(b"changed", 4096).expect("a write");
    let output = child.wait_with_output().expect("its end");
    assert_verdict(&output, 1, "changing.raw");
    assert_eq!(names(lab.path()), ["source"]);
}

#[test]
fn folders_without_images_and_images_without_views_have_no_manifest() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let output = run(vhdfs().arg("manifest").arg(&folder));
    assert_verdict(&output, 1, "no image that appears");
    fs::write(folder.join("empty.raw"), "").expect("a file");
    let output = run(vhdfs().arg("manifest").arg(folder.join("empty.raw")));
    assert_verdict(&output, 1, "it is empty");
}
