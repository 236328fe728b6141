//! The life of a mount: start, messages, signals, names, end.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use crate::harness::mount::{is_mount, pids, wait_until};
use crate::harness::process::describe;
use crate::harness::root::{as_root, elsewhere};
use crate::harness::{
    Lab, Mount, Options, User, folder_with_a_warning, run, run_ok, stdout_of, tool, vhdfs,
};
use rustix::process::Signal;

#[track_caller]
fn wait_for_log(mount: &Mount, words: &str) {
    wait_until(words, || mount.log().contains(words))
        .unwrap_or_else(|error| panic!("{error}\n{}", mount.log()));
}

#[track_caller]
fn only_pid(mount: &Mount) -> u32 {
    let pids = mount.pids();
    assert_eq!(pids.len(), 1, "{pids:?}");
    pids[0]
}

/// What is sent to a socket at `path`, as text.
fn listen(path: &Path) -> Receiver<String> {
    let socket = UnixDatagram::bind(path).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a socket");
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 9000];
        while let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if sender.send(text).is_err() {
                break;
            }
        }
    });
    received
}

/// Waits for a message that holds `words`, and answers it.
#[track_caller]
fn expect(received: &Receiver<String>, words: &str) -> String {
    let mut others = String::new();
    loop {
        match received.recv_timeout(Duration::from_secs(60)) {
            Ok(text) if text.contains(words) => return text,
            Ok(text) => others.push_str(&text),
            Err(_) => panic!("{words:?} did not come, only: {others}"),
        }
    }
}

#[test]
fn a_daemon_lets_go_of_everything() {
    let lab = Lab::new();
    let source = folder_with_a_warning(&lab);
    let log = lab.path().join("daemon.log");
    let mount = Mount::with(&source, &["--log-file", log.to_str().unwrap()]);
    mount.expect_log("other.img: does not appear");
    let pid = only_pid(&mount);
    let proc = PathBuf::from(format!("/proc/{pid}"));
    for stream in ["fd/0", "fd/1", "fd/2"] {
        let target = proc.join(stream).read_link().expect("a stream");
        assert_eq!(target, Path::new("/dev/null"));
    }
    assert_eq!(
        proc.join("cwd").read_link().expect("a folder"),
        Path::new("/")
    );
    let session = stdout_of(Command::new(tool("ps")).args(["-o", "sid=", "-p", &pid.to_string()]));
    assert_eq!(session.trim(), pid.to_string());
    fs::read_dir(mount.path())
        .expect("list the mount")
        .for_each(drop);
    wait_until("a warning", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("WARN"))
    })
    .unwrap();
    mount.unmount();
    let text = fs::read_to_string(&log).expect("a log");
    for words in [
        "is mounted on",
        "other.img: does not appear",
        "is unmounted",
    ] {
        assert!(text.contains(words), "{words:?} is not in: {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn nothing_is_left_of_the_terminal_when_the_command_ends() {
    let lab = Lab::new();
    let source = folder_with_a_warning(&lab);
    let mountpoint = lab.folder("mnt");
    // A daemon that takes its time to let go.
    let mut tracer = Command::new(tool("strace"))
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=dup2,dup3"])
        .args(["-e", "inject=dup2,dup3:delay_enter=300000"])
        .arg(vhdfs().get_program())
        .arg("mount")
        .args([&source, &mountpoint])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(lab.path().join("said")).expect("a file"))
        .spawn()
        .expect("strace");
    let program = PathBuf::from(vhdfs().get_program());
    let mut processes = Vec::new();
    wait_until("the command to end", || {
        processes = pids(&program, &mountpoint);
        is_mount(&mountpoint) && processes.len() == 1
    })
    .unwrap();
    let folder = PathBuf::from(format!("/proc/{}", processes[0]));
    let streams = ["fd/0", "fd/1", "fd/2"].map(|stream| folder.join(stream).read_link());
    run_ok(vhdfs().arg("umount").arg(&mountpoint));
    assert!(tracer.wait().expect("strace").success());
    for target in streams {
        assert_eq!(target.expect("a stream"), Path::new("/dev/null"));
    }
}

#[test]
fn a_variable_that_was_inherited_makes_no_daemon() {
    let lab = Lab::new();
    let source = folder_with_a_warning(&lab);
    for value in ["1", "", "x", "4294967297"] {
        let options = Options::default().env("VHDFS_DAEMON", value);
        let mount = options.mount(&source);
        assert!(mount.said().starts_with("1 image appears, 1 does not: "));
        mount.unmount();
    }
}

#[test]
fn who_waits_for_the_mount_sees_warnings_and_how_many_images_appear() {
    let lab = Lab::new();
    let source = folder_with_a_warning(&lab);
    let mount = Mount::new(&source);
    mount.signal(Signal::KILL);
    wait_until("the end of the daemon", || mount.pids().is_empty()).unwrap();
    let again = Options::default().at(mount.path());
    let again = again.expect_log("removed the stale mount").mount(&source);
    let said = again.said();
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("1 image appears, 1 does not: "), "{said}");
    assert!(said.contains("removed the stale mount"), "{said}");
    let status = stdout_of(vhdfs().arg("status").arg(again.path()));
    assert!(status.contains("removed the stale mount"), "{status}");
    again.unmount();
    mount.wait_gone();
}

