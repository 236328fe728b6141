//! Images that are compressed with xz, block by block.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use super::{convert, verify};
use crate::harness::{Lab, MIB, Options, list, listed_reasons, listed_views, random_bytes, tool};

/// Compresses a file beside it, with these options.
fn xz(path: &Path, options: &[&str], out: &Path) {
    let mut command = Command::new(tool("xz"));
    command.args(["--stdout", "-1"]).args(options).arg(path);
    command.stdout(File::create(out).expect("a file"));
    let status = command.status().expect("xz runs");
    assert!(status.success(), "{command:?}");
}

#[test]
fn xz_files_of_several_blocks_appear_with_compressed() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    let mut bytes = random_bytes(1, 3 * MIB as usize + 512);
    bytes[MIB as usize..2 * MIB as usize].fill(7);
    fs::write(&raw, bytes).expect("a disk");
    let qcow2 = lab.path().join("qcow2");
    convert(&raw, "qcow2", "-c", &qcow2);

    let blocks = ["--block-size=300000"];
    xz(&raw, &blocks, &folder.join("a.raw.xz"));
    xz(&qcow2, &blocks, &folder.join("b.qcow2.xz"));
    xz(
        &raw,
        &[
            &blocks[..],
            &["--x86", "--lzma2=preset=1", "--check=sha256"],
        ]
        .concat(),
        &folder.join("c.img.xz"),
    );
    xz(&raw, &["--threads=1"], &folder.join("one.raw.xz"));

    let without = list(&folder, &[]);
    assert_eq!(
        without["images"].as_array().map(Vec::len),
        Some(0),
        "{without}"
    );
    let with = list(&folder, &["--compressed"]);
    assert_eq!(listed_views(&with).len(), 3, "{with}");
    let reason = &listed_reasons(&with)["one.raw.xz"];
    assert!(
        reason.contains("one block") && reason.contains("xz --block-size=4MiB"),
        "{reason}"
    );

    let mount = Options::default()
        .args(["--compressed", "--snapshot=never"])
        .mount(&folder);
    for (image, view) in [
        ("a.raw.xz", "a.vhd"),
        ("b.qcow2.xz", "b.vhd"),
        ("c.img.xz", "c.vhd"),
    ] {
        verify(&folder.join(image), &raw, &mount.join(view));
    }
    mount.unmount();
}
