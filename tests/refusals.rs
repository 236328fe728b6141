//! Whatever is refused is refused in one line, which names the culprit and says what to do.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::mount::{is_mount, wait_until};
use common::process::{describe, set_mode};
use common::root::{as_root, elsewhere};
use common::{Lab, MIB, Options, User, random_image, run, run_ok, tool};

/// A source folder, an empty folder to mount on, and the program where everybody can run it.
struct Place {
    lab: Lab,
    source: PathBuf,
    mountpoint: PathBuf,
    program: PathBuf,
}

impl Place {
    fn new() -> Self {
        let lab = Lab::new();
        let (source, mountpoint) = (lab.folder("source"), lab.folder("mnt"));
        random_image(&source.join("disk.raw"), 1, MIB);
        User::ordinary().own(&mountpoint);
        let program = lab.path().join("vhdfs");
        fs::copy(common::vhdfs().get_program(), &program).expect("copy the program");
        set_mode(&program, 0o755);
        Self {
            lab,
            source,
            mountpoint,
            program,
        }
    }

    fn vhdfs(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command
    }

    /// `vhdfs mount OPTIONS SOURCE MOUNTPOINT`
    fn mount(&self, options: &[&str]) -> Command {
        let mut command = self.vhdfs(&["mount"]);
        command
            .args(options)
            .arg(&self.source)
            .arg(&self.mountpoint);
        command
    }

    /// The same as somebody who is not root.
    fn mount_as_user(&self, options: &[&str]) -> Command {
        let mut command = self.mount(options);
        User::ordinary().will_run(&mut command);
        command
    }

    /// The same where `preparation` has changed the machine.
    fn mount_elsewhere(&self, preparation: &str, user: Option<User>, options: &[&str]) -> Command {
        let mut command = elsewhere(preparation, user);
        command.arg(&self.program).arg("mount").args(options);
        command.arg(&self.source).arg(&self.mountpoint);
        command
    }

    /// An ordinary file of this text.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.lab.path().join(name);
        fs::write(&path, text).expect("write a file");
        path
    }
}

/// Runs a command that must fail with `status`, nothing on standard output, and one line that
/// holds each of `words`: the culprit, and what to do.
#[track_caller]
fn refused(mut command: Command, status: i32, words: &[&str]) {
    let output = run(&mut command);
    let what = describe(&command, &output);
    assert_eq!(output.status.code(), Some(status), "{what}");
    assert!(output.stdout.is_empty(), "{what}");
    let text = String::from_utf8(output.stderr).expect("a message");
    assert!(
        text.starts_with("vhdfs: ") && text.ends_with('\n'),
        "{what}"
    );
    assert_eq!(text.lines().count(), 1, "{what}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {what}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a name of a test")
}

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
        place.mount(&[]),
        1,
        &[text(&good), "fuse.vhdfs", "`vhdfs umount`"],
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
    let mut command = as_root(&place.program);
    command.args(["mount", "--allow-other"]);
    run_ok(command.arg(&place.source).arg(&place.mountpoint));
    kill_daemon(&place.mountpoint);
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
}

/// Ends the daemon of a mount as a crash would.
fn kill_daemon(mountpoint: &Path) {
    let status = run_ok(
        as_root(common::vhdfs().get_program())
            .args(["status", "--json"])
            .arg(mountpoint),
    );
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
    run_ok(as_root("kill").arg("-9").arg(status["pid"].to_string()));
    let proc = PathBuf::from(format!("/proc/{}/exe", status["pid"]));
    wait_until("the end of the daemon", || proc.read_link().is_err()).unwrap();
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
    refused(command, 1, &[&name, "CAP_SYS_ADMIN"]);
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

    run_ok(
        as_root(&place.program)
            .arg("mount")
            .arg(&place.source)
            .arg(&place.mountpoint),
    );
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
    run_ok(as_root(&place.program).arg("umount").arg(&place.mountpoint));
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
        &[&folder, "not a file", "name an image"],
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

    let qcow2 = place.lab.path().join("disk.qcow2");
    run_ok(
        Command::new(tool("qemu-img"))
            .args(["create", "-q", "-f", "qcow2"])
            .arg(&qcow2)
            .arg("1M"),
    );
    refused(
        place.vhdfs(&["cat", text(&qcow2)]),
        1,
        &[text(&qcow2), "qcow2", "`qemu-img convert"],
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
