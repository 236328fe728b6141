//! Where vhdfs mounts: on any file system, on the root of one, on a folder that it makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::mount::{is_mount, wait_until};
use crate::harness::process::describe;
use crate::harness::root::as_root;
use crate::harness::{Lab, MIB, User, random_image, run, run_ok, stdout_of, tool, vhdfs};

/// A source folder with one image.
fn source(lab: &Lab) -> PathBuf {
    let source = lab.folder("source");
    random_image(&source.join("disk.raw"), 1, MIB);
    source
}

fn mount(arguments: &[&str], source: &Path, mountpoint: &Path) -> Command {
    let mut command = vhdfs();
    command
        .arg("mount")
        .args(arguments)
        .arg(source)
        .arg(mountpoint);
    command
}

/// Mounts in a mount namespace of its own, where `preparation` made `$1` the root of some file
/// system, and says what is mounted there before and after.
#[track_caller]
fn on_the_root_of(preparation: &str) {
    let lab = Lab::new();
    let (source, mountpoint) = (source(&lab), lab.folder("mnt"));
    let script = format!(
        r#"set -e
        {preparation}
        before=$(findmnt -n -o FSTYPE --mountpoint "$1")
        "$0" mount "$2" "$1"
        test "$(stat -c %s "$1/disk.vhd")" = 1049088
        "$0" umount "$1"
        test "$(findmnt -n -o FSTYPE --mountpoint "$1")" = "$before""#
    );
    let mut command = as_root(tool("unshare"));
    command.args(["--mount", "--propagation", "private", "bash", "-c", &script]);
    command.arg(vhdfs().get_program());
    run_ok(command.arg(&mountpoint).arg(&source));
}

#[test]
fn the_root_of_a_tmpfs() {
    on_the_root_of("mount -t tmpfs none \"$1\"");
}

#[test]
fn a_bind_mount() {
    on_the_root_of("mkdir \"$1.volume\"; mount --bind \"$1.volume\" \"$1\"");
}

#[test]
fn a_new_ext4() {
    on_the_root_of(
        "truncate -s 4M \"$1.ext4\"; mkfs.ext4 -q \"$1.ext4\"; mount -o loop \"$1.ext4\" \"$1\"
         test -d \"$1/lost+found\"",
    );
}

#[test]
fn a_root_that_holds_something_is_refused() {
    let lab = Lab::new();
    let (source, mountpoint) = (source(&lab), lab.folder("mnt"));
    let script = r#"mount -t tmpfs none "$1" && touch "$1/note" && ! "$0" mount "$2" "$1""#;
    let mut command = as_root(tool("unshare"));
    command.args(["--mount", "--propagation", "private", "bash", "-c", script]);
    command.arg(vhdfs().get_program());
    let output = run_ok(command.arg(&mountpoint).arg(&source));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("is not empty"), "{text}");
}

#[test]
fn the_same_mount_again_is_there_already() {
    let lab = Lab::new();
    let source = source(&lab);
    let options = ["-o", "allow_other,uid=7,nofail"];
    let mountpoint = lab.folder("mnt");
    run_ok(&mut mount(&options, &source, &mountpoint));
    let again = |arguments: &[&str]| {
        let mut command = mount(arguments, &source, &mountpoint);
        (run(&mut command), command)
    };
    for same in [
        &["--uid", "7", "--allow-other"][..],
        &options[..],
        &["--uid=7", "-o", "rw,allow_other", "-v", "--snapshot=auto"],
    ] {
        let (output, command) = again(same);
        let what = describe(&command, &output);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{what}"
        );
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.lines().count(), 1, "{what}");
        assert!(text.contains("mounted already"), "{what}");
    }
    for other in [
        &["--allow-other"][..],
        &["--uid=8", "--allow-other"],
        &["--uid=7", "--allow-other", "--all"],
    ] {
        let (output, command) = again(other);
        let what = describe(&command, &output);
        assert_eq!(output.status.code(), Some(1), "{what}");
        assert!(what.contains("vhdfs has mounted"), "{what}");
    }
    let elsewhere = lab.folder("elsewhere");
    let mut command = mount(&["--uid=7", "--allow-other"], &elsewhere, &mountpoint);
    assert_eq!(run(&mut command).status.code(), Some(1));
    run_ok(vhdfs().arg("umount").arg(&mountpoint));
}

#[test]
fn a_mount_point_is_made_and_removed() {
    for sandbox in ["auto", "off"] {
        made_and_removed(&["--mkdir", "--sandbox", sandbox], None);
    }
    made_and_removed(&["-o", "mkdir"], Some(User::ordinary()));
}

#[track_caller]
fn made_and_removed(arguments: &[&str], user: Option<User>) {
    let lab = Lab::new();
    let (source, above) = (source(&lab), lab.folder("above"));
    let program = lab.path().join("vhdfs");
    crate::harness::process::copy_program(&program);
    let command = |name: &str| {
        let mut command = Command::new(&program);
        if let Some(user) = user {
            user.will_run(&mut command);
        }
        command.arg(name);
        command
    };
    if let Some(user) = user {
        user.own(&above);
    }
    let mountpoint = above.join("a/b");
    run_ok(
        command("mount")
            .args(arguments)
            .arg(&source)
            .arg(&mountpoint),
    );
    assert!(is_mount(&mountpoint));
    run_ok(command("umount").arg(&mountpoint));
    // `vhdfs umount` returns when the daemon has ended.
    assert!(above.is_dir() && !above.join("a").exists());

    // What cannot be mounted leaves no folder behind; what was there before stays.
    let mut wrong = command("mount");
    wrong.args(arguments).args(["--snapshot-dir", "/nothing"]);
    assert_eq!(
        run(wrong.arg(&source).arg(&mountpoint)).status.code(),
        Some(1)
    );
    assert!(!above.join("a").exists());
    let there = above.join("there");
    fs::create_dir(&there).expect("a folder");
    if let Some(user) = user {
        user.own(&there);
    }
    run_ok(command("mount").args(arguments).arg(&source).arg(&there));
    run_ok(command("umount").arg(&there));
    assert!(there.is_dir());
}

#[test]
fn nothing_of_the_daemon_is_left_when_unmounting_returns() {
    let lab = Lab::new();
    let (source, mountpoint) = (source(&lab), lab.folder("mnt"));
    run_ok(&mut mount(&[], &source, &mountpoint));
    let status = stdout_of(vhdfs().args(["status", "--json"]).arg(&mountpoint));
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let process = PathBuf::from(format!("/proc/{}/exe", status["pid"]));
    assert!(process.read_link().is_ok());
    run_ok(vhdfs().arg("umount").arg(&mountpoint));
    assert!(process.read_link().is_err());
    wait_until("the end of the mount", || !is_mount(&mountpoint)).unwrap();
}
