//! Real readers of VHD accept what is mounted, at its exact size.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::process::{python, test_file};
use crate::harness::{
    Lab, MIB, Mount, random_image, run_ok, snapshot_of, sparse_image, stdout_of, tool,
};
use serde_json::Value;

/// One source, and its view in the mount.
struct Case {
    raw: PathBuf,
    vhd: PathBuf,
    virtual_size: u64,
}

/// Mounts sources of many sizes and gives each to `read`; nothing may have been written.
fn each_case(read: impl Fn(&Lab, &Case)) {
    let lab = Lab::new();
    let source = lab.folder("source");
    let sizes = [1, 511, 512, MIB - 1, MIB, MIB + 1, 3 * MIB + 77, 20 * MIB];
    for size in sizes {
        random_image(&source.join(format!("{size}.raw")), size, size);
    }
    let sparse = 9 * MIB + 1;
    let data = [(0, 512), (5 * MIB - 7, 70_000), (sparse - 1, 1)];
    sparse_image(&source.join(format!("{sparse}.raw")), 7, sparse, &data);
    let before = snapshot_of(&source);

    let mount = Mount::new(&source);
    for size in sizes.into_iter().chain([sparse]) {
        let case = Case {
            raw: source.join(format!("{size}.raw")),
            vhd: mount.join(format!("{size}.vhd")),
            virtual_size: size.next_multiple_of(MIB),
        };
        read(&lab, &case);
    }
    mount.unmount();
    before.assert_unchanged(&source);
}

/// qemu takes every fixed VHD for raw unless it is told.
fn qemu_size(vhd: &Path) -> u64 {
    let text = stdout_of(
        Command::new(tool("qemu-img"))
            .args(["info", "-f", "vpc", "--output", "json"])
            .arg(vhd),
    );
    let info: Value = serde_json::from_str(&text).expect("JSON");
    info["virtual-size"].as_u64().expect("a size")
}

fn vhdiinfo(vhd: &Path) -> String {
    stdout_of(Command::new(tool("vhdiinfo")).arg(vhd))
}

#[test]
fn qemu_reads_the_padded_source() {
    each_case(|lab, case| {
        assert_eq!(qemu_size(&case.vhd), case.virtual_size);
        let padded = lab.path().join("padded");
        fs::copy(&case.raw, &padded).expect("copy a source");
        File::options()
            .write(true)
            .open(&padded)
            .and_then(|file| file.set_len(case.virtual_size))
            .expect("pad a copy");
        let text = stdout_of(
            Command::new(tool("qemu-img"))
                .args(["compare", "-f", "raw", "-F", "vpc"])
                .args([&padded, &case.vhd]),
        );
        // Nothing else: it warns of different sizes and calls such images identical all the same.
        assert_eq!(text, "Images are identical.\n");
    });
}

#[test]
fn libvhdi_reads_the_footer() {
    each_case(|_, case| {
        let info = vhdiinfo(&case.vhd);
        assert!(info.contains(": Fixed\n"), "{info}");
        let size = format!("({} bytes)", case.virtual_size);
        assert!(info.contains(&size), "{size}: {info}");
    });
}

#[test]
fn seven_zip_tests_the_archive() {
    each_case(|_, case| {
        let text = stdout_of(Command::new(tool("7z")).arg("t").arg(&case.vhd));
        for line in [
            "Type = VHD".to_string(),
            "Method = Fixed".to_string(),
            "Everything is Ok".to_string(),
            format!("Size:       {}", case.virtual_size),
            format!("Compressed: {}", case.virtual_size + 512),
        ] {
            assert!(text.lines().any(|l| l == line), "no `{line}` in:\n{text}");
        }
        assert!(!text.contains("WARNING"), "{text}");
    });
}

#[test]
fn dissect_reads_every_sector() {
    each_case(|_, case| {
        run_ok(
            python()
                .arg("-B")
                .arg(test_file("readers/dissect_read.py"))
                .args([&case.raw, &case.vhd])
                .arg(case.virtual_size.to_string()),
        );
    });
}

/// Above 127.5 GiB no geometry holds the size; readers must take it from elsewhere.
#[test]
fn sizes_beyond_every_geometry_are_read_exactly() {
    let lab = Lab::new();
    let source = lab.folder("source");
    let size = 1024 << 30;
    sparse_image(&source.join("large.raw"), 3, size, &[(size / 2, 4096)]);
    let mount = Mount::new(&source);
    let vhd = mount.join("large.vhd");
    assert_eq!(qemu_size(&vhd), size);
    let info = vhdiinfo(&vhd);
    assert!(info.contains(&format!("({size} bytes)")), "{info}");
    mount.unmount();
}
