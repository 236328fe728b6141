//! What list, inspect and check say of images that are not raw, and what a mount shows of them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::convert;
use super::machines::ova;
use crate::harness::views::assert_missing;
use crate::harness::{
    Lab, MIB, Mount, Options, lines_with, list, listed_views, random_image, run, sparse_image,
    stdout_of, vhdfs,
};
use crate::scale::{trace, traced};

#[test]
fn list_and_inspect_tell_what_an_image_is() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    sparse_image(&raw, 1, 21 * MIB + 512, &[(5 * MIB, 200_000)]);
    convert(
        &raw,
        "qcow2",
        "-ccompression_type=zstd,cluster_size=128k",
        &folder.join("a.qcow2"),
    );
    convert(&raw, "vpc", "subformat=dynamic", &folder.join("b.vhd"));
    convert(&raw, "vpc", "subformat=fixed", &folder.join("c.vhd"));
    convert(&raw, "vhdx", "", &folder.join("d.vhdx"));
    let found = list(&folder, &[]);
    let images = found["images"].as_array().expect("images");
    for (name, format, block, compression) in [
        ("a.qcow2", "qcow2", json!(131_072), json!("zstd")),
        ("b.vhd", "dynamic_vhd", json!(2 * MIB), Value::Null),
        ("c.vhd", "fixed_vhd", Value::Null, Value::Null),
        ("d.vhdx", "vhdx", json!(8 * MIB), Value::Null),
    ] {
        let image = images.iter().find(|image| image["source"] == name);
        let image = image.unwrap_or_else(|| panic!("{name}: {found}"));
        let text = stdout_of(vhdfs().args(["inspect", "--json"]).arg(folder.join(name)));
        let inspected: Value = serde_json::from_str(&text).expect("JSON");
        for shown in [image, &inspected] {
            assert_eq!(shown["format"], format, "{name}");
            assert_eq!(shown["files"], json!([name]));
            assert_eq!(shown["virtual_size"], 22 * MIB, "{name}");
        }
        assert_eq!(image["source_size"], inspected["source_size"], "{name}");
        assert_eq!(image["view_size"], 22 * MIB + 512);
        assert_eq!(
            image["unique_id"], inspected["footer"]["unique_id"],
            "{name}"
        );
        if format != "fixed_vhd" {
            assert_eq!(inspected["block_size"], block, "{name}");
            assert_eq!(inspected["compression"], compression, "{name}");
        }
        let allocated = inspected["allocated_size"].as_u64().expect("a size");
        assert!(
            (200_000..12 * MIB).contains(&allocated),
            "{name}: {allocated}"
        );
        let text = stdout_of(vhdfs().arg("inspect").arg(folder.join(name)));
        assert!(text.contains(format), "{text}");
    }
}

#[test]
fn an_image_in_a_container_has_all_attributes_of_a_view() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    sparse_image(&raw, 1, 64 * MIB, &[(5 * MIB, 200_000)]);
    convert(&raw, "qcow2", "", &folder.join("a.qcow2"));
    let mount = Mount::new(&folder);
    let view = mount.join("a.vhd").metadata().expect("a view");
    let image = folder.join("a.qcow2").metadata().expect("an image");
    assert_eq!(view.len(), 64 * MIB + 512);
    assert_eq!(
        (view.mtime(), view.mtime_nsec()),
        (image.mtime(), image.mtime_nsec())
    );
    assert_eq!((view.uid(), view.gid()), (image.uid(), image.gid()));
    assert!(view.blocks() > 0 && view.blocks() < 64 * MIB / 512);
    let inode = view.ino();
    mount.unmount();
    let again = Mount::new(&folder);
    assert_eq!(again.join("a.vhd").metadata().expect("a view").ino(), inode);
    again.unmount();
}

