//! Clones that are put together by ranges: images that are not raw, served by the kernel.

use std::fs;
use std::path::Path;

use super::{convert, create, unpack, verify, verify_at};
use crate::harness::{FileSystem, Lab, MIB, Options, sparse_image};
use std::os::unix::fs::MetadataExt as _;

/// The engine that `vhdfs status` names for the only view that is open.
fn engine_of(mount: &crate::harness::Mount) -> String {
    let status = crate::harness::stdout_of(
        crate::harness::vhdfs()
            .args(["status", "--json"])
            .arg(mount.path()),
    );
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    status["views"][0]["engine"]
        .as_str()
        .expect("an engine")
        .to_owned()
}

/// A disk with data at the beginning, in the middle, at odd places and at the end.
fn disk(folder: &Path, size: u64) -> std::path::PathBuf {
    let raw = folder.join("disk.raw");
    let runs = [
        (0, 3 * MIB as usize),
        (9 * MIB + 512, 70_000),
        (15 * MIB, 512),
        (size - 200_000, 200_000),
    ];
    sparse_image(&raw, 11, size, &runs);
    raw
}

/// Images, and whether most of them can be cloned.
const IMAGES: [(&str, &str, &str); 8] = [
    ("qcow2", "", "clusters.qcow2"),
    ("qcow2", "cluster_size=512", "small.qcow2"),
    ("qcow2", "cluster_size=2M,extended_l2=on", "sub.qcow2"),
    ("qcow2", "-c", "packed.qcow2"),
    ("vmdk", "", "grains.vmdk"),
    ("vmdk", "subformat=twoGbMaxExtentFlat", "split.vmdk"),
    ("vhdx", "", "blocks.vhdx"),
    ("vpc", "subformat=dynamic,force_size", "dynamic.vhd"),
];

#[test]
fn clones_are_put_together_of_every_format_on_every_file_system_that_clones() {
    for kind in ["xfs", "btrfs"] {
        let file_system = FileSystem::new(kind, 600 * MIB);
        let source = file_system.folder("source");
        let lab = Lab::new();
        let raw = disk(lab.path(), 40 * MIB);
        for (format, options, name) in IMAGES {
            convert(&raw, format, options, &source.join(name));
        }
        let mount = Options::default()
            .foreground()
            .args(["--snapshot=always"])
            .mount(&source);
        for (_, _, name) in IMAGES {
            let view = mount.join(Path::new(name).with_extension("vhd"));
            let open = fs::File::open(&view).expect("a view");
            assert_eq!(engine_of(&mount), "passthrough", "{kind}: {name}");
            verify(&source.join(name), &raw, &view);
            drop(open);
        }
    }
}

#[test]
fn a_clone_of_a_chain_is_put_together_from_all_its_files() {
    let file_system = FileSystem::new("xfs", 600 * MIB);
    let source = file_system.folder("source");
    let lab = Lab::new();
    let raw = disk(lab.path(), 40 * MIB);
    convert(&raw, "qcow2", "", &source.join("base.qcow2"));
    create(&source, "qcow2", "-F qcow2 -b base.qcow2 top.qcow2");
    crate::harness::run_ok(
        std::process::Command::new(crate::harness::tool("qemu-io"))
            .args([
                "-f",
                "qcow2",
                "-c",
                "write -P 9 5M 100k",
                "-c",
                "write -z 1M 1M",
            ])
            .arg(source.join("top.qcow2")),
    );
    let flat = lab.path().join("flat.raw");
    unpack(&source.join("top.qcow2"), "qcow2", &flat);
    let mount = Options::default()
        .foreground()
        .args([
            "--snapshot=always",
            "--chains",
            "--gpt=keep",
            "--min-size=64M",
        ])
        .mount(&source);
    mount.allow_log("no partition table");
    let view = mount.join("top.vhd");
    let open = fs::File::open(&view).expect("a view");
    assert_eq!(engine_of(&mount), "passthrough");
    assert_eq!(open.metadata().expect("a size").len(), 64 * MIB + 512);
    let grown = lab.path().join("grown.raw");
    fs::copy(&flat, &grown).expect("a copy");
    let bytes = fs::read(&view).expect("the view");
    let expected = fs::read(&grown).expect("the disk");
    assert!(bytes[..expected.len()] == expected[..], "the disk differs");
    assert!(
        bytes[expected.len()..64 * MIB as usize]
            .iter()
            .all(|&byte| byte == 0)
    );
}

#[test]
fn what_would_have_to_be_copied_is_served_by_the_daemon_or_refused() {
    let file_system = FileSystem::new("xfs", 600 * MIB);
    let source = file_system.folder("source");
    let lab = Lab::new();
    let raw = lab.path().join("disk.raw");
    sparse_image(&raw, 5, 40 * MIB, &[(0, 20 * MIB as usize)]);
    let image = source.join("unaligned.vhd");
    convert(&raw, "vpc", "subformat=dynamic,force_size", &image);

    let mount = Options::default().foreground().mount(&source);
    let open = fs::File::open(mount.join("unaligned.vhd")).expect("a view");
    assert_eq!(engine_of(&mount), "direct");
    let mtime = fs::metadata(&image).expect("an image").mtime();
    verify_at(&image, mtime, &raw, &mount.join("unaligned.vhd"));
    drop(open);
    mount.unmount();

    let mount = Options::default()
        .foreground()
        .args(["--snapshot=always"])
        .mount(&source);
    mount.expect_log("unaligned.vhd: cannot be opened: no snapshot: more than 16 MiB of it");
    let refused = fs::File::open(mount.join("unaligned.vhd")).expect_err("no snapshot");
    assert_eq!(refused.raw_os_error(), Some(libc::EOPNOTSUPP));
}
