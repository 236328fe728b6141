//! Images that are unusual and right, or nearly right: what qemu-img reads in them, or the reason.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use super::machines::ova;
use super::{convert, qemu_img, unpack, verify};
use crate::harness::{
    Lab, MIB, Mount, assert_tree, eventually, list, listed_reasons, listed_views, random_bytes,
    random_image, run, run_ok, sparse_image, stdout_of, tool, vhdfs,
};

/// Changes bytes of a file in place.
fn patch(file: &Path, at: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(file).expect("a file");
    file.write_all_at(bytes, at).expect("write to it");
}

#[test]
fn a_qcow2_whose_size_is_no_whole_sector_appears_as_qemu_reads_it() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    random_image(&raw, 1, 3 * MIB);
    let image = folder.join("odd.qcow2");
    convert(&raw, "qcow2", "", &image);
    patch(&image, 24, &(3 * MIB - 412).to_be_bytes());
    let disk = lab.path().join("unpacked");
    unpack(&image, "qcow2", &disk);
    let mount = Mount::new(&folder);
    verify(&image, &disk, &mount.join("odd.vhd"));
    mount.unmount();
}

#[test]
fn descriptors_are_read_however_they_are_written() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    random_image(&raw, 1, 2 * MIB);
    fs::create_dir(folder.join("sub")).expect("a folder");
    for extent in ["my disk.vmdk", "plain", "sub/x.vmdk"] {
        fs::copy(&raw, folder.join(extent)).expect("an extent");
    }
    let head = "# Disk DescriptorFile\nversion=1\nCID=deadbeef\nparentCID=ffffffff\n";
    let flat = "createType=\"monolithicFlat\"\n";
    for (name, text) in [
        (
            "spaces.vmdk",
            format!("{head}{flat}\n# Extent description\nRW 4096 FLAT \"my disk.vmdk\" 0\n"),
        ),
        (
            "crlf.vmdk",
            format!("{head}{flat}RW   4096\tFLAT  \"my disk.vmdk\"   0\n").replace('\n', "\r\n"),
        ),
        (
            "two.vmdk",
            format!("{head}{flat}RW 2048 FLAT \"plain\" 0\nRW 2048 FLAT \"my disk.vmdk\" 2048\n"),
        ),
        (
            "no-end.vmdk",
            format!("{head}{flat}RW 4096 FLAT \"plain\" 0"),
        ),
        (
            "read-only.vmdk",
            format!("{head}{flat}RDONLY 4096 FLAT \"plain\" 0\n\nddb.adapterType = \"ide\"\n"),
        ),
        (
            "esx.vmdk",
            format!("{head}createType=\"vmfs\"\nRW 4096 VMFS \"plain\"\n"),
        ),
        (
            "below.vmdk",
            format!("{head}{flat}RW 4096 FLAT \"sub/x.vmdk\" 0\n"),
        ),
        (
            "no-offset.vmdk",
            format!("{head}{flat}RW 4096 FLAT \"plain\"\n"),
        ),
        (
            "too-long.vmdk",
            format!("{head}{flat}RW 4097 FLAT \"plain\" 0\n"),
        ),
    ] {
        fs::write(folder.join(name), text).expect("a descriptor");
    }
    let found = list(&folder, &[]);
    let reasons = listed_reasons(&found);
    assert!(reasons["below.vmdk"].contains("same folder"), "{reasons:?}");
    for (name, word) in [
        ("no-offset.vmdk", "descriptor"),
        ("too-long.vmdk", "cut off"),
    ] {
        assert!(reasons[name].contains(word), "{reasons:?}");
    }
    let mount = Mount::new(&folder);
    mount.allow_log("does not appear: ");
    let want = fs::read(&raw).expect("a disk");
    for name in ["spaces", "crlf", "two", "no-end", "read-only", "esx"] {
        let view = fs::read(mount.join(format!("{name}.vhd"))).expect("a view");
        let want: &[u8] = &want;
        assert!(view[..want.len()] == *want, "{name}");
    }
    mount.unmount();
}

