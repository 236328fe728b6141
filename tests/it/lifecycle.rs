//! The life of a mount: ready when the command returns, and gone without a trace.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::harness::mount::is_mount;
use crate::harness::{
    Lab, MIB, Mount, Options, User, assert_tree, eventually, oracle_verify, random_image, run,
    run_ok, tool, vhdfs,
};
use rustix::process::Signal;

fn source(lab: &Lab) -> std::path::PathBuf {
    let folder = lab.folder("source");
    random_image(&folder.join("a.raw"), 1, 3 * MIB + 5);
    folder
}

/// Panics where a mount point is not as it was: an empty folder that can be mounted on.
fn assert_usable(mountpoint: &Path) {
    assert!(!is_mount(mountpoint), "a mount is left");
    assert_tree(mountpoint, [""; 0]);
    fs::write(mountpoint.join("file"), "x").expect("write to the mount point");
    fs::remove_file(mountpoint.join("file")).expect("remove");
}

#[test]
fn the_command_returns_when_the_mount_answers() {
    let lab = Lab::new();
    let folder = source(&lab);
    for _ in 0..10 {
        let mount = Mount::new(&folder);
        let mut start = [0; 512];
        File::open(mount.join("a.vhd"))
            .and_then(|mut file| file.read_exact(&mut start))
            .expect("the first read right after the command");
        mount.unmount();
    }
}

#[test]
fn umount_ends_the_mount_and_its_daemon() {
    let lab = Lab::new();
    let folder = source(&lab);
    let mountpoint = lab.folder("mnt");
    for _ in 0..2 {
        let mount = Options::default().at(&mountpoint).mount(&folder);
        assert_eq!(mount.pids().len(), 1);
        oracle_verify(&folder.join("a.raw"), &mount.join("a.vhd"));
        // Waits for the end of the daemon, too.
        mount.unmount();
        assert_usable(&mountpoint);
    }
}

#[test]
fn umount_of_a_mount_in_use_fails_and_says_so() {
    let lab = Lab::new();
    let folder = source(&lab);
    let mount = Mount::new(&folder);
    let view = File::open(mount.join("a.vhd")).expect("a view");
    let output = run(vhdfs().arg("umount").arg(mount.path()));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("in use") && text.contains("--lazy"), "{text}");
    // It goes on as if nothing had been asked.
    oracle_verify(&folder.join("a.raw"), &mount.join("a.vhd"));
    drop(view);
    mount.unmount();
}

#[test]
fn lazy_umount_detaches_at_once_and_serves_what_is_open() {
    let lab = Lab::new();
    let folder = source(&lab);
    let mountpoint = lab.folder("mnt");
    let mount = Options::default().at(&mountpoint).mount(&folder);
    let mut view = File::open(mount.join("a.vhd")).expect("a view");
    run_ok(vhdfs().args(["umount", "--lazy"]).arg(&mountpoint));
    assert_usable(&mountpoint);
    let mut bytes = Vec::new();
    view.read_to_end(&mut bytes).expect("an open view");
    let body = fs::read(folder.join("a.raw")).expect("the source");
    assert_eq!(bytes.len() as u64, 4 * MIB + 512);
    assert!(bytes[..body.len()] == body[..]);
    drop(view);
    mount.wait_gone();
}

/// However much of a reader the end of a detached mount meets: harness::Log fails the test where the
/// daemon takes that for an error.
#[test]
fn a_lazy_umount_is_no_error() {
    let lab = Lab::new();
    let folder = source(&lab);
    for round in 0..12 {
        let mount = Options::default().args(["--snapshot", "never"]);
        let mount = mount.mount(&folder);
        let views = [0; 4].map(|_| File::open(mount.join("a.vhd")).expect("a view"));
        let command: Vec<OsString> = match round % 3 {
            0 => vec![
                vhdfs().get_program().into(),
                "umount".into(),
                "--lazy".into(),
            ],
            1 => vec![tool("umount").into_os_string(), "-l".into()],
            _ => vec![tool("fusermount3").into_os_string(), "-uz".into()],
        };
        thread::scope(|scope| {
            for (number, view) in views.into_iter().enumerate() {
                scope.spawn(move || {
                    for offset in 0..number as u64 * 4 {
                        let read = view.read_at(&mut [0; 4096], offset * 65_536);
                        assert!(read.is_ok(), "an open view: {read:?}");
                    }
                });
            }
            run_ok(
                Command::new(&command[0])
                    .args(&command[1..])
                    .arg(mount.path()),
            );
        });
        mount.wait_gone();
    }
}

