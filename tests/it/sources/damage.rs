//! Damaged images: nothing is shown that is not there, and the rest of an image is spared.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use super::{convert, create};
use crate::harness::images::open_past_cache;
use crate::harness::{
    Lab, MIB, Options, assert_tree, lines_with, list, listed_reasons, listed_views, random_image,
    run, vhdfs,
};
use rustix::io::Errno;

#[test]
fn a_download_that_broke_off_never_reads_as_zeros() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    random_image(&raw, 1, 8 * MIB);
    let image = folder.join("disk.qcow2");
    convert(&raw, "qcow2", "", &image);
    let whole = image.metadata().expect("an image").len();
    let file = File::options().write(true).open(&image).expect("an image");
    file.set_len(whole - 2 * MIB).expect("cut it");
    drop(file);
    let want = fs::read(&raw).expect("a disk");
    let options = Options::default().args(["--snapshot=never"]);
    let mount = options.foreground().mount(&folder);
    mount.expect_log("disk.qcow2: damaged: ");
    let view = open_past_cache(&mount.join("disk.vhd"));
    let (mut good, mut bad) = (0, 0);
    for at in (0..8 * MIB).step_by(65_536) {
        let mut bytes = AlignedBlock([0; 65_536]);
        match view.read_exact_at(&mut bytes.0, at) {
            Ok(()) => {
                good += 1;
                assert!(
                    bytes.0[..] == want[at as usize..][..65_536],
                    "wrong at {at}"
                );
            }
            Err(error) => {
                bad += 1;
                assert_eq!(Errno::from_io_error(&error), Some(Errno::IO), "{error}");
            }
        }
    }
    assert!(good > 64 && bad >= 32, "{good} {bad}");
    drop(view);
    let log = mount.log();
    let told = lines_with(&log, "damaged");
    assert_eq!(told.len(), 1, "{log}");
    assert!(
        told[0].contains("disk.qcow2") && told[0].contains("cut off"),
        "{log}"
    );
    mount.unmount();
    let output = run(vhdfs().arg("cat").arg(&image));
    assert_eq!(output.status.code(), Some(1), "cat of a cut-off image");
    let message = String::from_utf8(output.stderr).expect("text");
    assert!(message.contains("cut off"), "{message}");
}

/// Memory that O_DIRECT takes.
#[repr(align(4096))]
struct AlignedBlock([u8; 65_536]);

#[test]
fn damage_that_opening_sees_keeps_an_image_away() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    random_image(&raw, 1, 2 * MIB);
    for (name, format, options) in [
        ("a.qcow2", "qcow2", ""),
        ("b.vhd", "vpc", "subformat=dynamic"),
        ("c.vhdx", "vhdx", ""),
        ("d.vmdk", "vmdk", ""),
    ] {
        let image = folder.join(name);
        convert(&raw, format, options, &image);
        let file = File::options().write(true).open(&image).expect("an image");
        file.set_len(700).expect("cut it");
    }
    // In qcow2, bit 1 of the incompatible features says that it is corrupt.
    let marked = folder.join("e.qcow2");
    convert(&raw, "qcow2", "", &marked);
    let file = File::options().write(true).open(&marked).expect("an image");
    file.write_all_at(&[2], 79).expect("mark it");
    let mount = Options::default().foreground().mount(&folder);
    mount.expect_log("does not appear: ");
    for _ in 0..2 {
        assert_tree(mount.path(), [""; 0]);
    }
    let log = mount.log();
    mount.unmount();
    let reasons = listed_reasons(&list(&folder, &[]));
    assert_eq!(reasons.len(), 5, "{reasons:?}");
    for (name, reason) in &reasons {
        assert!(
            reason.contains("damaged") || reason.contains("corrupt") || reason.contains("cut off"),
            "{name}: {reason}"
        );
        assert_eq!(
            lines_with(&log, &format!(" {name}: does not appear")).len(),
            1,
            "{log}"
        );
    }
}

#[test]
fn what_is_encrypted_or_a_delta_is_refused_with_a_remedy() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    create(
        &folder,
        "qcow2",
        "--object secret,id=s,data=x -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 locked.qcow2 1M",
    );
    create(&folder, "vmdk", "base.vmdk 1M");
    create(&folder, "vmdk", "-b base.vmdk -F vmdk delta.vmdk");
    fs::write(folder.join("disc.img"), iso()).expect("an image");
    let found = list(&folder, &["--chains"]);
    let reasons = listed_reasons(&found);
    for (name, words) in [
        ("locked.qcow2", ["encrypted", "qemu-img convert"]),
        ("delta.vmdk", ["base.vmdk", "merge"]),
        ("disc.img", ["optical disc", "install"]),
    ] {
        let reason = &reasons[name];
        assert!(
            words.iter().all(|word| reason.contains(word)),
            "{name}: {reason}"
        );
    }
    assert_eq!(listed_views(&found).len(), 1);
}

/// The volume descriptor of an optical disc, and nothing else.
fn iso() -> Vec<u8> {
    let mut bytes = vec![0; 40_000];
    bytes[32_768..32_774].copy_from_slice(b"\x01CD001");
    bytes
}
