//! The promises of docs/SECURITY.md, each tried from inside of a running daemon.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::mount::{is_mount, wait_until};
use crate::harness::process::{helper, set_mode};
use crate::harness::{
    FileSystem, Inside, Lab, MIB, Mount, Options, User, oracle_verify, random_bytes, random_image,
    run, snapshot_of, tool, vhdfs,
};
use libc::{
    AT_FDCWD, EACCES, EPERM, O_CREAT, O_RDONLY, O_RDWR, O_TMPFILE, O_WRONLY, SYS_chroot,
    SYS_connect, SYS_execve, SYS_kill, SYS_mkdirat, SYS_mount, SYS_setuid, SYS_socket,
    SYS_truncate, SYS_umount2, SYS_unlinkat,
};
use rustix::process::{Pid, Signal, kill_process};

/// Capabilities as bits (linux/capability.h).
const DAC_READ_SEARCH: u64 = 1 << 2;
const FOWNER: u64 = 1 << 3;
const SYS_ADMIN: u64 = 1 << 21;
const LEASE: u64 = 1 << 28;

/// A source folder with one image, and a file beside it that is nobody's business.
struct Fixture {
    lab: Lab,
    source: PathBuf,
    image: PathBuf,
    secret: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let lab = Lab::new();
        let source = lab.folder("source");
        let image = source.join("a.raw");
        random_image(&image, 1, MIB + 7);
        let secret = lab.path().join("secret.raw");
        random_image(&secret, 2, MIB);
        set_mode(&secret, 0o644);
        Self {
            lab,
            source,
            image,
            secret,
        }
    }

    fn mount(&self, options: Options) -> Mount {
        options.args(["--sandbox", "require"]).mount(&self.source)
    }

    /// Whether a process of `mount` opens the file that a link in `/proc/PID/fd` names.
    fn may_be_open(&self, mount: &Mount, link: &Path) -> bool {
        let name = link.to_string_lossy();
        // The control file that ends the connection.
        name.ends_with("/abort")
            || ["/dev/null", "/dev/fuse"].contains(&&*name)
            || [&self.source, mount.log_file()].contains(&link)
            || ["socket:", "anon_inode:", "pipe:"]
                .iter()
                .any(|kind| name.starts_with(kind))
    }
}

fn pid(mount: &Mount) -> u32 {
    match mount.pids()[..] {
        [pid] => pid,
        ref pids => panic!("not one daemon: {pids:?}"),
    }
}

/// Number of threads.
fn threads(pid: u32) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    tasks.count()
}

/// A field of every thread's status.
fn status(pid: u32, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let read = |task: PathBuf| {
        let status = fs::read_to_string(task.join("status")).expect("a thread");
        let mut lines = status.lines().filter_map(|line| line.split_once(":\t"));
        let found = lines.find(|(name, _)| *name == field);
        found.expect("a field of the status").1.to_owned()
    };
    tasks
        .map(|task| read(task.expect("a thread").path()))
        .collect()
}

fn bits(pid: u32, field: &str) -> Vec<u64> {
    let parse = |value: &String| u64::from_str_radix(value, 16).expect("a mask");
    status(pid, field).iter().map(parse).collect()
}

#[test]
fn nothing_is_read_outside_and_nothing_is_written_anywhere() {
    let fixture = Fixture::new();
    let before = snapshot_of(&fixture.source);
    let mount = fixture.mount(Options::default());
    oracle_verify(&fixture.image, &mount.join("a.vhd"));
    let daemon = pid(&mount);
    let new = fixture.source.join("new");
    let passwd = Path::new("/etc/passwd");
    let own_memory = Path::new("/proc/self/mem");
    // The first one waits for the end; the others serve.
    for thread in [1, 4, threads(daemon)] {
        let answers = Inside::new(daemon, thread)
            .open(&fixture.image, O_RDONLY)
            .open(passwd, O_RDONLY)
            .open(&fixture.secret, O_RDONLY)
            .open(own_memory, O_RDWR)
            .open(&fixture.image, O_WRONLY)
            .open(&new, O_CREAT | O_WRONLY)
            .open(&fixture.source, O_TMPFILE | O_RDWR)
            .open(Path::new("/tmp"), O_TMPFILE | O_RDWR)
            .call(
                SYS_unlinkat,
                &format!("{AT_FDCWD}, \"{}\", 0", fixture.image.display()),
            )
            .call(SYS_truncate, &format!("\"{}\", 0", fixture.image.display()))
            .call(
                SYS_mkdirat,
                &format!("{AT_FDCWD}, \"{}\", 0700", new.display()),
            )
            .answers();
        assert!(answers[0].is_ok(), "thread {thread}: {answers:?}");
        for (number, answer) in answers.iter().enumerate().skip(1) {
            assert_eq!(*answer, Err(EACCES), "thread {thread}, call {number}");
        }
    }
    oracle_verify(&fixture.image, &mount.join("a.vhd"));
    mount.unmount();
    before.assert_unchanged(&fixture.source);
}

