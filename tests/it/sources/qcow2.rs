//! qcow2 images with a history: snapshots, later writes, discards and zeros.

use std::path::Path;
use std::process::Command;

use super::{convert, qemu_img, unpack, verify};
use crate::harness::{Lab, MIB, Mount, random_bytes, run_ok, tool};

/// Options of the image, `-c` for compression, and whether commands of a later life follow.
const IMAGES: [&str; 8] = [
    "",
    "compat=0.10",
    "cluster_size=512",
    "cluster_size=2M",
    "extended_l2=on,cluster_size=16k",
    "-c",
    "-ccompression_type=zstd,cluster_size=4k",
    "-cextended_l2=on,compression_type=zstd",
];

/// Writes, zeros and discards that begin and end within clusters, subclusters and sectors.
const LATER: [&str; 8] = [
    "write -P 7 100k 300k",
    "write -z 1M 700k",
    "write -zu 3M 128k",
    "discard 5M 1M",
    "write -P 9 5120 512",
    "write -z 6145k 3k",
    "write -P 10 4098k 1k",
    "discard 4097k 4k",
];

fn live_on(image: &Path) {
    let mut command = Command::new(tool("qemu-io"));
    command.args(["-f", "qcow2", "-d", "unmap"]);
    for line in LATER {
        command.args(["-c", line]);
    }
    run_ok(command.arg(image));
}

#[test]
fn the_active_state_of_an_image_with_a_history_appears() {
    let lab = Lab::new();
    let (folder, disks) = (lab.folder("source"), lab.folder("disks"));
    let raw = lab.path().join("disk");
    let mut bytes = random_bytes(1, 7 * MIB as usize);
    bytes[2 * MIB as usize..4 * MIB as usize].fill(0);
    std::fs::write(&raw, bytes).expect("a disk");
    let mut images = Vec::new();
    for (number, options) in IMAGES.iter().enumerate() {
        let name = format!("{number}.qcow2");
        let image = folder.join(&name);
        convert(&raw, "qcow2", options, &image);
        qemu_img(&folder, &["snapshot", "-c", "one", &name]);
        live_on(&image);
        qemu_img(&folder, &["snapshot", "-c", "two", &name]);
        let disk = disks.join(&name);
        unpack(&image, "qcow2", &disk);
        images.push((image, disk));
    }
    let mount = Mount::new(&folder);
    for (number, (image, disk)) in images.iter().enumerate() {
        verify(image, disk, &mount.join(format!("{number}.vhd")));
    }
    mount.unmount();
}