#[test]
fn a_daemon_without_a_log_file_tells_the_machines_log() {
    let lab = Lab::new();
    let (source, mountpoint) = (folder_with_a_warning(&lab), lab.folder("mnt"));
    let log = lab.path().join("log");
    let messages = listen(&log);
    let script = format!(
        "mount -t tmpfs -o mode=755 none /dev; mknod -m 666 /dev/null c 1 3
         mknod -m 666 /dev/fuse c 10 229; ln -s {} /dev/log",
        log.display()
    );
    let life = "\"$1\" mount --snapshot=never \"$2\" \"$3\"; ls \"$3\" >/dev/null; cat \"$3/disk.vhd\" >/dev/null
        \"$1\" umount \"$3\"";
    let mut command = elsewhere(&script, None);
    command
        .args(["sh", "-ec", life, "sh"])
        .arg(vhdfs().get_program());
    let output = run_ok(command.arg(&source).arg(&mountpoint));
    assert!(output.stderr.is_empty(), "{}", describe(&command, &output));
    // Facility daemon is 3, so info is 3 * 8 + 6, and a warning 3 * 8 + 4.
    for (priority, words) in [
        (30, "is mounted on"),
        (28, "other.img: does not appear"),
        (30, "disk.raw: closed by cat"),
        (30, "is unmounted"),
    ] {
        let message = expect(&messages, words);
        let begin = format!("<{priority}>vhdfs[");
        assert!(message.starts_with(&begin), "{message}");
    }
}

#[test]
fn signals() {
    let lab = Lab::new();
    let source = folder_with_a_warning(&lab);
    // What the kernel serves by itself is closed without a line.
    let options = Options::default().foreground();
    let mount = options.args(["--snapshot", "never"]).mount(&source);
    mount.signal(Signal::HUP);
    let open = File::open(mount.join("disk.vhd")).expect("open a view");
    mount.signal(Signal::USR1);
    wait_for_log(&mount, "state: open views: 1");
    wait_for_log(&mount, "state: disk.raw: ");
    assert!(fs::read(mount.join("disk.vhd")).is_ok());
    wait_for_log(&mount, "disk.raw: closed by");
    drop(open);
    mount.signal(Signal::TERM);
    wait_for_log(&mount, "is unmounted");
    mount.wait_gone();

    let mount = Options::default().foreground().mount(&source);
    mount.signal(Signal::INT);
    mount.wait_gone();

    // What is open is served a little longer, and then the program ends all the same.
    let mount = Options::default().foreground().mount(&source);
    mount.expect_log("files are open; they can be read for");
    mount.expect_log("gone, with files still open");
    let open = File::open(mount.join("disk.vhd")).expect("open a view");
    mount.signal(Signal::TERM);
    wait_for_log(&mount, "files are open");
    mount.wait_gone();
    drop(open);
}

#[test]
fn the_service_manager_is_told() {
    let lab = Lab::new();
    let source = folder_with_a_warning(&lab);
    let socket = lab.path().join("notify");
    let told = listen(&socket);
    let options = Options::default().foreground();
    let mount = options
        .env("NOTIFY_SOCKET", socket.to_str().unwrap())
        .mount(&source);
    let ready = expect(&told, "READY=1");
    assert!(ready.contains("STATUS=open views: 0"), "{ready}");
    let open = File::open(mount.join("disk.vhd")).expect("open a view");
    expect(&told, "STATUS=open views: 1");
    drop(open);
    mount.signal(Signal::TERM);
    expect(&told, "STOPPING=1");
    mount.wait_gone();
}

#[test]
fn what_others_see_of_it() {
    let lab = Lab::new();
    let source = folder_with_a_warning(&lab);
    let mount = Mount::new(&source);
    let pid = only_pid(&mount).to_string();
    let (source, mountpoint) = (source.to_str().unwrap(), mount.path().to_str().unwrap());
    let said = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(tool(program));
        let output = run_ok(command.args(arguments));
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).expect("text").trim().to_owned()
    };
    assert_eq!(said("ps", &["-o", "comm=", "-p", &pid]), "vhdfs");
    assert!(said("ps", &["-ww", "-o", "args=", "-p", &pid]).contains(mountpoint));
    let found = said("findmnt", &["-no", "SOURCE,FSTYPE", mountpoint]);
    let found: Vec<_> = found.split_whitespace().collect();
    assert_eq!(found, [source, "fuse.vhdfs"]);
    let line = format!("{source} on {mountpoint} type fuse.vhdfs (ro,");
    assert!(said("mount", &["-t", "fuse.vhdfs"]).contains(&line));
    let space = |folder| said("df", &["--output=size,itotal", folder]);
    assert_eq!(space(mountpoint), space(source));
    assert!(said("df", &[mountpoint]).contains(source));

    let open = File::open(mount.join("disk.vhd")).expect("open a view");
    let mut reader = Command::new(tool("sleep"))
        .arg("1000")
        .stdin(open)
        .spawn()
        .expect("a reader");
    let its_pid = reader.id().to_string();
    let users = said("fuser", &["-m", mountpoint]);
    let files = said("lsof", &["-p", &its_pid, "-a", mountpoint]);
    reader.kill().expect("kill");
    reader.wait().expect("the end of the reader");
    assert!(users.contains(&its_pid), "{users}");
    assert!(files.contains("disk.vhd"), "{files}");
    mount.unmount();
}