#[test]
fn umount_of_anything_else_is_refused() {
    let lab = Lab::new();
    for path in [lab.path(), Path::new("/proc"), &lab.path().join("missing")] {
        let output = run(vhdfs().arg("umount").arg(path));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(path.to_str().expect("text")), "{text}");
    }
    assert!(is_mount(Path::new("/proc")));
}

#[test]
fn signals_unmount() {
    let lab = Lab::new();
    let folder = source(&lab);
    let mountpoint = lab.folder("mnt");
    for number in [Signal::TERM, Signal::INT] {
        for foreground in [false, true] {
            let mut options = Options::default().at(&mountpoint);
            if foreground {
                options = options.foreground();
            }
            let mount = options.mount(&folder);
            mount.signal(number);
            mount.wait_gone();
            assert_usable(&mountpoint);
        }
    }
}

#[test]
fn signals_unmount_also_while_a_file_is_open() {
    let lab = Lab::new();
    let folder = source(&lab);
    let mountpoint = lab.folder("mnt");
    for number in [Signal::TERM, Signal::INT] {
        // What the kernel serves by itself outlives the daemon.
        let mount = Options::default()
            .foreground()
            .args(["--snapshot", "never"])
            .at(&mountpoint)
            .expect_log("files are open; they can be read for")
            .expect_log("gone, with files still open")
            .mount(&folder);
        let view = File::open(mount.join("a.vhd")).expect("a view");
        mount.signal(number);
        eventually("the end of the mount", || !is_mount(&mountpoint));
        // No stale mount: the mount point can be used while the old daemon still serves.
        assert_usable(&mountpoint);
        let second = Mount::new(&folder);
        oracle_verify(&folder.join("a.raw"), &second.join("a.vhd"));
        second.unmount();
        // Nobody holds the daemon for ever.
        mount.wait_gone();
        let error = view.read_at(&mut [0; 16], MIB).expect_err("a dead view");
        assert_eq!(error.raw_os_error(), Some(libc::ENOTCONN), "{error}");
        let again = Options::default().at(&mountpoint).mount(&folder);
        oracle_verify(&folder.join("a.raw"), &again.join("a.vhd"));
        again.unmount();
    }
}

#[test]
fn other_tools_unmount_and_the_daemon_ends() {
    let lab = Lab::new();
    let folder = source(&lab);
    let mount = Mount::new(&folder);
    run_ok(Command::new(tool("umount")).arg(mount.path()));
    mount.wait_gone();
    let user = User::ordinary();
    crate::harness::process::set_mode(&folder.join("a.raw"), 0o644);
    let mount = Options::default().user(user).mount(&folder);
    let path = mount.path().to_path_buf();
    run_ok(user.command(tool("fusermount3")).arg("-u").arg(&path));
    mount.wait_gone();
    assert!(!is_mount(&path));
}

#[test]
fn a_killed_daemon_leaves_nothing_that_the_next_mount_minds() {
    let lab = Lab::new();
    let folder = source(&lab);
    let mountpoint = lab.folder("mnt");
    // Often: what the next mount meets depends on how far the end has come.
    for round in 0..12 {
        let options = || match round % 3 {
            0 => Options::default()
                .args(["--auto-unmount", "--allow-other"])
                .at(&mountpoint),
            _ => Options::default().at(&mountpoint),
        };
        let mount = options().mount(&folder);
        mount.signal(Signal::KILL);
        if round % 3 == 1 {
            eventually("a stale mount", || {
                let asked = mountpoint.metadata();
                asked.is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN))
            });
        }
        let again = options()
            .allow_log("removed the stale mount")
            .mount(&folder);
        oracle_verify(&folder.join("a.raw"), &again.join("a.vhd"));
        again.unmount();
        mount.wait_gone();
    }
    assert_usable(&mountpoint);
}

#[test]
fn a_source_is_mounted_more_than_once() {
    let lab = Lab::new();
    let folder = source(&lab);
    let mounts = [
        Mount::new(&folder),
        Mount::new(&folder),
        Mount::new(&folder.join("a.raw")),
    ];
    for mount in &mounts {
        oracle_verify(&folder.join("a.raw"), &mount.join("a.vhd"));
    }
    for mount in mounts {
        mount.unmount();
    }
}

