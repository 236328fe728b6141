//! Which sources appear, and under which names.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::oracle::oracle;
use common::{
    Lab, MIB, Mount, Options, assert_tree, errno_of, list, listed_reasons, listed_views,
    oracle_verify, random_image, run_ok, snapshot_of, stdout_of, tool, tree, vhdfs,
};

use rustix::io::Errno;

/// Makes a small image at each path.
fn images(folder: &Path, paths: &[&str]) {
    for (seed, path) in paths.iter().enumerate() {
        random_image(&folder.join(path), seed as u64, 600 + seed as u64);
    }
}

/// Panics where a mount, single look-ups in a fresh one and `list` do not all show exactly these
/// views, given by source.
#[track_caller]
fn assert_views(folder: &Path, arguments: &[&str], expected: &[(&str, &str)]) {
    let before = snapshot_of(folder);
    let views: BTreeMap<String, String> = expected
        .iter()
        .map(|&(source, view)| (source.to_string(), view.to_string()))
        .collect();
    assert_eq!(listed_views(&list(folder, arguments)), views);
    // Look-ups before any listing: each has to find its name alone.
    let mount = Mount::with(folder, arguments);
    for (source, view) in &views {
        oracle_verify(&folder.join(source), &mount.join(view));
    }
    let files = tree(mount.path())
        .into_iter()
        .filter(|path| mount.join(path).is_file());
    assert_eq!(
        files.collect::<Vec<_>>(),
        sorted(views.values().map(PathBuf::from))
    );
    mount.unmount();
    before.assert_unchanged(folder);
}

/// Panics where there is an entry, or where anything but its absence keeps it from being found.
#[track_caller]
fn assert_missing(path: &Path) {
    assert_eq!(
        errno_of(path.symlink_metadata()),
        Errno::NOENT,
        "{}",
        path.display()
    );
}

fn sorted(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut paths: Vec<_> = paths.collect();
    paths.sort();
    paths
}

#[test]
fn image_extensions_select_in_any_case() {
    let lab = Lab::new();
    images(
        lab.path(),
        &[
            "a.raw",
            "b.img",
            "c.dd",
            "d.image",
            "e.disk",
            "f.RAW",
            "g.Img",
            "h.tar.raw",
            "notes.txt",
            "plain",
            "x.qcow2",
            "raw",
            "y.raw.bak",
        ],
    );
    let expected = [
        ("a.raw", "a.vhd"),
        ("b.img", "b.vhd"),
        ("c.dd", "c.vhd"),
        ("d.image", "d.vhd"),
        ("e.disk", "e.vhd"),
        ("f.RAW", "f.vhd"),
        ("g.Img", "g.vhd"),
        ("h.tar.raw", "h.tar.vhd"),
    ];
    assert_views(lab.path(), &[], &expected);
}

#[test]
fn the_tree_is_mirrored_without_dotfiles() {
    let lab = Lab::new();
    images(
        lab.path(),
        &[
            "a.raw",
            "sub/b.raw",
            "sub/deeper/c.raw",
            ".hidden.raw",
            ".git/d.raw",
            "sub/.e.raw",
            "notes/readme",
        ],
    );
    fs::create_dir(lab.path().join("empty")).expect("a folder");
    let mount = Mount::new(lab.path());
    let shown = [
        "a.vhd",
        "sub",
        "sub/b.vhd",
        "sub/deeper",
        "sub/deeper/c.vhd",
        "notes",
        "empty",
    ];
    assert_tree(mount.path(), shown);
    for hidden in [".hidden.vhd", ".hidden.raw", ".git", "sub/.e.vhd", "a.raw"] {
        assert_missing(&mount.join(hidden));
    }
    mount.unmount();
    let all = Mount::with(lab.path(), &["--all"]);
    assert_missing(&all.join(".hidden.vhd"));
    all.unmount();
}

#[test]
fn all_shows_every_file_that_is_an_image() {
    let lab = Lab::new();
    images(
        lab.path(),
        &["a.raw", "b", "c.bin", "d.qcow2", "sub/e.txt", ".f"],
    );
    fs::write(lab.path().join("nothing"), "").expect("an empty file");
    let expected = [
        ("a.raw", "a.vhd"),
        ("b", "b.vhd"),
        ("c.bin", "c.bin.vhd"),
        ("d.qcow2", "d.qcow2.vhd"),
        ("sub/e.txt", "sub/e.txt.vhd"),
    ];
    assert_views(lab.path(), &["--all"], &expected);
}

