//! Folders that ignore case: what is listed can be opened, and nothing else.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::ignoring_case::IgnoringCase;
use crate::harness::{
    Lab, MIB, Mount, assert_tree, errno_of, oracle_verify, random_image, run_ok, tool, tree,
};
use rustix::io::Errno;

/// NTFS as a program serves it that finds files in any case; unmounted with the value.
pub(crate) struct Ntfs {
    pub(crate) folder: PathBuf,
    _lab: Lab,
}

impl Ntfs {
    pub(crate) fn new() -> Self {
        let lab = Lab::new();
        let (image, folder) = (lab.path().join("image"), lab.folder("ntfs"));
        File::create(&image)
            .and_then(|file| file.set_len(32 << 20))
            .expect("a sparse file");
        run_ok(
            Command::new(tool("mkfs.ntfs"))
                .args(["-F", "-Q", "-q"])
                .arg(&image),
        );
        run_ok(
            Command::new(tool("lowntfs-3g"))
                .args(["-o", "ignore_case"])
                .arg(&image)
                .arg(&folder),
        );
        Self { folder, _lab: lab }
    }
}

impl Drop for Ntfs {
    fn drop(&mut self) {
        run_ok(Command::new(tool("umount")).arg("-l").arg(&self.folder));
    }
}

#[test]
fn what_is_listed_opens_and_nothing_else_where_case_is_ignored() {
    // ntfs-3g lists all names in small letters then.
    listed_names_open_and_no_others(&Ntfs::new().folder, ["disk.raw", "sub", "other"]);
}

/// Tries a mount of a folder that ignores case: one with the image `Disk.RAW` and the folder `Sub` with the
/// image `Other.img`, whose names it lists as `listed`, without the last extension.
pub(crate) fn listed_names_open_and_no_others(folder: &Path, listed: [&str; 3]) {
    random_image(&folder.join("Disk.RAW"), 1, MIB);
    random_image(&folder.join("Sub/Other.img"), 2, MIB);
    assert!(folder.join("DISK.raw").exists(), "case matters here");
    let [image, sub, other] = listed;
    let (stem, _) = image.split_once('.').expect("an extension");
    let views = [format!("{stem}.vhd"), format!("{sub}/{other}.vhd")];
    // Look-ups before any listing: each has to find its name alone.
    let mount = Mount::new(folder);
    for name in &views {
        File::open(mount.join(name)).expect("a view that is listed");
    }
    for name in [
        "Disk.vhd",
        "disk.vhd",
        "DISK.VHD",
        "disk.raw.vhd",
        "Disk.RAW.vhd",
        "disk.RAW.vhd",
        "SUB/other.vhd",
        "sub/OTHER.vhd",
        "Sub/other.vhd",
    ] {
        if !views.iter().any(|view| view == name) {
            let found = mount.join(name).symlink_metadata();
            assert_eq!(errno_of(found), Errno::NOENT, "{name}");
        }
    }
    assert_tree(mount.path(), [&views[0], sub, &views[1]]);
    oracle_verify(&folder.join(image), &mount.join(&views[0]));
    let views = tree(mount.path());
    for view in views.iter().filter(|view| mount.join(view).is_file()) {
        fs::read(mount.join(view)).expect("a view that is listed");
    }
    mount.unmount();
}

#[test]
fn names_that_differ_in_case_alone_are_one_where_case_is_ignored() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let image = |byte| vec![byte; 4096];
    let files = [
        ("Disk.RAW", image(1)),
        ("disk.img", image(2)),
        ("Alone.Raw", image(3)),
    ];
    let _files = IgnoringCase::on(&folder, &files);
    assert!(folder.join("ALONE.raw").exists(), "case matters here");
    let mount = Mount::new(&folder);
    for (name, byte) in [("Disk.RAW.vhd", 1), ("disk.img.vhd", 2), ("Alone.vhd", 3)] {
        let view = fs::read(mount.join(name)).expect("a view that is listed");
        assert!(view[..4096] == image(byte), "{name}");
    }
    for name in [
        "Disk.vhd",
        "disk.vhd",
        "disk.raw.vhd",
        "DISK.img.vhd",
        "alone.vhd",
        "ALONE.vhd",
        "Alone.Raw.vhd",
    ] {
        let found = mount.join(name).symlink_metadata();
        assert_eq!(errno_of(found), Errno::NOENT, "{name}");
    }
    assert_tree(mount.path(), ["Alone.vhd", "Disk.RAW.vhd", "disk.img.vhd"]);
    mount.unmount();
}