#[test]
fn every_option_of_mount_is_taken_by_both_its_names() {
    let lab = Lab::new();
    let folder = source(&lab);
    random_image(&folder.join("b.bin"), 2, 600);
    let log = lab.path().join("log");
    let log = log.to_str().expect("text");
    let long = [
        "--include",
        "*.bin",
        "--exclude",
        "c.*",
        "--allow-devices",
        "--chains",
        "--compressed",
        "--cache-size",
        "32MiB",
        "--allow-other",
        "--uid",
        "1",
        "--gid",
        "2",
        "--file-mode",
        "440",
        "--dir-mode",
        "550",
        "--snapshot",
        "auto",
        "--gpt",
        "keep",
        "--threads",
        "2",
        "--log-file",
        log,
        "-v",
    ];
    let short = format!(
        "include=*.bin,exclude=c.*,allow_devices,chains,compressed,cache_size=9M,allow_other,uid=1,gid=2,file_mode=440,\
         dir_mode=550,snapshot=never,gpt=keep,direct_io,threads=2,log_file={log},ro,nodev,nosuid,\
         noexec,noatime,x-systemd.automount,_netdev"
    );
    for arguments in [&long[..], &["-o", &short]] {
        let mount = Mount::with(&folder, arguments);
        assert_tree(mount.path(), ["a.vhd", "b.bin.vhd"]);
        let meta = mount.join("b.bin.vhd").metadata().expect("a view");
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (1, 2, 0o440));
        mount.unmount();
        let log = fs::read_to_string(log).expect("a log");
        assert!(log.contains("is mounted on"), "{log}");
        fs::remove_file(lab.path().join("log")).expect("remove the log");
    }
    let all = Mount::with(&folder, &["--all", "--allow-root"]);
    assert_tree(all.path(), ["a.vhd", "b.bin.vhd"]);
    all.unmount();
}

#[test]
fn mount_8_and_fstab_can_mount() {
    let lab = Lab::new();
    let folder = source(&lab);
    let mountpoint = lab.folder("mnt");
    // mount(8) runs `mount.TYPE SOURCE DIR -o OPTIONS` for a type that the kernel does not know.
    let helper = lab.path().join("mount.vhdfs");
    std::os::unix::fs::symlink(vhdfs().get_program(), &helper).expect("a link");
    run_ok(
        Command::new(&helper)
            .arg(&folder)
            .arg(&mountpoint)
            .args(["-o", "rw,allow_other,noexec,uid=7"]),
    );
    oracle_verify(&folder.join("a.raw"), &mountpoint.join("a.vhd"));
    let meta = mountpoint.join("a.vhd").metadata().expect("a view");
    assert_eq!(meta.uid(), 7);
    run_ok(Command::new(tool("umount")).arg(&mountpoint));
    assert_usable(&mountpoint);
}

/// The highest number of a descriptor of the daemon whose target begins like this. It decides which
/// files the kernel closes first.
fn last_descriptor(mount: &Mount, target: &str) -> u32 {
    let folder = format!("/proc/{}/fd", mount.pids()[0]);
    let descriptors = fs::read_dir(folder).expect("a daemon").filter_map(|entry| {
        let path = entry.ok()?.path();
        let found = fs::read_link(&path).ok()?;
        let number = path.file_name()?.to_str()?.parse().ok()?;
        found
            .to_string_lossy()
            .starts_with(target)
            .then_some(number)
    });
    descriptors.max().expect("a descriptor")
}

#[test]
fn auto_unmount_removes_the_mount_of_a_killed_daemon() {
    let lab = Lab::new();
    let folder = source(&lab);
    let mountpoint = lab.folder("mnt");
    // fusermount3 looks only once: what the daemon leaves must be dead by then, each time.
    for _ in 0..20 {
        let mount = Options::default()
            .at(&mountpoint)
            .args(["--auto-unmount", "--allow-other"])
            .mount(&folder);
        let device = last_descriptor(&mount, "/dev/fuse");
        assert!(device > last_descriptor(&mount, "socket:"));
        mount.signal(Signal::KILL);
        mount.wait_gone();
        assert_usable(&mountpoint);
    }
}