#[test]
fn nothing_is_mounted_run_signalled_or_connected() {
    let fixture = Fixture::new();
    let mount = fixture.mount(Options::default());
    let mnt = format!("\"{}\"", mount.path().display());
    let me = std::process::id();
    let answers = Inside::new(pid(&mount), 1)
        .call(SYS_umount2, &format!("{mnt}, 2"))
        .call(SYS_mount, &format!("0, {mnt}, \"tmpfs\", 0, 0"))
        .call(SYS_kill, &format!("{me}, 0"))
        .call(SYS_execve, "\"/bin/true\", 0, 0")
        .call(SYS_setuid, "12345")
        .call(SYS_chroot, "\"/\"")
        .call(SYS_socket, "2, 1, 0")
        .answers();
    for (number, answer) in answers[..6].iter().enumerate() {
        assert!(
            matches!(answer, Err(EPERM | EACCES)),
            "call {number}: {answer:?}"
        );
    }
    let socket = answers[6].expect("a socket connects nobody yet");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // struct sockaddr_in: family, port, address, padding.
    let address: String = [libc::AF_INET as u8, 0]
        .into_iter()
        .chain(port.to_be_bytes())
        .chain([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
        .map(|byte| format!("\\{byte:03o}"))
        .collect();
    let answers = Inside::new(pid(&mount), 1)
        .call(SYS_connect, &format!("{socket}, \"{address}\", 16"))
        .answers();
    assert_eq!(answers, [Err(EACCES)]);
    mount.unmount();
}

#[test]
fn every_thread_has_lost_its_privileges() {
    let fixture = Fixture::new();
    for (snapshot, expected) in [
        ("never", DAC_READ_SEARCH | FOWNER | LEASE),
        ("auto", DAC_READ_SEARCH | FOWNER | LEASE | SYS_ADMIN),
    ] {
        let mount = fixture.mount(Options::default().args(["--snapshot", snapshot]));
        oracle_verify(&fixture.image, &mount.join("a.vhd"));
        let daemon = pid(&mount);
        for field in ["CapEff", "CapPrm", "CapBnd"] {
            let found = bits(daemon, field);
            assert!(found.len() > 4, "{found:x?}");
            assert!(
                found.iter().all(|set| *set == expected),
                "{field}: {found:x?}"
            );
        }
        for field in ["CapInh", "CapAmb"] {
            assert!(bits(daemon, field).iter().all(|set| *set == 0), "{field}");
        }
        assert!(status(daemon, "NoNewPrivs").iter().all(|set| set == "1"));
        assert!(status(daemon, "Umask").iter().all(|umask| umask == "0077"));
        let helper = helper(daemon);
        assert!(status(helper, "NoNewPrivs").iter().all(|set| set == "1"));
        mount.unmount();
    }
}

#[test]
fn an_ordinary_users_daemon_has_none_and_still_unmounts() {
    let fixture = Fixture::new();
    set_mode(&fixture.image, 0o644);
    let user = User::ordinary();
    let mount = fixture.mount(Options::default().user(user));
    let copy = fixture.lab.path().join("copy.vhd");
    user.copy(&mount.join("a.vhd"), &copy);
    oracle_verify(&fixture.image, &copy);
    let daemon = pid(&mount);
    assert!(bits(daemon, "CapEff").iter().all(|set| *set == 0));
    assert!(status(daemon, "NoNewPrivs").iter().all(|set| set == "1"));
    let helper = helper(daemon);
    kill_process(
        Pid::from_raw(daemon as i32).expect("a process"),
        Signal::TERM,
    )
    .expect("kill");
    mount.wait_gone();
    wait_for_the_end_of(helper);
}

#[test]
fn the_helper_outlives_signals_but_not_the_daemon() {
    let fixture = Fixture::new();
    let mount = fixture.mount(Options::default());
    let daemon = pid(&mount);
    let helper = helper(daemon);
    for signal in [Signal::INT, Signal::HUP, Signal::TERM] {
        let pid = Pid::from_raw(helper as i32).expect("a process");
        kill_process(pid, signal).expect("kill");
    }
    kill_process(
        Pid::from_raw(daemon as i32).expect("a process"),
        Signal::INT,
    )
    .expect("kill");
    mount.wait_gone();
    wait_for_the_end_of(helper);
}

#[test]
fn no_inherited_descriptor_is_kept() {
    let fixture = Fixture::new();
    let mount = fixture.mount(Options::default().inheriting(&fixture.secret));
    let daemon = pid(&mount);
    for process in [daemon, helper(daemon)] {
        let unexpected = || {
            let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("a process");
            let links = descriptors.map(|descriptor| fs::read_link(descriptor?.path()));
            // A descriptor may be closed meanwhile.
            let mut links = links.filter_map(Result::ok);
            links.find(|link| !fixture.may_be_open(&mount, link))
        };
        // The helper may still be starting, with files of the C library's open.
        let result = wait_until("only what is its own", || unexpected().is_none());
        result.unwrap_or_else(|_| panic!("{process}: {:?}", unexpected()));
    }
    mount.unmount();
}

#[test]
fn planted_links_lead_nowhere() {
    let fixture = Fixture::new();
    let link = |target: &Path, name: &str| {
        symlink(target, fixture.source.join(name)).expect("a link");
    };
    link(&fixture.secret, "absolute.raw");
    link(Path::new("../secret.raw"), "relative.raw");
    link(Path::new("/proc/self/fd/0"), "magic.raw");
    link(Path::new("/dev/loop0"), "device.raw");
    let mount = fixture.mount(Options::default().args(["--all"]));
    let names: Vec<_> = fs::read_dir(mount.path())
        .expect("the mount")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["a.vhd"]);
    for name in ["absolute.vhd", "relative.vhd", "magic.vhd", "device.vhd"] {
        assert!(File::open(mount.join(name)).is_err(), "{name}");
    }
    mount.unmount();
}

#[test]
fn a_swap_of_a_folder_for_a_link_gives_nothing_away() {
    let fixture = Fixture::new();
    let outside = fixture.lab.folder("outside");
    random_image(&outside.join("b.raw"), 3, MIB);
    let inside = fixture.source.join("sub");
    random_image(&inside.join("b.raw"), 4, MIB);
    let ours = random_bytes(4, MIB as usize);
    symlink(&outside, fixture.source.join(".link")).expect("a link");
    let mount = fixture.mount(Options::default());
    let view = mount.join("sub/b.vhd");
    let mut opened = 0;
    for round in 0..200 {
        // Exchanged at one moment, and back.
        let link = fixture.source.join(".link");
        rustix::fs::renameat_with(
            rustix::fs::CWD,
            &inside,
            rustix::fs::CWD,
            &link,
            rustix::fs::RenameFlags::EXCHANGE,
        )
        .expect("exchange a folder and a link");
        if let Ok(mut file) = File::open(&view) {
            let mut bytes = vec![0; MIB as usize];
            if file.read_exact(&mut bytes).is_ok() {
                assert!(bytes == ours, "round {round}: bytes from outside");
                opened += 1;
            }
        }
    }
    assert!(opened > 0, "the folder was never seen");
    mount.unmount();
}

#[test]
fn snapshots_need_no_right_to_write() {
    let volume = FileSystem::new("xfs", 300 * MIB);
    let image = volume.path().join("a.raw");
    random_image(&image, 5, 2 * MIB);
    rustix::fs::sync();
    let options = ["--sandbox", "require", "--snapshot", "always"];
    let mount = Options::default().args(options).mount(volume.path());
    let mut view = File::open(mount.join("a.vhd")).expect("a view");
    let writer = File::options()
        .write(true)
        .open(&image)
        .expect("the source");
    writer
        .write_all_at(&[0; 4096], 0)
        .expect("write to the source");
    let mut bytes = vec![0; 2 * MIB as usize];
    view.read_exact(&mut bytes).expect("the snapshot");
    assert!(bytes == random_bytes(5, 2 * MIB as usize));
    drop(view);
    let answers = Inside::new(pid(&mount), 1)
        .open(volume.path(), O_TMPFILE | O_RDWR)
        .open(&image, O_WRONLY)
        .answers();
    assert_eq!(answers, [Err(EACCES), Err(EACCES)]);
    mount.unmount();
}

#[test]
fn snapshots_in_a_folder_of_their_own() {
    let volume = FileSystem::new("btrfs", 300 * MIB);
    let image = volume.path().join("images/a.raw");
    random_image(&image, 6, 2 * MIB);
    let folder = volume.path().join("snapshots");
    fs::create_dir(&folder).expect("a folder");
    rustix::fs::sync();
    let folder = folder.to_str().expect("a path");
    let mount = Options::default()
        .args(["--sandbox", "require", "--snapshot", "always"])
        .args(["--snapshot-dir", folder])
        .mount(&volume.path().join("images"));
    oracle_verify(&image, &mount.join("a.vhd"));
    mount.unmount();
}

#[test]
fn one_image_is_served_after_it_was_replaced() {
    let fixture = Fixture::new();
    let mount = Options::default()
        .args(["--sandbox", "require"])
        .mount(&fixture.image);
    oracle_verify(&fixture.image, &mount.join("a.vhd"));
    let new = fixture.source.join("new");
    random_image(&new, 9, 3 * MIB);
    fs::rename(&new, &fixture.image).expect("replace the image");
    let size = || mount.join("a.vhd").metadata().map(|found| found.len()).ok();
    wait_until("the new image", || size() == Some(3 * MIB + 512)).expect("the new image");
    oracle_verify(&fixture.image, &mount.join("a.vhd"));
    mount.unmount();
}

#[test]
fn what_the_kernel_lacks_is_told_or_refused() {
    // As far as the program can tell, the kernel is one without Landlock.
    let tracing = [
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=landlock_create_ruleset",
        "-e",
        "signal=none",
        "-e",
        "inject=landlock_create_ruleset:error=EOPNOTSUPP",
    ];
    let fixture = Fixture::new();
    let mnt = fixture.lab.folder("mnt");
    let mut command = Command::new(tool("strace"));
    command.args(tracing).arg(vhdfs().get_program());
    command.args(["mount", "-f", "--sandbox", "require"]);
    let output = run(command.args([&fixture.source, &mnt]));
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("--sandbox require: Landlock"), "{text}");
    assert!(!is_mount(&mnt), "the mount was left behind");

    let options = Options::default().through("strace", &tracing).foreground();
    let mount = options
        .expect_log("the sandbox is not whole: Landlock")
        .mount(&fixture.source);
    wait_until("the mount", || mount.log().contains("is mounted on")).expect("a mount");
    oracle_verify(&fixture.image, &mount.join("a.vhd"));
    mount.unmount();
}

#[test]
fn without_a_sandbox_there_is_no_helper() {
    let fixture = Fixture::new();
    let mount = Options::default()
        .args(["--sandbox", "off"])
        .mount(&fixture.source);
    let daemon = pid(&mount);
    assert!(status(daemon, "NoNewPrivs").iter().all(|set| set == "0"));
    let children = format!("/proc/{daemon}/task/{daemon}/children");
    assert_eq!(fs::read_to_string(children).expect("a process"), "");
    mount.unmount();
}

fn wait_for_the_end_of(process: u32) {
    let folder = PathBuf::from(format!("/proc/{process}"));
    wait_until("the end of the helper", || !folder.exists()).expect("an end");
}
