//! Second opinions: what other programs than qemu find in the images that they can read.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use super::convert;
use crate::harness::process::{python, test_file};
use crate::harness::{Lab, MIB, Mount, list, random_bytes, run_ok, stdout_of, tool};

/// Format and options, and whether dissect.hypervisor and 7-Zip read it. dissect reads neither extended L2 entries nor
/// half a grain, 7-Zip no stream.
const IMAGES: [(&str, &str, bool, bool); 12] = [
    ("qcow2", "", true, true),
    ("qcow2", "cluster_size=512", true, true),
    ("qcow2", "-c", true, true),
    ("vpc", "subformat=dynamic", true, true),
    ("vhdx", "", true, true),
    ("vhdx", "block_size=1M", true, true),
    ("vmdk", "", true, true),
    ("vmdk", "-csubformat=streamOptimized", true, false),
    ("vmdk", "subformat=twoGbMaxExtentSparse", true, true),
    ("vmdk", "subformat=monolithicFlat", true, true),
    ("vdi", "", true, true),
    ("vdi", "static=on", true, true),
];

fn dissect(format: &str, image: &Path) -> Vec<u8> {
    let mut command = python();
    command.arg("-B").arg(test_file("readers/dissect_disk.py"));
    run_ok(command.arg(format).arg(image)).stdout
}

fn seven_zip(image: &Path) -> Vec<u8> {
    run_ok(Command::new(tool("7z")).args(["x", "-so"]).arg(image)).stdout
}

/// What the crate for this format finds, if there is one.
fn crate_of_the_format(format: &str, image: &Path) -> Option<Vec<u8>> {
    let mut disk = Vec::new();
    match format {
        "vhdx" => {
            let mut reader = vhdx::VhdxReader::open(image).expect("vhdx-core opens it");
            reader.read_to_end(&mut disk).expect("vhdx-core reads it");
        }
        "vmdk" => {
            let mut reader = vmdk::VmdkReader::open_path(image).expect("vmdk-core opens it");
            reader.read_to_end(&mut disk).expect("vmdk-core reads it");
        }
        _ => return None,
    }
    Some(disk)
}

#[test]
fn other_readers_find_the_same_disks() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let mut bytes = random_bytes(1, MIB as usize);
    bytes.resize(2 * MIB as usize, 0);
    bytes.extend(b"compress me.".iter().cycle().take(MIB as usize));
    bytes.extend(random_bytes(2, MIB as usize));
    let raw = lab.path().join("disk");
    fs::write(&raw, bytes).expect("a disk");
    let name = |number: usize, format: &str| match format {
        "vpc" => format!("{number}.vhd"),
        _ => format!("{number}.{format}"),
    };
    for (number, (format, options, ..)) in IMAGES.iter().enumerate() {
        convert(&raw, format, options, &folder.join(name(number, format)));
    }
    let listed = list(&folder, &[]);
    let size = |name: &str| {
        let images = listed["images"].as_array().expect("images");
        let image = images.iter().find(|image| image["source"] == name);
        image.expect("it appears")["source_size"].as_u64()
    };
    let mount = Mount::new(&folder);
    for (number, &(format, options, by_dissect, by_seven_zip)) in IMAGES.iter().enumerate() {
        let name = name(number, format);
        let view = fs::read(mount.join(format!("{number}.vhd"))).expect("a view");
        let image = folder.join(&name);
        let mut opinions = Vec::new();
        if by_dissect {
            opinions.push(("dissect", dissect(format, &image)));
        }
        if by_seven_zip {
            opinions.push(("7z", seven_zip(&image)));
        }
        opinions.extend(crate_of_the_format(format, &image).map(|disk| ("its crate", disk)));
        for (reader, disk) in opinions {
            assert_eq!(size(&name), Some(disk.len() as u64), "{reader}: {name}");
            let same = view[..disk.len()] == disk;
            assert!(same, "{reader} finds another disk in {name} ({options})");
        }
        if format == "vpc" {
            let info = stdout_of(Command::new(tool("vhdiinfo")).arg(&image));
            let text = format!("({} bytes)", size(&name).expect("a size"));
            assert!(
                info.contains(&text) && info.contains(": Dynamic\n"),
                "{info}"
            );
        }
    }
    mount.unmount();
}
