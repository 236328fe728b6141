//! Disks of virtual machines as VMware, Hyper-V and VirtualBox leave them: archives, extents, and what is refused.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::{convert, create, unpack, verify};
use crate::harness::{
    Lab, MIB, Mount, assert_tree, list, listed_reasons, listed_views, random_image, run_ok,
    set_mtime, sparse_image, stdout_of, tool, vhdfs,
};

/// An OVF whose disks lie in these files of the archive, one of them with more attributes.
fn ovf(files: &[&str], more: &str) -> String {
    let mut references = String::new();
    let mut disks = String::new();
    for (number, file) in files.iter().enumerate() {
        let more = if number == 0 { more } else { "" };
        references += &format!("<File ovf:href=\"{file}\" ovf:id=\"file{number}\" {more}/>\n");
        disks += &format!(
            "<Disk ovf:capacity=\"1\" ovf:diskId=\"vmdisk{number}\" ovf:fileRef=\"file{number}\" \
             ovf:format=\"http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized\"/>\n"
        );
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\">\n\
         <References>\n{references}</References>\n<DiskSection>\n<Info>Disks</Info>\n{disks}</DiskSection>\n</Envelope>\n"
    )
}

/// Makes `folder/NAME.ova` of an OVF, a manifest, and a stream for each of the raw disks. The first disk has `more`
/// attributes.
pub(super) fn ova(lab: &Lab, folder: &Path, name: &str, raws: &[PathBuf], more: &str) -> PathBuf {
    let parts = lab.folder(&format!("{name}-parts"));
    let mut members = vec![format!("{name}.ovf"), format!("{name}.mf")];
    for (number, raw) in raws.iter().enumerate() {
        let member = format!("{name}-disk{}.vmdk", number + 1);
        let path = parts.join(&member);
        convert(raw, "vmdk", "subformat=streamOptimized", &path);
        members.push(member);
    }
    let disks: Vec<_> = members[2..].iter().map(String::as_str).collect();
    fs::write(parts.join(&members[0]), ovf(&disks, more)).expect("an OVF");
    fs::write(parts.join(&members[1]), "SHA256(x.ovf)= 00\n").expect("a manifest");
    let archive = folder.join(format!("{name}.ova"));
    let mut command = Command::new(tool("tar"));
    command.args(["--format=ustar", "-cf"]).arg(&archive);
    run_ok(command.arg("-C").arg(&parts).args(&members));
    set_mtime(&archive, 1_700_000_123, 7);
    archive
}

#[test]
fn the_disks_of_an_ova_appear_in_the_order_of_its_ovf() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raws: Vec<_> = [3 * MIB + 512, 5 * MIB]
        .iter()
        .enumerate()
        .map(|(number, &size)| {
            let raw = lab.path().join(format!("{number}.raw"));
            sparse_image(&raw, size, size, &[(MIB, 200_000), (size - 512, 512)]);
            raw
        })
        .collect();
    let two = ova(&lab, &folder, "two", &raws, "");
    let one = ova(&lab, &folder, "one", &raws[..1], "");
    let mount = Mount::new(&folder);
    assert_tree(mount.path(), ["one.vhd", "two-1.vhd", "two-2.vhd"]);
    verify(&one, &raws[0], &mount.join("one.vhd"));
    for (view, raw) in [("two-1.vhd", &raws[0]), ("two-2.vhd", &raws[1])] {
        verify(&two, raw, &mount.join(view));
    }
    let blocks = |path: &Path| path.metadata().expect("attributes").blocks();
    let of_views = blocks(&mount.join("two-1.vhd")) + blocks(&mount.join("two-2.vhd"));
    // Each is a part of the archive, and has a footer of one block.
    assert!(of_views > 2 && of_views <= blocks(&two) + 2, "{of_views}");
    mount.unmount();
    let text = stdout_of(vhdfs().args(["inspect", "--json"]).arg(&one));
    let inspected: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(inspected["format"], "ova");
    assert_eq!(inspected["source_size"], json!(3 * MIB + 512));
}

#[test]
fn an_ova_whose_disks_cannot_be_read_in_it_is_refused() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    random_image(&raw, 1, MIB);
    let raws = [raw];
    ova(&lab, &folder, "packed", &raws, "ovf:compression=\"gzip\"");
    ova(&lab, &folder, "split", &raws, "ovf:chunkSize=\"1000\"");
    let cut = ova(&lab, &folder, "cut", &raws, "");
    let file = fs::File::options().write(true).open(&cut).expect("an OVA");
    file.set_len(MIB / 2).expect("cut it");
    let reasons = listed_reasons(&list(&folder, &[]));
    for (name, words) in [
        (
            "packed.ova",
            ["packed-disk1.vmdk", "compressed (gzip)", "tar -xf"],
        ),
        (
            "split.ova",
            ["split-disk1.vmdk", "split into chunks", "tar -xf"],
        ),
        ("cut.ova", ["damaged", "cut off", "get the image again"]),
    ] {
        let reason = &reasons[name];
        assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
    }
}

/// CRC-32C of a structure whose checksum stands behind its first four bytes.
fn seal(bytes: &mut [u8]) {
    bytes[4..8].fill(0);
    let mut crc = u32::MAX;
    for byte in bytes.iter() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    bytes[4..8].copy_from_slice(&(!crc).to_le_bytes());
}

