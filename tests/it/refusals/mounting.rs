//! What keeps `vhdfs mount` from mounting.

use rustix::process::Signal;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::place::{Place, refused, text};
use crate::harness::mount::{is_mount, wait_until};
use crate::harness::process::set_mode;
use crate::harness::root::as_root;
use crate::harness::{Options, User, run_ok, tool};

#[test]
fn a_source_that_is_not_there_or_closed() {
    let mut place = Place::new();
    let nothing = place.lab.path().join("nothing");
    let source = std::mem::replace(&mut place.source, nothing.clone());
    refused(
        place.mount(&[]),
        1,
        &[text(&nothing), "name an image, or a folder"],
    );
    refused(
        place.mount(&["-f"]),
        1,
        &[text(&nothing), "name an image, or a folder"],
    );

    let closed = place.lab.folder("closed");
    User::ordinary().own(&closed);
    set_mode(&closed, 0o000);
    place.source = closed.clone();
    refused(
        place.mount_as_user(&[]),
        1,
        &[
            text(&closed),
            "Permission denied",
            "as a user who may read it",
        ],
    );
    set_mode(&closed, 0o755);
    place.source = source;
}

#[test]
fn a_mount_point_that_will_not_do() {
    let mut place = Place::new();
    let good = place.mountpoint.clone();
    place.mountpoint = place.lab.path().join("nothing");
    let name = place.mountpoint.clone();
    refused(
        place.mount(&[]),
        1,
        &[text(&name), "does not exist", "`mkdir`"],
    );

    place.mountpoint = place.file("file", "");
    let name = place.mountpoint.clone();
    refused(
        place.mount(&[]),
        1,
        &[text(&name), "not a folder", "name an empty one"],
    );

    place.mountpoint = place.lab.folder("full");
    place.file("full/something", "");
    let name = place.mountpoint.clone();
    refused(
        place.mount(&[]),
        1,
        &[text(&name), "not empty", "name an empty folder"],
    );

    place.mountpoint = place.lab.folder("source/inside");
    let name = place.mountpoint.clone();
    refused(
        place.mount(&[]),
        1,
        &[text(&name), "contain one another", "elsewhere"],
    );
    place.mountpoint = place.source.clone();
    refused(
        place.mount(&[]),
        1,
        &[text(&place.source), "contain one another"],
    );
    place.mountpoint = place.lab.path().into();
    refused(
        place.mount(&[]),
        1,
        &[text(place.lab.path()), "contain one another"],
    );

    let circle = place.lab.path().join("circle");
    symlink("circle", &circle).expect("a link");
    place.mountpoint = circle.clone();
    refused(
        place.mount(&[]),
        1,
        &[text(&circle), "name an empty folder"],
    );

    place.mountpoint = good.clone();
    let mount = Options::default().at(&good).mount(&place.source);
    refused(
        place.mount(&["--uid", "7"]),
        1,
        &[text(&good), "has mounted", "`vhdfs umount`"],
    );
    mount.unmount();
}

#[test]
fn a_mount_point_of_somebody_else() {
    let place = Place::new();
    run_ok(as_root("chown").arg("0:0").arg(&place.mountpoint));
    let name = text(&place.mountpoint).to_owned();
    refused(
        place.mount_as_user(&[]),
        1,
        &[&name, "name a folder that you own"],
    );
}

#[test]
fn a_stale_mount_that_is_not_ours_to_remove() {
    let place = Place::new();
    let mount = Options::default()
        .args(["--allow-other"])
        .at(&place.mountpoint)
        .mount(&place.source);
    mount.signal(Signal::KILL);
    wait_until("the end of the daemon", || mount.pids().is_empty()).unwrap();
    // Root's stale mount: an ordinary user may see it, and not remove it.
    let name = text(&place.mountpoint).to_owned();
    refused(
        place.mount_as_user(&[]),
        1,
        &[&name, "daemon is gone", "`fusermount3 -uz`"],
    );
    let mut status = as_root(&place.program);
    status.arg("status").arg(&place.mountpoint);
    refused(
        status,
        1,
        &[&name, "does not answer", "`vhdfs umount --lazy`"],
    );
    run_ok(as_root(tool("umount")).arg("-l").arg(&place.mountpoint));
    mount.wait_gone();
}