#[test]
fn fusermount_and_umount_end_it() {
    let lab = Lab::new();
    let source = folder_with_a_warning(&lab);
    let mount = Options::default().user(User::ordinary()).mount(&source);
    let mut command = User::ordinary().command(tool("fusermount3"));
    run_ok(command.arg("-u").arg(mount.path()));
    mount.wait_gone();
    let mount = Mount::new(&source);
    run_ok(as_root(tool("umount")).arg(mount.path()));
    mount.wait_gone();
}

#[test]
fn the_helper_of_mount() {
    let lab = Lab::new();
    let (source, mountpoint) = (folder_with_a_warning(&lab), lab.folder("mnt"));
    let helper = lab.path().join("mount.vhdfs");
    symlink(vhdfs().get_program(), &helper).expect("a link");
    let call = |arguments: &[&str]| {
        let mut command = Command::new(&helper);
        run(command.arg(&source).arg(&mountpoint).args(arguments))
    };
    assert!(call(&["-f", "-o", "rw"]).status.success());
    assert!(!is_mount(&mountpoint));
    let options =
        "rw,noexec,nofail,x-systemd.automount,_netdev,user=me,exclude=other*,file_mode=0440";
    assert!(
        call(&["-nv", "-o", options, "-t", "vhdfs"])
            .status
            .success()
    );
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    let line = table
        .lines()
        .find(|line| line.contains(mountpoint.to_str().unwrap()))
        .expect("a mount");
    assert!(line.contains("noexec"), "{line}");
    run_ok(vhdfs().arg("umount").arg(&mountpoint));
    assert_eq!(call(&["-o", "nonsense"]).status.code(), Some(2));
    assert!(call(&["-s", "-o", "nonsense"]).status.success());
    run_ok(vhdfs().arg("umount").arg(&mountpoint));
}

#[test]
fn what_is_logged_can_be_chosen() {
    let lab = Lab::new();
    let source = folder_with_a_warning(&lab);
    let logged = |verbosity: &[&str], variable: &str| {
        let mut options = Options::default().args(verbosity);
        if !variable.is_empty() {
            options = options.env("VHDFS_LOG", variable);
        }
        let lab = Lab::new();
        let log = lab.path().join("log");
        let options = options.args([OsStr::new("--log-file"), log.as_os_str()]);
        let mount = options.mount(&source);
        fs::read(mount.join("disk.vhd")).expect("read a view");
        mount.unmount();
        fs::read_to_string(&log).expect("a log")
    };
    assert!(!logged(&[], "").contains("DEBUG"));
    assert!(logged(&["-v"], "").contains("DEBUG"));
    assert!(logged(&["-v"], "warn").is_empty());
    assert!(logged(&[], "vhdfs::serve::fs=debug").contains("opened by"));
}

#[test]
fn all_descriptors_are_used_that_the_system_allows() {
    let lab = Lab::new();
    let options = Options::default().through("prlimit", &["--nofile=64:333"]);
    let mount = options.mount(&folder_with_a_warning(&lab));
    let status = stdout_of(vhdfs().args(["status", "--json"]).arg(mount.path()));
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let limits = fs::read_to_string(format!("/proc/{}/limits", status["pid"])).expect("limits");
    let line = limits.lines().find(|line| line.contains("open files"));
    let numbers: Vec<_> = line
        .expect("a limit")
        .split_whitespace()
        .skip(3)
        .take(2)
        .collect();
    assert_eq!(numbers, ["333", "333"]);
    mount.unmount();
}

/// The kernel offers 128 KiB when it mounts, whatever is asked for; only root may set more.
#[test]
fn the_kernel_reads_as_far_ahead_as_a_request_reaches() {
    let lab = Lab::new();
    let mount = Mount::new(&folder_with_a_warning(&lab));
    let device = fs::metadata(mount.path()).expect("attributes").dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    let text = fs::read_to_string(setting).expect("a setting of the kernel");
    let as_root = rustix::process::geteuid().is_root();
    assert_eq!(text.trim(), if as_root { "1024" } else { "128" });
    mount.unmount();
}
