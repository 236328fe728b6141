//! Images that need further files: which are opened, and which are not.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::Command;

use super::{convert, create, qemu_img, unpack, verify_at};
use crate::harness::process::set_mode;
use crate::harness::views::assert_missing;
use crate::harness::{
    Lab, MIB, Mount, Options, User, assert_tree, errno_of, eventually, list, listed_reasons,
    listed_views, oracle_verify, random_image, run_ok, set_mtime, tool,
};
use rustix::io::Errno;

/// A folder with `base.raw`, a qcow2 over it, and one over that in a folder of its own.
fn chain(lab: &Lab) -> std::path::PathBuf {
    let folder = lab.folder("source");
    fs::create_dir(folder.join("sub")).expect("a folder");
    random_image(&folder.join("base.raw"), 1, 3 * MIB);
    create(&folder, "qcow2", "-b base.raw -F raw middle.qcow2");
    create(
        &folder.join("sub"),
        "qcow2",
        "-b ../middle.qcow2 -F qcow2 top.qcow2 4M",
    );
    let mut write = Command::new(tool("qemu-io"));
    write.args(["-c", "write -P 7 100k 70k", "-c", "write -P 9 3584k 10k"]);
    run_ok(write.arg(folder.join("sub/top.qcow2")));
    for (number, name) in ["sub/top.qcow2", "base.raw", "middle.qcow2"]
        .iter()
        .enumerate()
    {
        set_mtime(&folder.join(name), 1_700_000_000 + number as u64, 5);
    }
    folder
}

#[test]
fn chains_appear_where_they_are_allowed() {
    let lab = Lab::new();
    let folder = chain(&lab);
    let found = list(&folder, &[]);
    assert_eq!(listed_views(&found).len(), 1);
    let reasons = listed_reasons(&found);
    for (name, backing) in [
        ("middle.qcow2", "base.raw"),
        ("sub/top.qcow2", "middle.qcow2"),
    ] {
        let reason = &reasons[name];
        assert!(
            reason.contains(backing) && reason.contains("--chains"),
            "{reason}"
        );
    }
    let raw = lab.path().join("top.raw");
    unpack(&folder.join("sub/top.qcow2"), "qcow2", &raw);
    let mount = Mount::with(&folder, &["--chains"]);
    assert_tree(
        mount.path(),
        ["base.vhd", "middle.vhd", "sub", "sub/top.vhd"],
    );
    // The latest time is that of the one in the middle.
    let latest = fs::metadata(folder.join("middle.qcow2")).expect("an image");
    let top = mount.join("sub/top.vhd");
    verify_at(&folder.join("sub/top.qcow2"), latest.mtime(), &raw, &top);
    let shown = top.metadata().expect("a view");
    assert_eq!(
        (shown.mtime(), shown.mtime_nsec()),
        (latest.mtime(), latest.mtime_nsec())
    );
    mount.unmount();
    let found = list(&folder, &["--chains"]);
    let images = found["images"].as_array().expect("images");
    let top = images
        .iter()
        .find(|image| image["source"] == "sub/top.qcow2");
    let files = &top.expect("the image")["files"];
    let want = serde_json::json!(["sub/top.qcow2", "middle.qcow2", "base.raw"]);
    assert_eq!(*files, want);
}

#[test]
fn a_change_of_any_file_is_another_version() {
    let lab = Lab::new();
    let folder = chain(&lab);
    let mount = Options::default()
        .args(["--chains", "--snapshot=never"])
        .mount(&folder);
    mount.expect_log("changed while it was open");
    let top = mount.join("sub/top.vhd");
    let inode = || top.metadata().expect("a view").ino();
    let (old, open) = (inode(), File::open(&top).expect("a view"));
    random_image(&folder.join("base.raw"), 2, 3 * MIB);
    eventually("another inode", || inode() != old);
    let error = std::os::unix::fs::FileExt::read_at(&open, &mut [0; 512], 2 * MIB);
    assert_eq!(errno_of(error), Errno::STALE);
    let raw = lab.path().join("top.raw");
    unpack(&folder.join("sub/top.qcow2"), "qcow2", &raw);
    let latest = fs::metadata(folder.join("base.raw")).expect("an image");
    verify_at(&folder.join("sub/top.qcow2"), latest.mtime(), &raw, &top);
    drop(open);
    mount.unmount();
}

