//! Images in other formats, and VHDs of qemu-img.

use std::path::PathBuf;

use check::Options;

use super::tools::{DATA, Folder, MIB, assert_findings, check, ids, run};

fn converted(folder: &Folder, size: u64, format: &str, options: &str) -> PathBuf {
    let raw = folder.sparse("disk.raw", size);
    let image = folder.path(&format!("disk.{format}"));
    let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> =
        vec![&"convert", &"-f", &"raw", &"-O", &format];
    if !options.is_empty() {
        args.extend([&"-o" as &dyn AsRef<std::ffi::OsStr>, &options]);
    }
    args.extend([&raw as &dyn AsRef<std::ffi::OsStr>, &image]);
    run("qemu-img", &args);
    image
}

#[test]
fn formats_that_azure_does_not_take() {
    let folder = Folder::new();
    for format in ["qcow2", "vhdx", "vmdk", "vdi", "qed"] {
        let image = converted(&folder, 20 * MIB, format, "");
        assert_eq!(
            ids(&check(&image, Options::default())),
            ["container"],
            "{format}"
        );
    }
    let dynamic = converted(&folder, 20 * MIB, "vpc", "");
    assert_eq!(ids(&check(&dynamic, Options::default())), ["vhd-type"]);
}

#[test]
fn fixed_vhds_of_qemu_img() {
    let folder = Folder::new();
    let exact = converted(&folder, 20 * MIB, "vpc", "subformat=fixed,force_size=on");
    assert_findings(&exact, DATA, &[]);
    let mut bytes = std::fs::read(&exact).unwrap();
    // Without force_size the size is rounded up to a geometry, as the guide warns.
    let rounded = converted(&folder, 20 * MIB, "vpc", "subformat=fixed");
    assert_findings(&rounded, DATA, &["vhd-geometry-size"]);
    let last = bytes.len() - 512;
    bytes[last + 24] ^= 1;
    let damaged = folder.file("damaged.vhd", &bytes);
    assert_findings(&damaged, DATA, &["vhd-checksum"]);
    bytes.truncate(last);
    let cut = folder.file("cut.vhd", &bytes);
    assert_findings(&cut, DATA, &["vhd-cookie"]);
    let raw = folder.file("cut.raw", &bytes);
    assert_findings(&raw, DATA, &[]);
    bytes.truncate(last - 300);
    let padded = folder.file("padded.raw", &bytes);
    let report = assert_findings(&padded, DATA, &["size-padding"]);
    let padding = report
        .findings
        .iter()
        .find(|f| f.id == "size-padding")
        .unwrap();
    assert!(
        padding.message.starts_with("300 zero bytes"),
        "{}",
        padding.message
    );
    let upload = report
        .findings
        .iter()
        .find(|f| f.id == "size-upload")
        .unwrap();
    assert!(upload.message.ends_with(" 20972032"), "{}", upload.message);
}