#[test]
fn include_selects_by_the_path_below_the_source_folder() {
    let lab = Lab::new();
    images(
        lab.path(),
        &["a.raw", "b.bin", "sub/c.bin", "sub/d.iso", "e.iso"],
    );
    let expected = [
        ("a.raw", "a.vhd"),
        ("b.bin", "b.bin.vhd"),
        ("sub/c.bin", "sub/c.bin.vhd"),
        ("sub/d.iso", "sub/d.iso.vhd"),
    ];
    let arguments = ["--include", "*.bin", "--include", "sub/*.iso"];
    assert_views(lab.path(), &arguments, &expected);
}

#[test]
fn exclude_wins() {
    let lab = Lab::new();
    images(
        lab.path(),
        &["a.raw", "b.raw", "sub/c.raw", "old/d.raw", "e.bin"],
    );
    assert_views(
        lab.path(),
        &["--exclude", "b.raw", "--exclude", "old"],
        &[("a.raw", "a.vhd"), ("sub/c.raw", "sub/c.vhd")],
    );
    assert_views(
        lab.path(),
        &["--all", "--include", "e.bin", "--exclude", "*"],
        &[],
    );
    // What is excluded takes no name from others.
    images(lab.path(), &["b.img"]);
    let arguments = ["--exclude", "b.raw", "--exclude", "*/*"];
    assert_views(
        lab.path(),
        &arguments,
        &[("a.raw", "a.vhd"), ("b.img", "b.vhd")],
    );
}

#[test]
fn empty_files_do_not_appear() {
    let lab = Lab::new();
    fs::write(lab.path().join("empty.raw"), "").expect("an empty file");
    assert_views(lab.path(), &[], &[]);
    let reasons = listed_reasons(&list(lab.path(), &[]));
    assert!(reasons["empty.raw"].contains("empty"), "{reasons:?}");
}

#[test]
fn sources_that_want_one_name_get_full_names() {
    let lab = Lab::new();
    images(
        lab.path(),
        &[
            "disk.raw",
            "disk.img",
            "alone.raw",
            "Disk.dd",
            "case.raw",
            "case.RAW",
        ],
    );
    let expected = [
        ("disk.raw", "disk.raw.vhd"),
        ("disk.img", "disk.img.vhd"),
        ("alone.raw", "alone.vhd"),
        ("Disk.dd", "Disk.vhd"),
        ("case.raw", "case.raw.vhd"),
        ("case.RAW", "case.RAW.vhd"),
    ];
    assert_views(lab.path(), &[], &expected);
    let mount = Mount::new(lab.path());
    for short in ["disk.vhd", "case.vhd"] {
        assert_missing(&mount.join(short));
    }
    mount.unmount();
}

#[test]
fn a_name_that_is_taken_leads_to_the_full_name_or_none() {
    let lab = Lab::new();
    images(
        lab.path(),
        &[
            "a.raw",
            "a.img",
            "a.raw.raw",
            "b",
            "b.raw",
            "dir.raw",
            "dir.vhd/x.raw",
        ],
    );
    // `b` has but one possible name, and `b.raw` wants it: it is nobody's.
    let expected = [
        ("a.raw", "a.raw.vhd"),
        ("a.img", "a.img.vhd"),
        ("a.raw.raw", "a.raw.raw.vhd"),
        ("b.raw", "b.raw.vhd"),
        ("dir.raw", "dir.raw.vhd"),
        ("dir.vhd/x.raw", "dir.vhd/x.vhd"),
    ];
    assert_views(lab.path(), &["--include", "b"], &expected);
    let reasons = listed_reasons(&list(lab.path(), &["--include", "b"]));
    assert!(reasons["b"].contains("another entry"), "{reasons:?}");
}