#[test]
fn names_that_lead_out_or_nowhere_are_refused() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    fs::create_dir(folder.join("sub")).expect("a folder");
    random_image(&lab.path().join("secret.raw"), 1, MIB);
    random_image(&folder.join("base.raw"), 2, MIB);
    symlink("../secret.raw", folder.join("leads-out.raw")).expect("a link");
    symlink("base.raw", folder.join("leads-in.raw")).expect("a link");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .expect("a FIFO");
    let absolute = folder.join("base.raw");
    let absolute = absolute.to_str().expect("text");
    let json = "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"base.raw\"}}";
    let cases = [
        ("absolute", absolute, "relative"),
        ("out", "../secret.raw", "outside of the source folder"),
        (
            "round",
            "../source/base.raw",
            "outside of the source folder",
        ),
        ("json", json, "relative"),
        ("nbd", "nbd://127.0.0.1/x", "relative"),
        ("link-out", "leads-out.raw", "outside of the source folder"),
        ("missing", "later.raw", "is not there"),
        ("folder", "sub", "not a file"),
        ("fifo", "fifo", "not a file"),
        ("itself", "itself.qcow2", "itself"),
    ];
    for (name, backing, _) in cases {
        backed_by(&folder.join(format!("{name}.qcow2")), backing, "raw");
    }
    backed_by(&folder.join("link-in.qcow2"), "leads-in.raw", "raw");
    backed_by(&folder.join("unstated.qcow2"), "base.raw", "");
    backed_by(&folder.join("wrong.qcow2"), "base.raw", "vmdk");
    let found = list(&folder, &["--chains"]);
    let reasons = listed_reasons(&found);
    for (name, _, word) in cases {
        let reason = &reasons[&format!("{name}.qcow2")];
        assert!(reason.contains(word), "{name}: {reason}");
    }
    assert!(reasons["unstated.qcow2"].contains("-F raw"), "{reasons:?}");
    assert!(reasons["wrong.qcow2"].contains("vmdk"), "{reasons:?}");
    let views = listed_views(&found);
    assert_eq!(views.len(), 3, "{views:?}");
    let mount = Mount::with(&folder, &["--chains"]);
    mount.allow_log("does not appear: ");
    let mut body = fs::read(mount.join("link-in.vhd")).expect("a view");
    body.truncate(MIB as usize);
    assert!(body == fs::read(folder.join("base.raw")).expect("a file"));
    for (name, ..) in cases {
        assert_missing(&mount.join(format!("{name}.vhd")));
    }
    mount.unmount();
    // What was missing may come.
    let mount = Mount::with(&folder, &["--chains"]);
    mount.allow_log("does not appear: ");
    assert_missing(&mount.join("missing.vhd"));
    random_image(&folder.join("later.raw"), 3, MIB);
    eventually("the view", || mount.join("missing.vhd").exists());
    fs::remove_file(folder.join("later.raw")).expect("remove a file");
    eventually("its end", || !mount.join("missing.vhd").exists());
    mount.unmount();
}

/// An empty qcow2 of 1 MiB whose header names any backing file, of any format.
fn backed_by(image: &Path, backing: &str, format: &str) {
    let folder = image.parent().expect("a folder");
    let name = image.file_name().expect("a name").to_str().expect("text");
    create(folder, "qcow2", &format!("{name} 1M"));
    let mut arguments = vec!["rebase", "-u", "-b", backing];
    if !format.is_empty() {
        arguments.extend(["-F", format]);
        qemu_img(folder, &[&arguments[..], &[name]].concat());
        return;
    }
    // qemu-img of today insists on a format: take it out again, an extension of the header.
    arguments.extend(["-F", "raw"]);
    qemu_img(folder, &[&arguments[..], &[name]].concat());
    let mut bytes = fs::read(image).expect("an image");
    let magic = 0xE279_2ACA_u32.to_be_bytes();
    let at = bytes[..512].windows(4).position(|four| four == magic);
    // An unknown extension that may be ignored.
    bytes[at.expect("the extension")..][..4].copy_from_slice(&0x7f7f_7f7f_u32.to_be_bytes());
    fs::write(image, bytes).expect("an image");
}

#[test]
fn chains_end_at_sixteen_and_have_no_circles() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("0.raw"), 1, MIB);
    for number in 1..=17 {
        let (below, format) = match number {
            1 => ("0.raw".to_owned(), "raw"),
            _ => (format!("{}.qcow2", number - 1), "qcow2"),
        };
        let name = format!("{number}.qcow2");
        let arguments = format!("-b {below} -F {format} {name}");
        create(&folder, "qcow2", &arguments);
    }
    for name in ["a.qcow2", "b.qcow2"] {
        create(&folder, "qcow2", &format!("{name} 1M"));
    }
    for (name, other) in [("a.qcow2", "b.qcow2"), ("b.qcow2", "a.qcow2")] {
        qemu_img(&folder, &["rebase", "-u", "-F", "qcow2", "-b", other, name]);
    }
    let found = list(&folder, &["--chains"]);
    let views = listed_views(&found);
    assert_eq!(views.len(), 17, "{views:?}");
    let reasons = listed_reasons(&found);
    assert!(reasons["17.qcow2"].contains("16"), "{reasons:?}");
    for name in ["a.qcow2", "b.qcow2"] {
        assert!(reasons[name].contains("leads back"), "{reasons:?}");
    }
    let mount = Mount::with(&folder, &["--chains"]);
    mount.allow_log("does not appear: ");
    let view = fs::read(mount.join("16.vhd")).expect("a view");
    let base = fs::read(folder.join("0.raw")).expect("a disk");
    assert!(view[..MIB as usize] == base[..]);
    mount.unmount();
}

