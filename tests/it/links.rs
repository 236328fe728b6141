//! Entries that are no files: links, devices, FIFOs and sockets.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::harness::views::{assert_views, images};
use crate::harness::{
    Lab, Loop, MIB, Mount, Options, assert_tree, errno_of, lines_with, list, listed_reasons,
    random_image, run_ok, snapshot_of, tool, tree,
};
use rustix::io::Errno;

#[test]
fn links_inside_appear_as_what_they_point_to() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    images(&folder, &["a.raw", "sub/b.raw", "data.bin"]);
    let link = |target: &Path, name: &str| symlink(target, folder.join(name)).expect("a link");
    link(Path::new("a.raw"), "relative.raw");
    link(Path::new("../a.raw"), "sub/up.raw");
    link(&folder.join("sub/b.raw"), "absolute.raw");
    link(Path::new("relative.raw"), "chain.raw");
    link(Path::new("data.bin"), "renamed.raw");
    link(Path::new("sub"), "folder");
    link(Path::new("a.raw"), "unselected.txt");
    // A link's own name is the name of the disk; the oracle takes it from the path too.
    let expected = [
        ("a.raw", "a.vhd"),
        ("sub/b.raw", "sub/b.vhd"),
        ("relative.raw", "relative.vhd"),
        ("sub/up.raw", "sub/up.vhd"),
        ("absolute.raw", "absolute.vhd"),
        ("chain.raw", "chain.vhd"),
        ("renamed.raw", "renamed.vhd"),
        ("folder/b.raw", "folder/b.vhd"),
        ("folder/up.raw", "folder/up.vhd"),
    ];
    assert_views(&folder, &[], &expected);
    let mount = Mount::new(&folder);
    let kind = mount.join("folder").symlink_metadata().expect("a folder");
    assert!(kind.is_dir(), "a link to a folder appears as a folder");
    mount.unmount();
}

#[test]
fn links_outside_in_a_circle_or_to_nowhere_do_not_appear() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let outside = lab.folder("outside");
    images(&outside, &["secret.raw", "sub/secret.raw"]);
    images(&folder, &["a.raw", "sub/b.raw"]);
    let link = |target: &Path, name: &str| symlink(target, folder.join(name)).expect("a link");
    link(&outside.join("secret.raw"), "absolute.raw");
    link(Path::new("../outside/secret.raw"), "relative.raw");
    link(&outside, "folder");
    link(Path::new("../../outside"), "sub/folder");
    link(Path::new("folder/secret.raw"), "through.raw");
    link(Path::new("loop.raw"), "loop.raw");
    link(Path::new("two.raw"), "one.raw");
    link(Path::new("one.raw"), "two.raw");
    link(Path::new("nowhere"), "broken.raw");
    link(Path::new(".."), "sub/parent");
    link(Path::new("."), "self");
    link(Path::new("/proc/self/cwd"), "magic");
    let before = snapshot_of(&outside);
    let mount = Mount::new(&folder);
    assert_tree(mount.path(), ["a.vhd", "sub", "sub/b.vhd"]);
    mount.unmount();
    let reasons = listed_reasons(&list(&folder, &[]));
    for name in [
        "absolute.raw",
        "relative.raw",
        "folder",
        "sub/folder",
        "through.raw",
    ] {
        assert!(reasons[name].contains("outside"), "{name}: {reasons:?}");
    }
    for name in [
        "loop.raw",
        "one.raw",
        "broken.raw",
        "sub/parent",
        "self",
        "magic",
    ] {
        assert!(reasons[name].contains("circle"), "{name}: {reasons:?}");
    }
    before.assert_unchanged(&outside);
}

#[test]
fn special_files_do_not_appear() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    images(&folder, &["a.raw"]);
    run_ok(Command::new(tool("mkfifo")).arg(folder.join("fifo.raw")));
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket.raw"));
    symlink("/dev/null", folder.join("null.raw")).expect("a link");
    symlink("fifo.raw", folder.join("linked.raw")).expect("a link");
    run_ok(
        Command::new(tool("mknod"))
            .arg(folder.join("zero.raw"))
            .args(["c", "1", "5"]),
    );
    // Neither may a FIFO without a writer make anybody wait.
    for arguments in [&[][..], &["--all", "--allow-devices"]] {
        let mount = Mount::with(&folder, arguments);
        assert_tree(mount.path(), ["a.vhd"]);
        mount.unmount();
    }
    let reasons = listed_reasons(&list(&folder, &[]));
    assert!(reasons["fifo.raw"].contains("neither"), "{reasons:?}");
    assert_eq!(reasons.len(), 5, "{reasons:?}");
}

#[test]
fn block_devices_appear_only_where_they_are_allowed() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let backing = lab.path().join("backing");
    random_image(&backing, 1, MIB + 4096);
    let device = Loop::read_only(&backing);
    symlink(device.path(), folder.join("disk.raw")).expect("a link");
    images(&folder, &["a.raw"]);
    let mount = Mount::new(&folder);
    assert_tree(mount.path(), ["a.vhd"]);
    mount.unmount();
    let reasons = listed_reasons(&list(&folder, &[]));
    assert!(
        reasons["disk.raw"].contains("--allow-devices"),
        "{reasons:?}"
    );

    let mount = Mount::with(&folder, &["--allow-devices", "--snapshot=auto"]);
    assert_tree(mount.path(), ["a.vhd", "disk.vhd"]);
    let view = fs::read(mount.join("disk.vhd")).expect("a view");
    let body = fs::read(&backing).expect("the backing file");
    assert_eq!(view.len() as u64, 2 * MIB + 512);
    assert!(view[..body.len()] == body[..], "the device's bytes");
    assert!(view[body.len()..2 * MIB as usize].iter().all(|&b| b == 0));
    assert!(view[2 * MIB as usize..].starts_with(b"conectix"));
    mount.unmount();

    let single = Mount::with(device.path(), &["--allow-devices", "--snapshot=auto"]);
    let name = tree(single.path()).into_iter().next().expect("a view");
    let bytes = fs::read(single.join(name)).expect("a view");
    assert!(bytes[..body.len()] == body[..], "the device's bytes");
    single.unmount();
}

#[test]
fn a_device_that_holds_a_container_is_told_to_the_log_once() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let backing = lab.path().join("backing");
    let mut create = Command::new(tool("qemu-img"));
    create.args(["create", "-q", "-f", "qed"]).arg(&backing);
    run_ok(create.arg("4M"));
    let file = File::options().append(true).open(&backing);
    file.and_then(|file| file.set_len(MIB))
        .expect("whole sectors");
    let device = Loop::read_only(&backing);
    symlink(device.path(), folder.join("disk.raw")).expect("a link");
    let options = Options::default().args(["--allow-devices", "--snapshot=auto"]);
    let mount = options.foreground().mount(&folder);
    mount.expect_log("disk.raw: does not appear: QED: ");
    for _ in 0..3 {
        assert_tree(mount.path(), [""; 0]);
        assert_eq!(errno_of(mount.join("disk.vhd").metadata()), Errno::NOENT);
    }
    let log = mount.log();
    let told = lines_with(&log, "disk.raw");
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("QED"), "{log}");
    mount.unmount();
}
