//! What the other commands refuse.

use std::fs::File;
use std::process::Command;

use super::place::{Place, refused, text};
use crate::harness::process::{describe, set_mode};
use crate::harness::{Options, User, random_image, run, run_ok, tool};

#[test]
fn arguments_that_make_no_sense_are_explained_at_length() {
    let place = Place::new();
    for arguments in [
        &["mount"][..],
        &["mount", "--allow-othr", "a", "b"],
        &["mount", "--allow-other", "--allow-root", "a", "b"],
        &["unknown"],
        &[],
        &["cat", "a", "b"],
    ] {
        let mut command = place.vhdfs(arguments);
        let output = run(&mut command);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{}",
            describe(&command, &output)
        );
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: vhdfs"));
    }
}

#[test]
fn unmounting_what_is_not_ours_or_in_use() {
    let place = Place::new();
    let name = text(&place.mountpoint).to_owned();
    let umount = |folder: &str| place.vhdfs(&["umount", folder]);
    let advice = "`findmnt -t fuse.vhdfs`";
    for folder in [name.as_str(), "/proc", "/nothing"] {
        refused(
            umount(folder),
            1,
            &[folder, "vhdfs has mounted nothing there", advice],
        );
    }
    let mount = Options::default()
        .at(&place.mountpoint)
        .mount(&place.source);
    let open = File::open(mount.join("disk.vhd")).expect("open a view");
    refused(
        umount(&name),
        1,
        &[&name, "in use", "`fuser -vm`", "--lazy"],
    );
    drop(open);
    mount.unmount();

    let mount = Options::default()
        .at(&place.mountpoint)
        .mount(&place.source);
    let mut command = umount(&name);
    User::ordinary().will_run(&mut command);
    refused(command, 1, &[&name, "not permitted", "as root"]);
    let mut command = umount(&name);
    User::ordinary().will_run(&mut command);
    command.env("FUSERMOUNT_PATH", place.lab.path().join("nothing"));
    refused(
        command,
        1,
        &[&name, "`fusermount3` is missing", "the package fuse3"],
    );
    let mut command = place.vhdfs(&["status", &name]);
    User::ordinary().will_run(&mut command);
    refused(command, 1, &[&name, "another user mounted it", "as root"]);
    mount.unmount();
}

#[test]
fn a_status_of_nothing() {
    let place = Place::new();
    let name = text(&place.mountpoint).to_owned();
    for folder in [name.as_str(), "/proc", "/nothing"] {
        let words = [
            folder,
            "vhdfs has mounted nothing there",
            "`findmnt -t fuse.vhdfs`",
        ];
        refused(place.vhdfs(&["status", folder]), 1, &words);
    }
}

#[test]
fn files_that_cannot_be_listed_inspected_or_written_out() {
    let place = Place::new();
    let image = place.source.join("closed.raw");
    random_image(&image, 2, 512);
    User::ordinary().own(&image);
    set_mode(&image, 0o000);
    let folder = text(&place.source).to_owned();
    for command in ["list", "inspect", "cat"] {
        refused(
            place.vhdfs(&[command, "/nothing"]),
            1,
            &["/nothing", "name an image"],
        );
    }
    for command in ["inspect", "cat"] {
        let mut command = place.vhdfs(&[command, text(&image)]);
        User::ordinary().will_run(&mut command);
        refused(command, 1, &[text(&image), "as a user who may read it"]);
    }
    refused(
        place.vhdfs(&["inspect", &folder]),
        1,
        &[&folder, "is a directory", "name one image"],
    );
    refused(
        place.vhdfs(&["cat", &folder]),
        1,
        &[&folder, "name one image"],
    );

    let closed = place.lab.folder("closed");
    User::ordinary().own(&closed);
    set_mode(&closed, 0o000);
    let mut command = place.vhdfs(&["list", text(&closed)]);
    User::ordinary().will_run(&mut command);
    refused(command, 1, &[text(&closed), "as a user who may read it"]);
    set_mode(&closed, 0o755);

    let qed = place.lab.path().join("disk.qed");
    run_ok(
        Command::new(tool("qemu-img"))
            .args(["create", "-q", "-f", "qed"])
            .arg(&qed)
            .arg("1M"),
    );
    refused(
        place.vhdfs(&["cat", text(&qed)]),
        1,
        &[text(&qed), "QED", "`qemu-img convert"],
    );
    refused(
        place.vhdfs(&["generate", "/proc/nothing"]),
        1,
        &["/proc/nothing", "name a folder that you may write"],
    );
}

#[test]
fn an_output_that_takes_no_image() {
    let place = Place::new();
    let image = place.source.join("disk.raw");
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    for command in ["cat", "inspect", "list"] {
        let mut command = place.vhdfs(&[command, text(&image)]);
        let output = command
            .stdout(full.try_clone().expect("/dev/full"))
            .stderr(std::process::Stdio::piped())
            .spawn()
            .and_then(|child| child.wait_with_output())
            .expect("run vhdfs");
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains("standard output") && text.contains("make room"),
            "{text}"
        );
    }
    // script(1) gives the command a terminal, and copies what it says.
    let mut command = Command::new(tool("script"));
    let cat = format!("{} cat {}", place.program.display(), image.display());
    command.args(["--quiet", "--return", "--command", &cat, "/dev/null"]);
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("is a terminal") && said.contains("redirect it"),
        "{said}"
    );
}