#[test]
fn what_is_not_the_whole_disk_is_refused() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    random_image(&raw, 1, MIB);
    // As a host leaves it that loses its power: both headers name a log.
    let log = folder.join("log.vhdx");
    convert(&raw, "vhdx", "", &log);
    let mut bytes = fs::read(&log).expect("a VHDX");
    for header in [64 << 10, 128 << 10] {
        bytes[header + 48..header + 64].fill(7);
        seal(&mut bytes[header..header + 4096]);
    }
    fs::write(&log, bytes).expect("a VHDX");
    // An undo image, and one with a parent.
    for (name, at, value) in [("undo.vdi", 76, 3), ("child.vdi", 424, 9)] {
        convert(&raw, "vdi", "", &folder.join(name));
        let mut bytes = fs::read(folder.join(name)).expect("a VDI");
        bytes[at] = value;
        fs::write(folder.join(name), bytes).expect("a VDI");
    }
    let descriptor = |kind: &str, extent: &str| {
        format!(
            "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"{kind}\"\n{extent}\n"
        )
    };
    for (name, kind, extent) in [
        ("device.vmdk", "fullDevice", "RW 2048 FLAT \"/dev/null\" 0"),
        (
            "mapped.vmdk",
            "vmfsRawDeviceMap",
            "RW 2048 VMFSRDM \"x-rdm.vmdk\"",
        ),
        (
            "locked.vmdk",
            "monolithicFlat",
            "RW 1 FLAT \"x\" 0\nencryption.keySafe = \"vmware:key/x\"",
        ),
        ("away.vmdk", "monolithicFlat", "RW 2048 FLAT \"../disk\" 0"),
        (
            "absolute.vmdk",
            "monolithicFlat",
            "RW 2048 FLAT \"/etc/passwd\" 0",
        ),
        ("linked.vmdk", "monolithicFlat", "RW 2048 FLAT \"link\" 0"),
        ("fifo.vmdk", "monolithicFlat", "RW 2048 FLAT \"pipe\" 0"),
        (
            "missing.vmdk",
            "monolithicFlat",
            "RW 2048 FLAT \"not-there.vmdk\" 0",
        ),
    ] {
        fs::write(folder.join(name), descriptor(kind, extent)).expect("a descriptor");
    }
    symlink("../disk", folder.join("link")).expect("a link");
    run_ok(Command::new(tool("mkfifo")).arg(folder.join("pipe")));
    let found = list(&folder, &["--chains"]);
    assert!(listed_views(&found).is_empty(), "{found}");
    let reasons = listed_reasons(&found);
    for (name, words) in [
        (
            "log.vhdx",
            [
                "log holds changes",
                "attach it once in Hyper-V, or `qemu-img check -r all`",
            ],
        ),
        ("undo.vdi", ["only what was changed", "merge both"]),
        ("child.vdi", ["only what was changed", "merge both"]),
        ("device.vmdk", ["maps a device", "copy that device"]),
        ("mapped.vmdk", ["maps a device", "copy that device"]),
        ("locked.vmdk", ["encrypted", "decrypt it"]),
        ("away.vmdk", ["`../disk`", "same folder"]),
        ("absolute.vmdk", ["`/etc/passwd`", "same folder"]),
        ("linked.vmdk", ["extent link", "outside"]),
        ("fifo.vmdk", ["extent pipe", "not a file"]),
        ("missing.vmdk", ["extent not-there.vmdk", "not there"]),
    ] {
        let reason = &reasons[name];
        assert!(
            words.iter().all(|word| reason.contains(word)),
            "{name}: {reason}"
        );
    }
}

#[test]
fn a_vhdx_after_its_log_is_written_back_appears() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    random_image(&raw, 1, 20 * MIB);
    let image = folder.join("disk.vhdx");
    convert(&raw, "vhdx", "", &image);
    // Writes go through the log, which is empty again at the end.
    let mut write = Command::new(tool("qemu-io"));
    write.args(["-c", "write -P 7 1M 70k", "-c", "write -P 9 19M 4k"]);
    run_ok(write.arg(&image));
    let disk = lab.path().join("unpacked");
    unpack(&image, "vhdx", &disk);
    let mount = Mount::new(&folder);
    verify(&image, &disk, &mount.join("disk.vhd"));
    mount.unmount();
}

#[test]
fn extents_are_parts_of_an_image_and_no_images() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    create(
        &folder,
        "vmdk",
        "-o subformat=twoGbMaxExtentFlat split.vmdk 5G",
    );
    let found = list(&folder, &[]);
    assert_eq!(listed_views(&found).len(), 1, "{found}");
    let image = &found["images"][0];
    assert_eq!(image["source_size"], json!(5_u64 << 30));
    assert_eq!(
        image["files"],
        json!([
            "split.vmdk",
            "split-f001.vmdk",
            "split-f002.vmdk",
            "split-f003.vmdk"
        ])
    );
    // It changes with any of them.
    set_mtime(&folder.join("split-f002.vmdk"), 1_900_000_000, 1);
    let mount = Mount::new(&folder);
    let modified = mount
        .join("split.vhd")
        .metadata()
        .expect("a view")
        .modified();
    let seconds = modified
        .expect("a time")
        .duration_since(std::time::UNIX_EPOCH);
    assert_eq!(seconds.expect("after 1970").as_secs(), 1_900_000_000);
    assert_tree(mount.path(), ["split.vhd"]);
    mount.unmount();
}