#[test]
fn formats_meet_under_one_name_and_give_way() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = folder.join("disk.raw");
    random_image(&raw, 1, MIB);
    convert(&raw, "qcow2", "", &folder.join("disk.qcow2"));
    convert(&raw, "vpc", "subformat=dynamic", &folder.join("disk.vhd"));
    convert(
        &raw,
        "vpc",
        "subformat=fixed,force_size=on",
        &folder.join("kept.vhd"),
    );
    convert(&raw, "vhdx", "", &folder.join("kept.vhdx"));
    convert(&raw, "qcow2", "", &folder.join("wrong.vmdk"));
    let mount = Mount::new(&folder);
    let views = listed_views(&list(&folder, &[]));
    for (source, view) in [
        ("disk.raw", "disk.raw.vhd"),
        ("disk.qcow2", "disk.qcow2.vhd"),
        ("disk.vhd", "disk.vhd.vhd"),
        ("kept.vhd", "kept.vhd"),
        ("kept.vhdx", "kept.vhdx.vhd"),
        ("wrong.vmdk", "wrong.vhd"),
    ] {
        assert_eq!(views[source], view);
        assert!(mount.join(view).exists(), "{view}");
    }
    assert_missing(&mount.join("disk.vhd"));
    let kept = fs::read(mount.join("kept.vhd")).expect("a view");
    assert!(kept == fs::read(folder.join("kept.vhd")).expect("a file"));
    mount.unmount();
}

#[test]
fn a_snapshot_that_cannot_be_is_said_to_be_none() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk.raw");
    random_image(&raw, 3, MIB);
    convert(&raw, "qcow2", "", &folder.join("a.qcow2"));
    let options = Options::default().args(["--snapshot=always"]);
    let mount = options.foreground().mount(&folder);
    mount.expect_log("a.qcow2: cannot be opened: no snapshot: its file system cannot clone it");
    assert!(fs::File::open(mount.join("a.vhd")).is_err());
    let log = mount.log();
    assert!(
        log.contains("a.qcow2: cannot be opened: no snapshot: its file system cannot clone it"),
        "{log}"
    );
    mount.unmount();
}

#[test]
fn the_partition_table_of_any_format_is_relocated() {
    let lab = Lab::new();
    let script = "label: gpt\nsize=2048\n";
    let raw = crate::harness::images::divided_image(&lab, "disk.raw", 20 * MIB + 512, script);
    let folder = lab.folder("source");
    convert(&raw, "qcow2", "-c", &folder.join("disk.qcow2"));
    let want = run(vhdfs().args(["cat", "--gpt", "relocate"]).arg(&raw)).stdout;
    let found = list(&folder, &[]);
    assert!(
        found["images"][0]["warnings"]
            .to_string()
            .contains("relocate"),
        "{found}"
    );
    let mount = Mount::with(&folder, &["--gpt", "relocate"]);
    let view = fs::read(mount.join("disk.vhd")).expect("a view");
    // Names and times differ, and so do footers.
    let body = 21 * MIB as usize;
    assert!(view[..body] == want[..body] && view.len() == want.len());
    mount.unmount();
}

/// Number of reads that it takes to find out what an image is.
fn reads_of(image: &Path, view: &str) -> usize {
    let mount = Mount::new(image.parent().expect("a folder"));
    let lab = Lab::new();
    let calls = lab.path().join("calls");
    let tracer = trace(mount.pids()[0], &calls);
    mount.join(view).metadata().expect("a view");
    let calls = traced(tracer, &calls);
    mount.unmount();
    lines_with(&calls, "pread64(").len()
}

#[test]
fn an_image_is_listed_with_at_most_eight_reads() {
    let lab = Lab::new();
    let raw = lab.path().join("disk");
    sparse_image(&raw, 1, 64 * MIB, &[(5 * MIB, 200_000)]);
    for (name, format, options) in [
        ("a.raw", "raw", ""),
        ("a.qcow2", "qcow2", "-c"),
        ("a.vhd", "vpc", "subformat=dynamic"),
        ("b.vhd", "vpc", "subformat=fixed"),
        ("a.vhdx", "vhdx", ""),
        ("a.vdi", "vdi", ""),
        ("a.vmdk", "vmdk", ""),
        ("b.vmdk", "vmdk", "-csubformat=streamOptimized"),
    ] {
        let image = lab.folder(name).join(name);
        convert(&raw, format, options, &image);
        let reads = reads_of(&image, &format!("{}.vhd", &name[..1]));
        assert!((1..=8).contains(&reads), "{name}: {reads}");
    }
    let folder = lab.folder("machine");
    let image = ova(&lab, &folder, "machine", &[raw], "");
    let reads = reads_of(&image, "machine.vhd");
    assert!((1..=8).contains(&reads), "an OVA: {reads}");
}
