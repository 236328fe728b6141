//! Files that are no raw images: fixed VHDs appear as they are, other containers not at all.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::oracle::oracle;
use crate::harness::views::{assert_missing, assert_views, images};
use crate::harness::{
    Lab, MIB, Mount, Options, assert_tree, list, listed_reasons, oracle_verify, random_image,
    run_ok, snapshot_of, tool,
};

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
    mount.expect_log("length.raw: does not appear: damaged: the ");
    mount.expect_log("checksum.raw: does not appear: damaged: the ");
    mount.expect_log("checksum.vhd: does not appear: damaged: the ");
    assert_tree(mount.path(), ["good.vhd"]);
    mount.unmount();
    let reasons = listed_reasons(&list(folder, &[]));
    for damaged in ["checksum.raw", "checksum.vhd", "length.raw"] {
        assert!(reasons[damaged].contains("damaged: the "), "{reasons:?}");
    }
    assert!(
        reasons["raw.vhd"].contains("not what its extension says"),
        "{reasons:?}"
    );
    // A raw image called *.vhd appears where it is asked for.
    let chosen = Mount::with(folder, &["--include", "raw.vhd"]);
    chosen.allow_log("does not appear: damaged: the ");
    chosen.allow_log("does not appear: it is a damaged VHD file");
    assert_tree(chosen.path(), ["good.vhd", "raw.vhd"]);
    oracle_verify(&folder.join("raw.vhd"), &chosen.join("raw.vhd"));
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
    convert("vpc", "subformat=dynamic", "dynamic.vhd");
    convert("qed", "", "qed.img");
    differencing(
        &folder.join("dynamic.vhd"),
        &folder.join("differencing.img"),
    );
    fs::remove_file(folder.join("dynamic.vhd")).expect("remove a VHD");
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
        ("qed.img", "qemu-img convert"),
        ("differencing.img", "merge both"),
        ("gzip.img", "gunzip"),
        ("xz.img", "--compressed"),
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
    for (name, _) in &containers {
        mount.expect_log(&format!(" {name}: does not appear: "));
    }
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
        let kind = match name {
            "differencing.img" => "dynamic_vhd",
            _ => name.trim_end_matches(".img"),
        };
        assert_eq!(format, Some(kind));
    }
}

#[test]
fn a_container_is_not_shown_by_all_either() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    containers(&folder);
    assert_views(&folder, &["--all"], &[("plain.raw", "plain.vhd")]);
}