#[test]
fn external_data_files_are_further_files() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    random_image(&raw, 1, 2 * MIB);
    let mut command = Command::new(tool("qemu-img"));
    command.args([
        "convert",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "-o",
        "data_file=disk.data",
    ]);
    run_ok(command.current_dir(&folder).arg(&raw).arg("disk.qcow2"));
    let reasons = listed_reasons(&list(&folder, &[]));
    assert!(reasons["disk.qcow2"].contains("--chains"), "{reasons:?}");
    let mount = Mount::with(&folder, &["--chains"]);
    let latest = fs::metadata(folder.join("disk.qcow2"))
        .expect("an image")
        .mtime();
    let latest = latest.max(
        fs::metadata(folder.join("disk.data"))
            .expect("data")
            .mtime(),
    );
    verify_at(
        &folder.join("disk.qcow2"),
        latest,
        &raw,
        &mount.join("disk.vhd"),
    );
    mount.unmount();
}

#[test]
fn a_guest_that_writes_a_header_into_its_disk_gets_no_further_file() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("secret.raw"), 1, MIB);
    backed_by(&folder.join("guest.raw"), "secret.raw", "raw");
    convert(
        &folder.join("secret.raw"),
        "vmdk",
        "subformat=monolithicFlat",
        &folder.join("own.vmdk"),
    );
    fs::copy(folder.join("own.vmdk"), folder.join("guest.img")).expect("a copy");
    let found = list(&folder, &["--chains"]);
    let views = listed_views(&found);
    assert_eq!(views.len(), 2, "{views:?}");
    let reasons = listed_reasons(&found);
    for name in ["guest.raw", "guest.img"] {
        assert!(reasons[name].contains("rename"), "{reasons:?}");
    }
    let mount = Mount::with(&folder, &["--chains", "--all"]);
    mount.expect_log("guest.raw: does not appear: needs its backing file secret.raw");
    mount.allow_log("does not appear: ");
    assert_missing(&mount.join("guest.vhd"));
    mount.unmount();
}

#[test]
fn who_may_not_read_a_further_file_reads_none_of_its_bytes() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("base.raw"), 1, MIB);
    backed_by(&folder.join("top.qcow2"), "base.raw", "raw");
    set_mode(&folder.join("base.raw"), 0o600);
    set_mode(&folder.join("top.qcow2"), 0o644);
    let mount = Mount::with(&folder, &["--chains", "--allow-other"]);
    let mode = || mount.join("top.vhd").metadata().expect("a view").mode() & 0o777;
    assert_eq!(mode(), 0o400);
    let mut command = User::ordinary().command(tool("cat"));
    command.arg(mount.join("top.vhd"));
    assert!(!crate::harness::run(&mut command).status.success());
    set_mode(&folder.join("base.raw"), 0o644);
    eventually("the mode", || mode() == 0o444);
    mount.unmount();
}

#[test]
fn a_flat_vmdk_is_as_good_as_raw() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk.vmdk");
    random_image(&raw, 1, 2 * MIB + 512);
    convert(
        &raw,
        "vmdk",
        "subformat=monolithicFlat",
        &folder.join("disk.vmdk"),
    );
    let time = 1_700_000_000;
    for file in [
        &raw,
        &folder.join("disk.vmdk"),
        &folder.join("disk-flat.vmdk"),
    ] {
        set_mtime(file, time, 0);
    }
    let found = list(&folder, &[]);
    let reasons = listed_reasons(&found);
    assert!(
        reasons["disk-flat.vmdk"].contains("part of disk.vmdk"),
        "{reasons:?}"
    );
    let mount = Mount::new(&folder);
    oracle_verify(&raw, &mount.join("disk.vhd"));
    assert_tree(mount.path(), ["disk.vhd"]);
    mount.unmount();
    fs::remove_file(folder.join("disk-flat.vmdk")).expect("remove an extent");
    let reasons = listed_reasons(&list(&folder, &[]));
    assert!(
        reasons["disk.vmdk"].contains("disk-flat.vmdk"),
        "{reasons:?}"
    );
}
