//! `vhdfs check` of VHDs, field by field, and of what is no disk at all.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::harness::process::describe;
use crate::harness::{Lab, MIB, run, run_ok, sparse_image, tool, vhdfs};
use serde_json::Value;

const SIZE: u64 = 20 * MIB;

/// A valid fixed VHD of zeros.
fn valid_vhd(lab: &Lab) -> Vec<u8> {
    let raw = lab.path().join("disk.raw");
    sparse_image(&raw, 0, SIZE, &[]);
    run_ok(vhdfs().arg("cat").arg(&raw)).stdout
}

/// The findings beside the one that every disk has, which must lead to this exit status.
#[track_caller]
fn findings(image: &Path, status: i32) -> Vec<Value> {
    let mut command = vhdfs();
    command.args(["check", "--json", "--data-disk"]).arg(image);
    let output = run(&mut command);
    let what = describe(&command, &output);
    assert_eq!(output.status.code(), Some(status), "{what}");
    let mut report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["ready"], status == 0, "{what}");
    let findings = report["findings"].as_array_mut().expect("findings");
    findings.retain(|finding| finding["id"] != "size-upload");
    std::mem::take(findings)
}

fn ids(findings: &[Value]) -> Vec<&str> {
    let mut ids: Vec<_> = findings.iter().map(|f| f["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

fn sum_up(footer: &mut [u8]) {
    footer[64..68].fill(0);
    let sum: u32 = footer.iter().map(|&byte| u32::from(byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
}

#[test]
fn every_field_of_a_footer() {
    let lab = Lab::new();
    let good = valid_vhd(&lab);
    let image = lab.path().join("changed.vhd");
    let check = |footer: &[u8], status| {
        fs::write(&image, &good[..SIZE as usize]).unwrap();
        let file = File::options().append(true).open(&image).unwrap();
        std::io::Write::write_all(&mut &file, footer).unwrap();
        findings(&image, status)
    };
    let footer = &good[SIZE as usize..];
    assert_eq!(ids(&check(footer, 0)), [""; 0]);
    let grown = (SIZE + MIB).to_be_bytes();
    let odd = (SIZE - 512).to_be_bytes();
    // Offset, bytes there, findings, and what the first of them says was found.
    for (at, bytes, status, expected, found) in [
        (
            8,
            &[0, 0, 0, 0][..],
            0,
            &["vhd-field"][..],
            "features is 0x00000000",
        ),
        (8, &[0, 0, 0, 3], 0, &[], ""),
        (
            12,
            &[0, 2, 0, 0],
            0,
            &["vhd-field"],
            "version is 0x00020000",
        ),
        (
            16,
            &[0; 8],
            0,
            &["vhd-field"],
            "data offset is 0x0000000000000000",
        ),
        (16, &[0, 0, 0, 0, 255, 255, 255, 255], 0, &[], ""),
        (24, &[255; 4], 0, &[], ""),
        (28, b"qemu", 0, &[], ""),
        (32, &[9; 4], 0, &[], ""),
        (36, b"Mac ", 0, &[], ""),
        (
            40,
            &odd,
            0,
            &["vhd-field"],
            "original size is 20971008 bytes",
        ),
        (
            48,
            &grown,
            1,
            &["vhd-current-size", "vhd-field"],
            "current size is 22020096 bytes",
        ),
        // Its disk is shown with padding and another footer.
        (48, &odd, 0, &["source-format"], "the image is a fixed VHD"),
        (56, &[1, 2, 3, 4], 0, &[], ""),
        (60, &[0, 0, 0, 0], 1, &["vhd-type"], "disk type is 0"),
        (
            60,
            &[0, 0, 0, 3],
            1,
            &["vhd-type"],
            "disk type is 3 (dynamic), and a fixed VHD has type 2; damaged: ",
        ),
        (
            60,
            &[0, 0, 0, 4],
            1,
            &["vhd-type"],
            "disk type is 4 (differencing), and a fixed VHD has type 2; damaged: ",
        ),
        (68, &[7; 16], 0, &[], ""),
        (84, &[1], 0, &["vhd-field"], "saved state is 1"),
        (85, &[1], 0, &["vhd-field"], "reserved part is not zero"),
        (511, &[1], 0, &["vhd-field"], "reserved part is not zero"),
    ] {
        let mut changed = footer.to_vec();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        sum_up(&mut changed);
        let found_here = check(&changed, status);
        assert_eq!(ids(&found_here), expected, "{at}: {found_here:?}");
        if let Some(first) = found_here.first() {
            let message = first["message"].as_str().unwrap();
            assert!(message.contains(found), "{at}: {message}");
        }
        // The same without a new checksum.
        let mut changed = footer.to_vec();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        if changed != footer {
            let found_here = check(&changed, 1);
            let found_here = ids(&found_here);
            assert!(found_here.contains(&"vhd-checksum"), "{at}: {found_here:?}");
        }
    }
    let mut changed = footer.to_vec();
    changed[64..68].copy_from_slice(&[1, 2, 3, 4]);
    let found = check(&changed, 1);
    assert_eq!(ids(&found), ["vhd-checksum"]);
    let message = found[0]["message"].as_str().unwrap();
    assert!(message.contains("checksum is 0x01020304"), "{message}");
    changed[0] = b'x';
    assert_eq!(ids(&check(&changed, 1)), ["size-padding", "vhd-cookie"]);
}

#[test]
fn a_footer_and_nothing_before_it() {
    let lab = Lab::new();
    let good = valid_vhd(&lab);
    let image = lab.path().join("alone.vhd");
    fs::write(&image, &good[SIZE as usize..]).unwrap();
    assert_eq!(
        ids(&findings(&image, 1)),
        ["size-minimum", "vhd-current-size"]
    );
    let mut empty = good[SIZE as usize..].to_vec();
    empty[40..56].fill(0);
    sum_up(&mut empty);
    fs::write(&image, &empty).unwrap();
    assert_eq!(ids(&findings(&image, 1)), ["container", "size-minimum"]);
}

#[test]
fn other_containers_are_judged_by_their_disk_or_are_not_ready() {
    let lab = Lab::new();
    valid_vhd(&lab);
    let raw = lab.path().join("disk.raw");
    for (format, name) in [
        ("qcow2", None),
        ("vmdk", None),
        ("vhdx", None),
        ("vdi", None),
        ("qed", Some("QED")),
    ] {
        let image = lab.path().join(format!("disk.{format}"));
        let mut command = Command::new(tool("qemu-img"));
        command.args(["convert", "-f", "raw", "-O", format]);
        run_ok(command.arg(&raw).arg(&image));
        match name {
            Some(name) => assert_container(&image, name, "`qemu-img convert -O raw`"),
            None => assert_eq!(ids(&findings(&image, 0)), ["source-format"]),
        }
    }
    for (program, ending, name) in [
        ("gzip", "gz", "gzip"),
        ("xz", "xz", "xz"),
        ("zstd", "zst", "zstd"),
        ("bzip2", "bz2", "bzip2"),
    ] {
        let mut command = Command::new(tool(program));
        command.args(["--keep", "--quiet", "-1"]);
        run_ok(command.arg(&raw));
        let image = lab.path().join(format!("disk.raw.{ending}"));
        assert_container(&image, name, "decompress it");
    }
}

/// VHDs that Azure refuses are judged as the views that would be uploaded.
#[test]
fn dynamic_and_rounded_vhds_are_judged_by_their_views() {
    let lab = Lab::new();
    valid_vhd(&lab);
    let raw = lab.path().join("disk.raw");
    let convert = |name: &str, options: &str| {
        let image = lab.path().join(name);
        let mut command = Command::new(tool("qemu-img"));
        command.args(["convert", "-f", "raw", "-O", "vpc", "-o", options]);
        run_ok(command.arg(&raw).arg(&image));
        image
    };
    let dynamic = convert("dynamic.vhd", "subformat=dynamic");
    let rounded = convert("rounded.vhd", "subformat=fixed");
    for (image, name) in [(&dynamic, "dynamic VHD"), (&rounded, "fixed VHD")] {
        let found = findings(image, 0);
        let of_source = found.iter().find(|f| f["id"] == "source-format");
        let message = of_source.expect("its format")["message"].as_str().unwrap();
        assert!(message.contains(name), "{message}");
    }
    // The header of the dynamic disk, whose view is refused for it.
    let file = File::options().write(true).open(&dynamic).unwrap();
    file.write_all_at(b"damaged!", 512).unwrap();
    let found = findings(&dynamic, 1);
    assert_eq!(ids(&found), ["vhd-type"]);
    let message = found[0]["message"].as_str().unwrap();
    assert!(message.contains("damaged: the dynamic header"), "{message}");
}

#[track_caller]
fn assert_container(image: &Path, name: &str, remedy: &str) {
    let found = findings(image, 1);
    assert_eq!(ids(&found), ["container"]);
    let text = |key: &str| found[0][key].as_str().unwrap();
    assert!(text("message").contains(name), "{found:?}");
    assert!(text("remedy").contains(remedy), "{found:?}");
}

/// A boot sector of FAT32 whose tables have more bits than a parser counts in 32 bits.
fn overflowing_fat() -> Vec<u8> {
    let mut sector = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0xeb, 0x58, 0x90]);
    put(3, b"MSDOS5.0");
    // Bytes a sector, sectors a cluster, reserved sectors, tables.
    put(11, &[0, 2, 16, 32, 0, 1]);
    put(32, &0x7fff_ffff_u32.to_le_bytes());
    // Sectors of a table; root folder, information and backup sector.
    put(36, &0x0020_0000_u32.to_le_bytes());
    put(44, &[2, 0, 0, 0, 1, 0, 6, 0]);
    put(82, b"FAT32   ");
    put(510, &[0x55, 0xaa]);
    sector
}

/// A parser that gives up, as this one does in builds that look for overflows, must not leave its
/// last words on the terminal.
#[test]
fn damage_is_a_finding_and_nothing_else() {
    let lab = Lab::new();
    let image = lab.path().join("disk.raw");
    let file = File::create(&image).unwrap();
    file.set_len(SIZE).unwrap();
    let mut command = Command::new(tool("sgdisk"));
    run_ok(
        command
            .args(["-n", "1:2048:+4M", "-t", "1:ef00"])
            .arg(&image),
    );
    file.write_all_at(&overflowing_fat(), MIB).unwrap();
    let mut command = vhdfs();
    let output = run(command.args(["check", "--json"]).arg(&image));
    let what = describe(&command, &output);
    assert!(output.stderr.is_empty(), "{what}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let found = report["findings"].as_array().unwrap();
    assert!(ids(found).contains(&"efi-unreadable"), "{what}");
}