#[test]
fn folders_keep_their_names_whatever_they_are_called() {
    let lab = Lab::new();
    images(
        lab.path(),
        &["x.raw/a.raw", "y.vhd/b.raw", "y.raw", "y.raw.vhd/c.raw"],
    );
    let expected = [
        ("x.raw/a.raw", "x.raw/a.vhd"),
        ("y.vhd/b.raw", "y.vhd/b.vhd"),
        ("y.raw.vhd/c.raw", "y.raw.vhd/c.vhd"),
    ];
    assert_views(lab.path(), &[], &expected);
    let reasons = listed_reasons(&list(lab.path(), &[]));
    assert!(reasons["y.raw"].contains("another entry"), "{reasons:?}");
}

/// A valid fixed VHD, made by the oracle.
fn fixed_vhd(path: &Path, seed: u64) {
    let raw = path.with_extension("body");
    random_image(&raw, seed, 2 * MIB);
    let footer = run_ok(oracle().arg("footer").arg(&raw)).stdout;
    let mut bytes = fs::read(&raw).expect("a body");
    bytes.extend(footer);
    fs::write(path, bytes).expect("a VHD");
    fs::remove_file(raw).expect("remove a body");
}

#[test]
fn a_valid_fixed_vhd_appears_as_it_is() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    fixed_vhd(&folder.join("made.vhd"), 1);
    fixed_vhd(&folder.join("Upper.VHD"), 2);
    fixed_vhd(&folder.join("named.raw"), 3);
    images(&folder, &["made.raw", "Upper.raw"]);
    let before = snapshot_of(&folder);
    let mount = Mount::new(&folder);
    assert_tree(
        mount.path(),
        [
            "made.vhd",
            "made.raw.vhd",
            "Upper.VHD",
            "Upper.vhd",
            "named.vhd",
        ],
    );
    for (source, view) in [
        ("made.vhd", "made.vhd"),
        ("Upper.VHD", "Upper.VHD"),
        ("named.raw", "named.vhd"),
    ] {
        let want = fs::read(folder.join(source)).expect("a source");
        let got = fs::read(mount.join(view)).expect("a view");
        assert!(got == want, "{view} differs from {source}");
    }
    oracle_verify(&folder.join("made.raw"), &mount.join("made.raw.vhd"));
    mount.unmount();
    before.assert_unchanged(&folder);
}

#[test]
fn what_only_looks_like_a_fixed_vhd_does_not_appear() {
    let lab = Lab::new();
    let folder = lab.path();
    fixed_vhd(&folder.join("good.vhd"), 1);
    let good = fs::read(folder.join("good.vhd")).expect("a VHD");
    let mut checksum = good.clone();
    *checksum.last_mut().expect("bytes") = 1;
    fs::write(folder.join("checksum.raw"), &checksum).expect("a file");
    fs::write(folder.join("checksum.vhd"), &checksum).expect("a file");
    fs::write(folder.join("length.raw"), &good[512..]).expect("a file");
    images(folder, &["raw.vhd"]);
    let mount = Mount::new(folder);
    assert_tree(mount.path(), ["good.vhd"]);
    mount.unmount();
    let reasons = listed_reasons(&list(folder, &[]));
    for damaged in ["checksum.raw", "checksum.vhd", "length.raw"] {
        assert!(reasons[damaged].contains("damaged VHD"), "{reasons:?}");
    }
    assert!(reasons["raw.vhd"].contains("footer"), "{reasons:?}");
    // A raw image called *.vhd appears where it is asked for; never under its own name.
    let chosen = Mount::with(folder, &["--include", "raw.vhd"]);
    assert_tree(chosen.path(), ["good.vhd", "raw.vhd.vhd"]);
    oracle_verify(&folder.join("raw.vhd"), &chosen.join("raw.vhd.vhd"));
    chosen.unmount();
}

