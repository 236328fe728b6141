//! Clones that are put together by ranges: images that are not raw, served by the kernel.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::written::{fill, make_pieces, rewrite, stamped, version_of};
use super::{convert, create, unpack, verify, verify_at};
use crate::harness::{FileSystem, Lab, MIB, Options, eventually, sparse_image};

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

/// Has an image written to the disk, as one that has been there for a while.
fn sync(image: &Path) {
    let file = fs::File::open(image).expect("an image");
    file.sync_all().expect("on disk");
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

#[test]
fn a_writer_at_any_moment_never_gets_a_mix_into_a_clone() {
    let file_system = FileSystem::new("xfs", 600 * MIB);
    for format in ["qcow2", "vmdk"] {
        let folder = file_system.folder(format);
        let (image, blocks) = stamped(&folder, format);
        let mount = Options::default()
            .foreground()
            .args(["--snapshot=always"])
            .allow_log("for writing")
            .allow_log("changed")
            .mount(&folder);
        let view = mount.join("image.vhd");
        let mut version = 1;
        for round in 0..24 {
            let next = version + 1;
            let begins = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !begins.load(Ordering::Acquire) {
                        thread::yield_now();
                    }
                    // Another moment each time, from before the first range to after the last.
                    thread::sleep(Duration::from_micros(500 * round));
                    rewrite(&image, &blocks, next);
                });
                begins.store(true, Ordering::Release);
                match fs::read(&view) {
                    Ok(bytes) => {
                        let found = version_of(&bytes);
                        assert!(found == version || found == next, "{format}: {found}");
                    }
                    Err(error) => {
                        let code = error.raw_os_error();
                        let expected = [libc::EBUSY, libc::ESTALE].map(Some);
                        assert!(expected.contains(&code), "{format}: {error}");
                    }
                }
            });
            version = next;
        }
        eventually("the last version", || {
            fs::read(&view).is_ok_and(|bytes| version_of(&bytes) == version)
        });
        mount.unmount();
    }
}

#[test]
fn an_image_in_ten_thousand_pieces_is_put_together_on_demand() {
    let file_system = FileSystem::new("xfs", 600 * MIB);
    let source = file_system.folder("source");
    let lab = Lab::new();
    let raw = lab.path().join("disk.raw");
    let image = source.join("pieces.qcow2");
    make_pieces(&raw, &image);
    sync(&image);
    for (arguments, engine) in [(["-v"], "direct"), (["--snapshot=always"], "passthrough")] {
        let mount = Options::default()
            .foreground()
            .args(arguments)
            .mount(&source);
        let view = mount.join("pieces.vhd");
        let open = fs::File::open(&view).expect("a view");
        assert_eq!(engine_of(&mount), engine);
        let is_told = mount.log().contains("it lies in more than 500 runs");
        assert_eq!(is_told, engine == "direct", "{}", mount.log());
        verify(&image, &raw, &view);
        drop(open);
        mount.unmount();
    }
}

#[test]
fn a_full_file_system_gets_no_clone() {
    let file_system = FileSystem::new("xfs", 600 * MIB);
    let source = file_system.folder("source");
    let lab = Lab::new();
    let raw = lab.path().join("disk.raw");
    sparse_image(&raw, 3, 40 * MIB, &[(0, 12 * MIB as usize)]);
    // Nothing of it lies at whole blocks: all of it would have to be copied.
    let image = source.join("unaligned.vhd");
    convert(&raw, "vpc", "subformat=dynamic,force_size", &image);
    sync(&image);
    fill(&file_system.path().join("filler"));
    for policy in ["auto", "always"] {
        let mount = Options::default()
            .foreground()
            .args(["-v", "--snapshot", policy])
            .allow_log("its ranges cannot be cloned")
            .mount(&source);
        let view = mount.join("unaligned.vhd");
        let opened = fs::File::open(&view);
        assert!(
            mount
                .log()
                .contains("its ranges cannot be cloned: No space left"),
            "{}",
            mount.log()
        );
        match opened {
            Ok(open) => {
                assert_eq!((policy, &*engine_of(&mount)), ("auto", "direct"));
                verify(&image, &raw, &view);
                drop(open);
            }
            Err(error) => {
                assert_eq!(
                    (policy, error.raw_os_error()),
                    ("always", Some(libc::ENOSPC))
                );
            }
        }
        mount.unmount();
    }
}