#[test]
fn a_dynamic_vhd_is_read_with_one_of_its_footers() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    random_image(&raw, 1, 5 * MIB);
    for name in ["tail.vhd", "head.vhd", "neither.vhd"] {
        convert(&raw, "vpc", "subformat=dynamic", &folder.join(name));
    }
    let disk = lab.path().join("unpacked");
    unpack(&folder.join("tail.vhd"), "vpc", &disk);
    let cut = |name: &str| {
        let path = folder.join(name);
        let size = path.metadata().expect("a file").len();
        let file = File::options().write(true).open(path).expect("a file");
        file.set_len(size - 100).expect("cut it");
    };
    cut("tail.vhd");
    patch(&folder.join("head.vhd"), 20, b"broken");
    cut("neither.vhd");
    patch(&folder.join("neither.vhd"), 20, b"broken");
    let reasons = listed_reasons(&list(&folder, &[]));
    assert!(reasons["neither.vhd"].contains("damaged"), "{reasons:?}");
    let mount = Mount::new(&folder);
    mount.allow_log("does not appear: ");
    for name in ["tail.vhd", "head.vhd"] {
        verify(&folder.join(name), &disk, &mount.join(name));
    }
    mount.unmount();
}

#[test]
fn a_disk_of_an_ova_that_cannot_be_read_keeps_no_other_away() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raws: Vec<_> = (0..3_u64)
        .map(|number| {
            let raw = lab.path().join(format!("{number}.raw"));
            random_image(&raw, number, (number + 1) * MIB);
            raw
        })
        .collect();
    let image = ova(&lab, &folder, "some", &raws, "ovf:compression=\"gzip\"");
    let found = list(&folder, &[]);
    let reason = &listed_reasons(&found)["some.ova"];
    assert!(reason.contains("compressed (gzip)"), "{reason}");
    assert_eq!(found["images"].as_array().map(Vec::len), Some(2), "{found}");
    let mount = Mount::new(&folder);
    assert_tree(mount.path(), ["some-2.vhd", "some-3.vhd"]);
    for number in [1, 2] {
        let view = mount.join(format!("some-{}.vhd", number + 1));
        verify(&image, &raws[number], &view);
    }
    mount.unmount();
}

#[test]
fn archives_are_read_whatever_tar_wrote_them() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    sparse_image(&raw, 1, 4 * MIB, &[(MIB, 100_000)]);
    let long = "a".repeat(120);
    for (number, (format, stem)) in [
        ("ustar", "disk"),
        ("pax", long.as_str()),
        ("gnu", long.as_str()),
        ("v7", "disk"),
        ("oldgnu", "disk"),
    ]
    .into_iter()
    .enumerate()
    {
        let parts = lab.folder(&format!("parts-{number}"));
        let member = format!("{stem}.vmdk");
        convert(
            &raw,
            "vmdk",
            "subformat=streamOptimized",
            &parts.join(&member),
        );
        let ovf = format!(
            "<Envelope><References><File href='{member}' id='f'/></References>\
             <DiskSection><Disk diskId='d' fileRef='f'/></DiskSection></Envelope>"
        );
        fs::write(parts.join("x.ovf"), ovf).expect("an OVF");
        let mut command = Command::new(tool("tar"));
        command.arg(format!("--format={format}")).arg("-cf");
        command.arg(folder.join(format!("{format}.ova")));
        run_ok(command.arg("-C").arg(&parts).args(["x.ovf", &member]));
        if format == "gnu" {
            // With its holes left out, the member is not there as it is.
            let mut command = Command::new(tool("tar"));
            command.args(["--format=gnu", "-S", "-cf"]);
            command.arg(folder.join("sparse.ova"));
            fs::copy(&raw, parts.join("disk.img")).expect("a disk");
            run_ok(
                Command::new(tool("fallocate"))
                    .arg("-d")
                    .arg(parts.join("disk.img")),
            );
            let ovf = "<Envelope><References><File href='disk.img' id='f'/></References>\
                <DiskSection><Disk diskId='d' fileRef='f'/></DiskSection></Envelope>";
            fs::write(parts.join("y.ovf"), ovf).expect("an OVF");
            run_ok(command.arg("-C").arg(&parts).args(["y.ovf", "disk.img"]));
        }
    }
    let found = list(&folder, &[]);
    let reasons = listed_reasons(&found);
    assert!(
        reasons["sparse.ova"].contains("holes left out"),
        "{reasons:?}"
    );
    // Old tar has no magic: it is a raw disk by its content, and no OVA.
    assert!(reasons.contains_key("v7.ova"), "{reasons:?}");
    let mount = Mount::new(&folder);
    mount.allow_log("does not appear: ");
    for format in ["ustar", "pax", "gnu", "oldgnu"] {
        let image = folder.join(format!("{format}.ova"));
        verify(&image, &raw, &mount.join(format!("{format}.vhd")));
    }
    mount.unmount();
}