/// Container files of every kind, all with the extension of a raw image: name, and what the
/// remedy must mention.
fn containers(folder: &Path) -> Vec<(&'static str, &'static str)> {
    let raw = folder.join("plain.raw");
    random_image(&raw, 1, MIB);
    let convert = |format: &str, options: &str, name: &str| {
        let mut command = Command::new(tool("qemu-img"));
        command.args(["convert", "-f", "raw", "-O", format]);
        if !options.is_empty() {
            command.args(["-o", options]);
        }
        run_ok(command.arg(&raw).arg(folder.join(name)));
    };
    convert("qcow2", "", "qcow2.img");
    convert("qcow2", "compat=0.10", "qcow2old.img");
    convert("vmdk", "", "vmdk.img");
    convert("vmdk", "subformat=streamOptimized", "vmdkstream.img");
    convert("vhdx", "", "vhdx.img");
    convert("vpc", "subformat=dynamic", "dynamic.img");
    convert("vdi", "", "vdi.img");
    convert("qed", "", "qed.img");
    differencing(
        &folder.join("dynamic.img"),
        &folder.join("differencing.img"),
    );
    for (program, name) in [
        ("gzip", "gzip.img"),
        ("xz", "xz.img"),
        ("zstd", "zstd.img"),
        ("bzip2", "bzip2.img"),
    ] {
        let packed = run_ok(Command::new(tool(program)).arg("-c").arg(&raw)).stdout;
        fs::write(folder.join(name), packed).expect("a packed image");
    }
    run_ok(
        Command::new(tool("zip"))
            .arg("-q")
            .arg(folder.join("zip.zip"))
            .arg(&raw),
    );
    fs::rename(folder.join("zip.zip"), folder.join("zip.img")).expect("a packed image");
    vec![
        ("qcow2.img", "qemu-img convert"),
        ("qcow2old.img", "qemu-img convert"),
        ("vmdk.img", "qemu-img convert"),
        ("vmdkstream.img", "qemu-img convert"),
        ("vhdx.img", "qemu-img convert"),
        ("dynamic.img", "qemu-img convert"),
        ("vdi.img", "qemu-img convert"),
        ("qed.img", "qemu-img convert"),
        ("differencing.img", "parent"),
        ("gzip.img", "gunzip"),
        ("xz.img", "unxz"),
        ("zstd.img", "unzstd"),
        ("bzip2.img", "bunzip2"),
        ("zip.img", "unzip"),
    ]
}

/// Makes a dynamic VHD a differencing one: the disk type in both copies of its footer.
fn differencing(dynamic: &Path, path: &Path) {
    let mut bytes = fs::read(dynamic).expect("a VHD");
    let end = bytes.len();
    for at in [0, end - 512] {
        let footer = &mut bytes[at..at + 512];
        footer[60..64].copy_from_slice(&4_u32.to_be_bytes());
        footer[64..68].fill(0);
        let sum: u32 = footer.iter().map(|&byte| u32::from(byte)).sum();
        footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    }
    fs::write(path, bytes).expect("a VHD");
}

#[test]
fn containers_do_not_appear_and_the_log_says_so_once() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let containers = containers(&folder);
    let mount = Options::default().foreground().mount(&folder);
    for _ in 0..3 {
        assert_tree(mount.path(), ["plain.vhd"]);
        for (name, _) in &containers {
            assert_missing(&mount.join(Path::new(name).with_extension("vhd")));
        }
    }
    let log = mount.log();
    mount.unmount();
    let list = list(&folder, &[]);
    let reasons = listed_reasons(&list);
    for (name, remedy) in containers {
        // No name here is the end of another but after a letter.
        let start = format!(" {name}: ");
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&start)).collect();
        assert_eq!(lines.len(), 1, "{name}:\n{log}");
        assert!(lines[0].contains(remedy), "{}", lines[0]);
        assert!(reasons[name].contains(remedy), "{}", reasons[name]);
        let skipped = list["skipped"].as_array().expect("skipped");
        let entry = skipped.iter().find(|entry| entry["source"] == name);
        let format = entry.expect("an entry")["format"].as_str();
        let kind = name.trim_end_matches(".img");
        let kind = kind.trim_end_matches("old").trim_end_matches("stream");
        assert!(format.is_some_and(|f| f.starts_with(kind)), "{format:?}");
    }
}

#[test]
fn a_container_is_not_shown_by_all_either() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    containers(&folder);
    assert_views(&folder, &["--all"], &[("plain.raw", "plain.vhd")]);
}

