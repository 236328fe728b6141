//! Mounts beside, on and inside of each other: none ends another, none shows itself.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::harness::mount::is_mount;
use crate::harness::{
    Lab, MIB, Mount, Options, assert_tree, errno_of, eventually, oracle_verify, random_image, run,
    run_ok, tool, vhdfs,
};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

/// A mount that shows what another does; gone with the value.
struct Bind(PathBuf);

impl Bind {
    fn new(from: &Path, to: &Path) -> Self {
        run_ok(Command::new(tool("mount")).arg("--bind").arg(from).arg(to));
        Self(to.to_path_buf())
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        run_ok(Command::new(tool("umount")).arg("-l").arg(&self.0));
    }
}

fn source(lab: &Lab, name: &str) -> PathBuf {
    let folder = lab.folder(name);
    random_image(&folder.join(format!("{name}.raw")), 1, MIB);
    folder
}

#[test]
fn a_daemon_that_ends_leaves_the_mount_alone_that_lies_on_its_own() {
    for sandbox in ["--sandbox=auto", "--sandbox=off"] {
        let lab = Lab::new();
        let (below, above) = (source(&lab, "below"), source(&lab, "above"));
        let mount = Options::default()
            .args([sandbox])
            .expect_log("another mount lies on")
            .allow_log("files still open")
            .foreground()
            .mount(&below);
        let other = Mount::with(&above, &[]);
        let stacked = Bind::new(other.path(), mount.path());
        assert_tree(mount.path(), ["above.vhd"]);
        let pid = mount.pids()[0];
        let pid = Pid::from_raw(pid as i32).expect("a process id");
        kill_process(pid, Signal::TERM).expect("SIGTERM");
        eventually("the end of the daemon", || mount.pids().is_empty());
        assert_tree(mount.path(), ["above.vhd"]);
        oracle_verify(&above.join("above.raw"), &mount.join("above.vhd"));
        let log = mount.log();
        assert!(log.contains("another mount lies on"), "{log}");
        drop(stacked);
        run(Command::new(tool("umount")).arg("-l").arg(mount.path()));
        mount.wait_gone();
        other.unmount();
    }
}

#[test]
fn of_mounts_that_are_started_at_once_on_one_folder_one_is_made() {
    let lab = Lab::new();
    let mountpoint = lab.folder("mnt");
    let sources: Vec<_> = (0..6).map(|n| source(&lab, &format!("s{n}"))).collect();
    let started: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> = sources
            .iter()
            .map(|source| {
                let mut command = vhdfs();
                command.arg("mount").arg(source).arg(&mountpoint);
                scope.spawn(move || run(&mut command))
            })
            .collect();
        starts
            .into_iter()
            .map(|one| one.join().expect("a start"))
            .collect()
    });
    let mounted: Vec<_> = started.iter().filter(|one| one.status.success()).collect();
    for refused in started.iter().filter(|one| !one.status.success()) {
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(text.contains("there already"), "{text}");
    }
    run_ok(vhdfs().arg("umount").arg(&mountpoint));
    assert!(!is_mount(&mountpoint), "there was another below");
    assert_eq!(mounted.len(), 1);
}

#[test]
fn a_mount_inside_of_its_own_source_does_not_show_itself() {
    let lab = Lab::new();
    let folder = source(&lab, "source");
    let inside = folder.join("inside");
    fs::create_dir(&inside).expect("a folder");
    let mount = Mount::new(&folder);
    assert_tree(mount.path(), ["inside", "source.vhd"]);
    let bound = Bind::new(mount.path(), &inside);
    eventually("the folder to be left out", || {
        mount.join("inside").symlink_metadata().is_err()
    });
    assert_tree(mount.path(), ["source.vhd"]);
    assert_eq!(errno_of(File::open(mount.join("inside"))), Errno::NOENT);
    drop(bound);
    eventually("the folder", || mount.join("inside").is_dir());
    mount.unmount();
}

#[test]
fn a_mount_point_inside_of_the_source_is_seen_through_other_mounts_of_it() {
    let lab = Lab::new();
    let folder = source(&lab, "source");
    fs::create_dir(folder.join("inside")).expect("a folder");
    let elsewhere = lab.folder("elsewhere");
    let _bound = Bind::new(&folder, &elsewhere);
    let output = run(vhdfs()
        .arg("mount")
        .arg(&folder)
        .arg(elsewhere.join("inside"))
        .stdin(Stdio::null()));
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("contain one another"), "{text}");
}