#[test]
fn an_image_that_becomes_one_of_another_format_is_another_image() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let image = folder.join("disk.img");
    random_image(&image, 1, 2 * MIB);
    let other = lab.path().join("other");
    random_image(&other, 2, 3 * MIB);
    let mount = Mount::new(&folder);
    mount.allow_log("changed");
    let view = mount.join("disk.vhd");
    verify(&image, &image, &view);
    for (format, options) in [("qcow2", "-c"), ("vhdx", ""), ("vmdk", ""), ("raw", "")] {
        // In place: the same inode.
        let made = lab.path().join("made");
        convert(&other, format, options, &made);
        fs::write(&image, fs::read(&made).expect("an image")).expect("write the image");
        let disk = lab.path().join("unpacked");
        unpack(&image, format, &disk);
        eventually("the other disk", || {
            fs::metadata(&view).is_ok_and(|found| found.len() == 3 * MIB + 512)
        });
        verify(&image, &disk, &view);
    }
    mount.unmount();
}

#[test]
fn raw_data_of_an_external_file_is_what_the_file_holds() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let options = "data_file=data.bin,data_file_raw=on";
    qemu_img(
        &folder,
        &[
            "create", "-q", "-f", "qcow2", "-o", options, "x.qcow2", "4M",
        ],
    );
    let mut write = Command::new(tool("qemu-io"));
    write.current_dir(&folder);
    run_ok(write.args(["-c", "write -P 5 1M 64k", "x.qcow2"]));
    // Another program writes to it, as to a raw disk.
    patch(&folder.join("data.bin"), 3 * MIB, &random_bytes(1, 5000));
    let disk = lab.path().join("unpacked");
    // qemu takes the name relative to where it runs.
    let out = disk.to_str().expect("text");
    qemu_img(&folder, &["convert", "-O", "raw", "x.qcow2", out]);
    let cat = run_ok(
        vhdfs()
            .args(["cat", "--chains"])
            .arg(folder.join("x.qcow2")),
    )
    .stdout;
    let want = fs::read(&disk).expect("a disk");
    assert!(want == fs::read(folder.join("data.bin")).expect("a disk"));
    assert!(cat[..4 * MIB as usize] == want[..]);
}

/// Options that change the bytes or the choice work for every command that shows views.
#[test]
fn every_command_takes_what_changes_bytes_or_choice() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("disk.vhd"), 1, 2 * MIB);
    random_image(&folder.join("note.txt"), 2, MIB);
    let top = folder.join("top.qcow2");
    random_image(&folder.join("base.bin"), 3, MIB);
    qemu_img(
        &folder,
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            "base.bin",
            "-F",
            "raw",
            "top.qcow2",
        ],
    );
    let raw = folder.join("disk.vhd");
    for command in ["inspect", "cat", "map", "manifest", "list"] {
        let size = |arguments: &[&str], image: &Path| {
            let output = run(vhdfs().arg(command).args(arguments).arg(image));
            (output.status.code(), output.stdout)
        };
        // A raw disk under the name of a container has to be asked for.
        let shown = [&["--all"][..], &["--include", "*.vhd"]];
        for arguments in shown {
            assert_eq!(size(arguments, &raw).0, Some(0), "{command} {arguments:?}");
        }
        for arguments in [
            &["--chains"][..],
            &[
                "--chains",
                "--min-size=30M",
                "--gpt=relocate",
                "--compressed",
            ],
            &["--chains", "--exclude=x", "--allow-devices"],
        ] {
            let (status, _) = size(arguments, &top);
            assert_eq!(status, Some(0), "{command} {arguments:?}");
        }
        let (status, _) = size(&["--include", "["], &top);
        assert_eq!(status, Some(2), "{command} takes patterns");
    }
    let cat = |arguments: &[&str]| run_ok(vhdfs().arg("cat").args(arguments).arg(&raw)).stdout;
    assert_eq!(cat(&["--all"]).len() as u64, 2 * MIB + 512);
    assert_eq!(cat(&["--all", "--min-size=5M"]).len() as u64, 5 * MIB + 512);
    let failed = run(vhdfs().arg("cat").arg(&raw));
    assert_eq!(failed.status.code(), Some(1));
    // A folder is checked as it appears.
    let checked = |arguments: &[&str]| {
        let mut command = vhdfs();
        command
            .args(["check", "--json", "--data-disk"])
            .args(arguments);
        let text = run(command.arg(&folder)).stdout;
        let rows: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        rows.as_array().expect("rows").len()
    };
    assert_eq!(checked(&[]), 2);
    assert_eq!(checked(&["--exclude=*.qcow2"]), 1);
    assert_eq!(checked(&["--include=*.txt"]), 3);
    assert_eq!(checked(&["--all", "--chains"]), 4);
}