#[test]
fn links_inside_appear_as_what_they_point_to() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    images(&folder, &["a.raw", "sub/b.raw", "data.bin"]);
    let link = |target: &Path, name: &str| symlink(target, folder.join(name)).expect("a link");
    link(Path::new("a.raw"), "relative.raw");
    link(Path::new("../a.raw"), "sub/up.raw");
    link(&folder.join("sub/b.raw"), "absolute.raw");
    link(Path::new("relative.raw"), "chain.raw");
    link(Path::new("data.bin"), "renamed.raw");
    link(Path::new("sub"), "folder");
    link(Path::new("a.raw"), "unselected.txt");
    // A link's own name is the name of the disk; the oracle takes it from the path too.
    let expected = [
        ("a.raw", "a.vhd"),
        ("sub/b.raw", "sub/b.vhd"),
        ("relative.raw", "relative.vhd"),
        ("sub/up.raw", "sub/up.vhd"),
        ("absolute.raw", "absolute.vhd"),
        ("chain.raw", "chain.vhd"),
        ("renamed.raw", "renamed.vhd"),
        ("folder/b.raw", "folder/b.vhd"),
        ("folder/up.raw", "folder/up.vhd"),
    ];
    assert_views(&folder, &[], &expected);
    let mount = Mount::new(&folder);
    let kind = mount.join("folder").symlink_metadata().expect("a folder");
    assert!(kind.is_dir(), "a link to a folder appears as a folder");
    mount.unmount();
}

#[test]
fn links_outside_in_a_circle_or_to_nowhere_do_not_appear() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let outside = lab.folder("outside");
    images(&outside, &["secret.raw", "sub/secret.raw"]);
    images(&folder, &["a.raw", "sub/b.raw"]);
    let link = |target: &Path, name: &str| symlink(target, folder.join(name)).expect("a link");
    link(&outside.join("secret.raw"), "absolute.raw");
    link(Path::new("../outside/secret.raw"), "relative.raw");
    link(&outside, "folder");
    link(Path::new("../../outside"), "sub/folder");
    link(Path::new("folder/secret.raw"), "through.raw");
    link(Path::new("loop.raw"), "loop.raw");
    link(Path::new("two.raw"), "one.raw");
    link(Path::new("one.raw"), "two.raw");
    link(Path::new("nowhere"), "broken.raw");
    link(Path::new(".."), "sub/parent");
    link(Path::new("."), "self");
    link(Path::new("/proc/self/cwd"), "magic");
    let before = snapshot_of(&outside);
    let mount = Mount::new(&folder);
    assert_tree(mount.path(), ["a.vhd", "sub", "sub/b.vhd"]);
    mount.unmount();
    let reasons = listed_reasons(&list(&folder, &[]));
    for name in [
        "absolute.raw",
        "relative.raw",
        "folder",
        "sub/folder",
        "through.raw",
    ] {
        assert!(reasons[name].contains("outside"), "{name}: {reasons:?}");
    }
    for name in [
        "loop.raw",
        "one.raw",
        "broken.raw",
        "sub/parent",
        "self",
        "magic",
    ] {
        assert!(reasons[name].contains("circle"), "{name}: {reasons:?}");
    }
    before.assert_unchanged(&outside);
}

#[test]
fn special_files_do_not_appear() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    images(&folder, &["a.raw"]);
    run_ok(Command::new(tool("mkfifo")).arg(folder.join("fifo.raw")));
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket.raw"));
    symlink("/dev/null", folder.join("null.raw")).expect("a link");
    symlink("fifo.raw", folder.join("linked.raw")).expect("a link");
    run_ok(
        Command::new(tool("mknod"))
            .arg(folder.join("zero.raw"))
            .args(["c", "1", "5"]),
    );
    // Neither may a FIFO without a writer make anybody wait.
    for arguments in [&[][..], &["--all", "--allow-devices"]] {
        let mount = Mount::with(&folder, arguments);
        assert_tree(mount.path(), ["a.vhd"]);
        mount.unmount();
    }
    let reasons = listed_reasons(&list(&folder, &[]));
    assert!(reasons["fifo.raw"].contains("neither"), "{reasons:?}");
    assert_eq!(reasons.len(), 5, "{reasons:?}");
}

/// A loop device, gone with the value.
struct LoopDevice(PathBuf);

