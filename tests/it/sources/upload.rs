//! azcopy uploads images that are not raw, and the oracle's bytes arrive.

use super::{convert, unpack, verify};
use crate::harness::{Azurite, Lab, MIB, Mount, random_image, set_mtime, snapshot_of};

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
    let before = snapshot_of(&folder);
    let container = Azurite::start().container("images");
    let mount = Mount::new(&folder);
    let sent = container.azcopy(mount.path(), &[]);
    mount.unmount();
    before.assert_unchanged(&folder);
    assert_eq!((sent.completed, sent.failed), (formats.len() as u64, 0));
    let downloads = lab.folder("downloads");
    container.download(&downloads);
    for (name, ..) in formats {
        let blob = downloads.join(name).with_extension("vhd");
        verify(&folder.join(name), &disks.join(name), &blob);
    }
}