#[test]
fn tools_that_copy_sparse_files_lose_nothing_of_any_format() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    let mut bytes = vec![7; 4 * MIB as usize];
    bytes[2 * MIB as usize..3 * MIB as usize].fill(0);
    bytes.resize(64 * MIB as usize, 0);
    fs::write(&raw, bytes).expect("a disk");
    // The data of the first takes hardly any blocks, that of the second all that it could.
    for (name, format, options) in [
        ("tiny.qcow2", "qcow2", "-c"),
        ("full.vhdx", "vhdx", "subformat=fixed"),
        ("some.vmdk", "vmdk", ""),
        ("empty.qcow2", "qcow2", ""),
    ] {
        convert(&raw, format, options, &folder.join(name));
    }
    qemu_img(
        &folder,
        &["create", "-q", "-f", "qcow2", "empty.qcow2", "64M"],
    );
    let mount = Mount::new(&folder);
    let views = ["tiny.vhd", "full.vhd", "some.vhd", "empty.vhd"];
    for view in views {
        let path = mount.join(view);
        let want = fs::read(&path).expect("a view");
        for how in ["--sparse=auto", "--sparse=always", "--sparse=never"] {
            let copy = lab.path().join("copy");
            run_ok(Command::new(tool("cp")).arg(how).arg(&path).arg(&copy));
            assert!(fs::read(&copy).expect("a copy") == want, "cp {how} {view}");
            fs::remove_file(copy).expect("remove it");
        }
        for sparse in ["--hole-detection=raw", "--hole-detection=seek"] {
            let archive = lab.path().join("archive");
            let mut command = Command::new(tool("tar"));
            command.arg("-S").arg(sparse).arg("-cf").arg(&archive);
            run_ok(command.arg("-C").arg(mount.path()).arg(view));
            let out = lab.folder("out");
            run_ok(
                Command::new(tool("tar"))
                    .arg("-xf")
                    .arg(&archive)
                    .arg("-C")
                    .arg(&out),
            );
            assert!(
                fs::read(out.join(view)).expect("a copy") == want,
                "{sparse} {view}"
            );
        }
        let blocks = stdout_of(Command::new(tool("du")).args(["--block-size=1"]).arg(&path));
        let blocks = blocks.split_whitespace().next().expect("a number");
        let blocks: u64 = blocks.parse().expect("a number");
        assert!(blocks > 0 && blocks <= 64 * MIB + 4096, "{view}: {blocks}");
    }
    mount.unmount();
}

/// Names that could lead to one view, in any case and format.
#[test]
fn names_that_meet_keep_apart() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    random_image(&raw, 1, 2 * MIB);
    fs::copy(&raw, folder.join("a.raw")).expect("a copy");
    for (name, format, options) in [
        ("a.qcow2", "qcow2", ""),
        ("a.vhd", "vpc", "subformat=dynamic"),
        ("B.QCOW2", "qcow2", "-c"),
        ("C.VHD", "vpc", "subformat=dynamic"),
        ("D.Vhd", "vpc", "subformat=fixed,force_size=on"),
        ("d.raw", "raw", ""),
    ] {
        convert(&raw, format, options, &folder.join(name));
    }
    let views = listed_views(&list(&folder, &[]));
    let mount = Mount::new(&folder);
    for (source, view) in [
        ("a.raw", "a.raw.vhd"),
        ("a.qcow2", "a.qcow2.vhd"),
        ("a.vhd", "a.vhd.vhd"),
        ("B.QCOW2", "B.vhd"),
        ("C.VHD", "C.vhd"),
        ("D.Vhd", "D.Vhd"),
        ("d.raw", "d.vhd"),
    ] {
        assert_eq!(views[source], view, "{views:?}");
        assert!(mount.join(view).exists(), "{view}");
    }
    mount.unmount();
}