impl LoopDevice {
    fn new(file: &Path) -> Self {
        let text = stdout_of(
            Command::new(tool("losetup"))
                .args(["--find", "--show", "--read-only"])
                .arg(file),
        );
        Self(PathBuf::from(text.trim()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        run_ok(Command::new(tool("losetup")).arg("-d").arg(&self.0));
    }
}

#[test]
fn block_devices_appear_only_where_they_are_allowed() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let backing = lab.path().join("backing");
    random_image(&backing, 1, MIB + 4096);
    let device = LoopDevice::new(&backing);
    symlink(&device.0, folder.join("disk.raw")).expect("a link");
    images(&folder, &["a.raw"]);
    let mount = Mount::new(&folder);
    assert_tree(mount.path(), ["a.vhd"]);
    mount.unmount();
    let reasons = listed_reasons(&list(&folder, &[]));
    assert!(
        reasons["disk.raw"].contains("--allow-devices"),
        "{reasons:?}"
    );

    let mount = Mount::with(&folder, &["--allow-devices"]);
    assert_tree(mount.path(), ["a.vhd", "disk.vhd"]);
    let view = fs::read(mount.join("disk.vhd")).expect("a view");
    let body = fs::read(&backing).expect("the backing file");
    assert_eq!(view.len() as u64, 2 * MIB + 512);
    assert!(view[..body.len()] == body[..], "the device's bytes");
    assert!(view[body.len()..2 * MIB as usize].iter().all(|&b| b == 0));
    assert!(view[2 * MIB as usize..].starts_with(b"conectix"));
    mount.unmount();

    let single = Mount::with(&device.0, &["--allow-devices"]);
    let name = tree(single.path()).into_iter().next().expect("a view");
    let bytes = fs::read(single.join(name)).expect("a view");
    assert!(bytes[..body.len()] == body[..], "the device's bytes");
    single.unmount();
}

#[test]
fn names_need_not_be_text() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    // The longest name there is: 255 bytes.
    let long = "x".repeat(250);
    let names: [(&[u8], &[u8]); 6] = [
        (b"\xff\xfe.raw", b"\xff\xfe.vhd"),
        (b"\xc3.img", b"\xc3.vhd"),
        (b"new\nline.raw", b"new\nline.vhd"),
        (b"sp ace\t'\"\\.raw", b"sp ace\t'\"\\.vhd"),
        ("ünï.raw".as_bytes(), "ünï.vhd".as_bytes()),
        (b"-rf.raw", b"-rf.vhd"),
    ];
    let mut expected = Vec::new();
    for (name, view) in names {
        random_image(&folder.join(OsStr::from_bytes(name)), 1, 700);
        expected.push(PathBuf::from(OsStr::from_bytes(view)));
    }
    random_image(&folder.join(format!("{long}.disk")), 1, 700);
    expected.push(format!("{long}.vhd").into());
    let mount = Mount::new(&folder);
    for (name, view) in names {
        let (raw, view) = (OsStr::from_bytes(name), OsStr::from_bytes(view));
        oracle_verify(&folder.join(raw), &mount.join(view));
    }
    assert_tree(mount.path(), &expected);
    mount.unmount();
    assert_eq!(
        list(&folder, &[])["images"].as_array().map(Vec::len),
        Some(7)
    );
}

#[test]
fn a_view_name_that_would_be_too_long_does_not_appear() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let long = "x".repeat(252);
    images(&folder, &[&format!("{long}.dd"), "a.raw"]);
    // Its short name would be legal, but somebody else wants that too.
    let pair = "y".repeat(250);
    images(&folder, &[&format!("{pair}.disk"), &format!("{pair}.raw")]);
    let mount = Mount::new(&folder);
    assert_tree(mount.path(), ["a.vhd"]);
    mount.unmount();
    let reasons = listed_reasons(&list(&folder, &[]));
    for name in [
        format!("{long}.dd"),
        format!("{pair}.disk"),
        format!("{pair}.raw"),
    ] {
        assert!(reasons[&name].contains("255"), "{name}: {reasons:?}");
    }
    let output = stdout_of(vhdfs().arg("list").arg(&folder));
    assert!(output.contains("255"), "{output}");
}