#[test]
fn a_machine_without_fuse() {
    let place = Place::new();
    let bare = "mount -t tmpfs -o mode=755 none /dev; mknod -m 666 /dev/null c 1 3";
    let user = Some(User::ordinary());
    refused(
        place.mount_elsewhere(bare, None, &[]),
        1,
        &[
            "/dev/fuse is missing",
            "`modprobe fuse`",
            "--device /dev/fuse",
        ],
    );
    let closed = format!("{bare}; mknod -m 600 /dev/fuse c 10 229");
    refused(
        place.mount_elsewhere(&closed, user, &[]),
        1,
        &["/dev/fuse: Permission denied", "`chmod 666 /dev/fuse`"],
    );
    let configuration = place.file("fuse.conf", "# nothing\n");
    let strict = format!("mount --bind {} /etc/fuse.conf", configuration.display());
    refused(
        place.mount_elsewhere(&strict, user, &["--allow-other"]),
        1,
        &["`user_allow_other`", "/etc/fuse.conf"],
    );
}

#[test]
fn a_user_without_what_mounting_takes() {
    let place = Place::new();
    let mut command = place.mount_as_user(&[]);
    command.env("FUSERMOUNT_PATH", place.lab.path().join("nothing"));
    refused(
        command,
        1,
        &["`fusermount3` is missing", "the package fuse3"],
    );
    refused(
        place.mount(&["--auto-unmount"]),
        1,
        &["--auto-unmount", "--allow-other or --allow-root"],
    );
    let mut command = as_root(tool("setpriv"));
    command.arg("--bounding-set=-sys_admin").arg(&place.program);
    command
        .arg("mount")
        .arg(&place.source)
        .arg(&place.mountpoint);
    let name = text(&place.mountpoint).to_owned();
    let words = [
        name.as_str(),
        "not permitted",
        "CAP_SYS_ADMIN",
        "`vhdfs cat`",
    ];
    let mut without_helper = as_root(tool("setpriv"));
    without_helper.arg("--bounding-set=-sys_admin");
    let nothing = place.lab.path().join("nothing");
    without_helper
        .arg("env")
        .arg(format!("FUSERMOUNT_PATH={}", text(&nothing)));
    without_helper.args([
        &place.program,
        Path::new("mount"),
        &place.source,
        &place.mountpoint,
    ]);
    refused(command, 1, &words);
    refused(without_helper, 1, &words);
}

#[test]
fn too_few_descriptors() {
    let place = Place::new();
    for limit in [4, 6, 8] {
        let mut command = Command::new(tool("prlimit"));
        command
            .arg(format!("--nofile={limit}:{limit}"))
            .arg(&place.program);
        command
            .arg("mount")
            .arg(&place.source)
            .arg(&place.mountpoint);
        refused(command, 1, &["Too many open files", "`ulimit -n`"]);
        assert!(!is_mount(&place.mountpoint));
    }
}

#[test]
fn wrong_options() {
    let place = Place::new();
    let lists = "`vhdfs mount --help`";
    for (option, words) in [
        ("allow_othr", ["\"allow_othr\"", lists]),
        ("remount", ["\"remount\"", "unmount and mount again"]),
        ("uid=x", ["--uid", lists]),
        ("threads=1", ["--threads", lists]),
        ("file_mode=9", ["--file-mode", lists]),
        ("allow_other=1", ["--allow-other", lists]),
        ("allow_other,allow_root", ["--allow-root", lists]),
        ("snapshot=perhaps", ["--snapshot", lists]),
        ("options=x", ["\"options\"", lists]),
    ] {
        refused(place.mount(&["-o", option]), 2, &words);
    }
    for pattern in ["--include", "--exclude"] {
        refused(
            place.mount(&[pattern, "[a"]),
            2,
            &["'[a'", "patterns are those of the shell"],
        );
    }
    refused(
        place.mount(&["--snapshot-dir", "/nothing"]),
        1,
        &["/nothing", "name a writable folder"],
    );
    refused(
        place.mount(&["--log-file", "/nothing/log"]),
        1,
        &["/nothing/log", "name a file in a folder that exists"],
    );
    assert!(!is_mount(&place.mountpoint));
}
