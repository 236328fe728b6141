//! azcopy uploads images that are not raw, and the oracle's bytes arrive.

use std::fs;

use super::machines::ova;
use super::{convert, unpack, verify};
use crate::harness::{Azurite, Lab, MIB, Mount, Options, random_image, set_mtime, snapshot_of};

/// What the lines of its log may take on a disk, in bytes; one image is 80 times as large.
const LOG: u64 = 64 << 10;

#[test]
fn azcopy_uploads_the_disks_in_images_of_all_formats() {
    let lab = Lab::new();
    let (folder, disks) = (lab.folder("source"), lab.folder("disks"));
    let raw = lab.path().join("disk");
    random_image(&raw, 1, 5 * MIB + 512);
    let formats = [
        ("compressed.qcow2", "qcow2", "-c"),
        ("dynamic.vhd", "vpc", "subformat=dynamic"),
        ("misaligned.vhd", "vpc", "subformat=fixed"),
        ("hyperv.vhdx", "vhdx", ""),
        ("vmware.vmdk", "vmdk", "-csubformat=streamOptimized"),
    ];
    for (name, format, options) in formats {
        convert(&raw, format, options, &folder.join(name));
        set_mtime(&folder.join(name), 1_700_000_000, 1);
        unpack(&folder.join(name), format, &disks.join(name));
    }
    ova(&lab, &folder, "machine", std::slice::from_ref(&raw), "");
    fs::copy(&raw, disks.join("machine.ova")).expect("a disk");
    let before = snapshot_of(&folder);
    let container = Azurite::start().container("images");
    let mount = Options::default().args(["--snapshot=never"]).mount(&folder);
    let written = written_to_disks(&mount);
    let sent = container.azcopy(mount.path(), &[]);
    let more = written_to_disks(&mount) - written;
    assert!(more <= LOG, "{more} bytes were written by the daemon");
    mount.unmount();
    before.assert_unchanged(&folder);
    let names: Vec<_> = formats.iter().map(|(name, ..)| *name).collect();
    let names = [&names[..], &["machine.ova"]].concat();
    assert_eq!((sent.completed, sent.failed), (names.len() as u64, 0));
    let downloads = lab.folder("downloads");
    container.download(&downloads);
    for name in names {
        let blob = downloads.join(name).with_extension("vhd");
        verify(&folder.join(name), &disks.join(name), &blob);
    }
}

/// Number of bytes that the processes of a mount have written to a disk, as the kernel counts them.
fn written_to_disks(mount: &Mount) -> u64 {
    let written = |pid: u32| {
        let counts = fs::read_to_string(format!("/proc/{pid}/io")).expect("what it did");
        let mut lines = counts.lines();
        let written = lines.find_map(|line| line.strip_prefix("write_bytes: "));
        written.expect("a line").parse::<u64>().expect("a number")
    };
    mount.pids().into_iter().map(written).sum()
}
