//! Watching an upload: status, progress, tables.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::harness::mount::{is_mount, wait_until};
use crate::harness::{
    FileSystem, Lab, MIB, Mount, Options, User, lines_with, random_image, run, run_ok,
    sparse_image, stdout_of, tool, vhdfs,
};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn source(lab: &Lab) -> PathBuf {
    let source = lab.folder("source");
    random_image(&source.join("disk.raw"), 1, 5 * MIB);
    source
}

fn status(mount: &Mount) -> Value {
    let text = stdout_of(vhdfs().args(["status", "--json"]).arg(mount.path()));
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn the_status_counts_what_is_read() {
    let lab = Lab::new();
    let source = source(&lab);
    let mount = Mount::with(&source, &["--snapshot", "never", "--direct-io"]);
    let before = status(&mount);
    assert_eq!(before["source"], source.to_str().unwrap());
    assert_eq!(before["mountpoint"], mount.path().to_str().unwrap());
    assert_eq!(before["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(before["pid"], mount.pids()[0]);
    assert_eq!(
        (&before["views"], &before["messages"]),
        (&json!([]), &json!([]))
    );

    let view = File::open(mount.join("disk.vhd")).expect("open a view");
    view.read_exact_at(&mut vec![0; 300_000], 1000)
        .expect("read a view");
    let open = status(&mount);
    let state = &open["views"][0];
    assert_eq!(
        (&state["source"], &state["engine"]),
        (&json!("disk.raw"), &json!("direct"))
    );
    assert_eq!(
        (&state["bytes"], &state["view_size"]),
        (&json!(300_000), &json!(5 * MIB + 512))
    );
    assert_eq!(
        (&state["errors"], &state["reader"]["pid"]),
        (&json!(0), &json!(std::process::id()))
    );
    assert_eq!(
        state["reader"]["name"],
        fs::read_to_string("/proc/self/comm").unwrap().trim()
    );

    // A source that changes makes reads fail, which shows at once.
    mount.expect_log("disk.raw: changed while it was open");
    random_image(&source.join("disk.raw"), 2, 5 * MIB + 1);
    assert!(view.read_at(&mut [0; 512], 0).is_err());
    let failed = status(&mount);
    assert_eq!(failed["views"][0]["errors"], 1);
    let message = &failed["messages"][0];
    assert_eq!(message["level"], "warn");
    assert!(
        message["text"].as_str().unwrap().starts_with("disk.raw: "),
        "{message}"
    );
    let text = stdout_of(vhdfs().arg("status").arg(mount.path()));
    for words in [
        "disk.raw",
        "direct",
        "292.97 KiB",
        "failed reads: 1",
        "LATEST MESSAGES",
    ] {
        assert!(text.contains(words), "{words:?} is not in: {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");

    drop(view);
    wait_until("the close", || status(&mount)["views"] == json!([])).unwrap();
    let totals = &status(&mount)["totals"];
    assert_eq!(
        (&totals["bytes"], &totals["errors"]),
        (&json!(300_000), &json!(1))
    );
    mount.unmount();
}

#[test]
fn the_status_names_the_engine() {
    let disk = FileSystem::new("xfs", 400 * MIB);
    let source = disk.folder("source");
    random_image(&source.join("disk.raw"), 1, 5 * MIB);
    let engine = |arguments: &[&str]| {
        let mount = Mount::with(&source, arguments);
        let view = File::open(mount.join("disk.vhd")).expect("open a view");
        let engine = status(&mount)["views"][0]["engine"].clone();
        drop(view);
        mount.unmount();
        engine
    };
    assert_eq!(engine(&["--snapshot", "never"]), "direct");
    assert_eq!(engine(&["--snapshot", "always", "--direct-io"]), "snapshot");
    // Only root may have the kernel serve a file by itself.
    let wanted = match rustix::process::geteuid().is_root() {
        true => "passthrough",
        false => "snapshot",
    };
    assert_eq!(engine(&["--snapshot", "always"]), wanted);
}

#[test]
fn only_the_owner_reaches_the_daemon() {
    let lab = Lab::new();
    let source = source(&lab);
    let user = User::ordinary();
    let folders = [
        PathBuf::from(format!("/run/user/{}/vhdfs", user.uid)),
        PathBuf::from(format!("/tmp/vhdfs-{}", user.uid)),
    ];
    let sockets = || -> Vec<PathBuf> {
        let entries = folders.iter().filter_map(|folder| folder.read_dir().ok());
        entries
            .flatten()
            .map(|entry| entry.expect("an entry").path())
            .collect()
    };
    let mount = Options::default().user(user).mount(&source);
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    let line = table
        .lines()
        .find(|line| line.contains(mount.path().to_str().unwrap()));
    let device = line
        .and_then(|line| line.split(' ').nth(2))
        .expect("a device");
    let name = format!("{}.{}.sock", device.replace(':', "-"), mount.pids()[0]);
    let socket = sockets()
        .into_iter()
        .find(|path| path.ends_with(&name))
        .expect("a socket");
    let of = |path: &std::path::Path| {
        let found = path.symlink_metadata().expect("a file");
        (found.uid(), found.mode() & 0o777)
    };
    assert_eq!(of(&socket), (user.uid, 0o600));
    assert_eq!(of(socket.parent().unwrap()), (user.uid, 0o700));
    let mut command = vhdfs();
    command.arg("status").arg(mount.path());
    assert!(stdout_of(&mut command).contains("open views: 0"));
    mount.unmount();
    assert!(!socket.exists());
}

/// The kernel gives the number of a mount that has gone to the next one.
#[test]
fn a_daemon_that_ends_late_leaves_the_status_of_the_next_alone() {
    let lab = Lab::new();
    let source = source(&lab);
    let device = |mount: &Mount| mount.path().metadata().expect("attributes").dev();
    // Other tests mount, too, and may be given the number first.
    let reused = (0..20).any(|_| {
        let first = Mount::new(&source);
        let number = device(&first);
        let process = Pid::from_raw(first.pids()[0] as i32).expect("a process id");
        kill_process(process, Signal::STOP).expect("stop the daemon");
        rustix::mount::unmount(first.path(), UnmountFlags::DETACH).expect("unmount");
        let second = Mount::new(&source);
        kill_process(process, Signal::CONT).expect("let it go on");
        first.wait_gone();
        let text = stdout_of(vhdfs().arg("status").arg(second.path()));
        assert!(text.contains("open views: 0"), "{text}");
        let reused = device(&second) == number;
        second.unmount();
        reused
    });
    assert!(reused, "no number was used twice");
}

/// A program that writes to a terminal of its own, which is a file here.
struct Terminal {
    child: Child,
    said: PathBuf,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A mount that a program in a terminal serves, gone with the value.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = run(vhdfs().args(["umount", "--lazy"]).arg(&self.0));
    }
}

impl Terminal {
    fn run(lab: &Lab, command: &str, variables: &[(&str, &str)]) -> Self {
        let said = lab.path().join("terminal");
        let child = Command::new(tool("script"))
            .args(["--quiet", "--return", "--flush", "--command", command])
            .arg(&said)
            .env_remove("NO_COLOR")
            .envs([("TERM", "xterm-256color")])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("run script");
        Self { child, said }
    }

    fn said(&self) -> String {
        let mut text = Vec::new();
        let file = File::open(&self.said);
        file.and_then(|mut file| file.read_to_end(&mut text))
            .unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    #[track_caller]
    fn wait_for(&self, words: &str) {
        wait_until(words, || self.said().contains(words))
            .unwrap_or_else(|error| panic!("{error}\n{}", self.said()));
    }

    #[track_caller]
    fn end(mut self) -> String {
        assert!(
            self.child.wait().expect("wait for script").success(),
            "{}",
            self.said()
        );
        self.said()
    }
}

/// A mount in the foreground, on a terminal, that counts every read.
fn mounted_on_terminal(lab: &Lab) -> (Terminal, Mounted) {
    let (source, mountpoint) = (source(lab), lab.folder("mnt"));
    let command = format!(
        "{} mount -f --direct-io --snapshot never {} {}",
        vhdfs().get_program().display(),
        source.display(),
        mountpoint.display()
    );
    let terminal = Terminal::run(lab, &command, &[]);
    terminal.wait_for("is mounted on");
    assert!(is_mount(&mountpoint));
    (terminal, Mounted(mountpoint))
}

#[test]
fn a_terminal_shows_who_reads_and_how_far() {
    let lab = Lab::new();
    let (terminal, mounted) = mounted_on_terminal(&lab);
    let view = File::open(mounted.0.join("disk.vhd")).expect("open a view");
    view.read_exact_at(&mut vec![0; MIB as usize], 0)
        .expect("read a view");
    terminal.wait_for("1.00 MiB of 5.00 MiB (20 %)");
    let reader = fs::read_to_string("/proc/self/comm").expect("a name");
    terminal.wait_for(&format!("{} ({})", reader.trim(), std::process::id()));
    drop(view);
    terminal.wait_for("closed by");
    run_ok(vhdfs().arg("umount").arg(&mounted.0));
    terminal.end();
}

/// azcopy goes over a file three times: for its sum, for what is empty, and to send it.
#[test]
fn a_reader_that_goes_over_a_view_again_begins_its_bar_again() {
    let lab = Lab::new();
    let (terminal, mounted) = mounted_on_terminal(&lab);
    let view = File::open(mounted.0.join("disk.vhd")).expect("open a view");
    let mut bytes = vec![0; 5 * MIB as usize];
    for (pass, part) in [(1, MIB), (2, 2 * MIB), (3, 3 * MIB)] {
        let part = part as usize;
        view.read_exact_at(&mut bytes[..part], 0)
            .expect("read a part");
        terminal.wait_for(&format!("{pass}.00 MiB of 5.00 MiB ({} %)", 20 * pass));
        view.read_exact_at(&mut bytes[part..], part as u64)
            .expect("read the rest");
        wait_until("a full bar", || {
            terminal.said().matches("(100 %)").count() >= pass
        })
        .unwrap();
    }
    drop(view);
    terminal.wait_for("closed by");
    run_ok(vhdfs().arg("umount").arg(&mounted.0));
    let said = terminal.end();
    let percents = said.split(" %)").filter_map(|text| {
        let (_, number) = text.rsplit_once('(')?;
        number.parse::<u32>().ok()
    });
    assert!(percents.max() == Some(100), "{said}");
}

#[test]
fn without_a_terminal_there_are_plain_lines() {
    let lab = Lab::new();
    let source = source(&lab);
    let arguments = ["--snapshot", "never"];
    let mount = Options::default()
        .args(arguments)
        .foreground()
        .mount(&source);
    fs::read(mount.join("disk.vhd")).expect("read a view");
    wait_until("the summary", || mount.log().contains("closed by")).unwrap();
    let log = mount.log();
    assert!(log.contains("after 5.00 MiB of 5.00 MiB in"), "{log}");
    assert!(!log.contains('\u{1b}') && !log.contains('\r'), "{log:?}");
    mount.unmount();
}

#[test]
fn the_list_is_a_table() {
    let lab = Lab::new();
    let source = source(&lab);
    sparse_image(&source.join("sub/big.img"), 1, 3 * MIB + 1, &[(0, 4096)]);
    fs::write(source.join("notes.txt"), "text").expect("write a file");
    let list = || {
        let mut command = vhdfs();
        command.arg("list").arg(&source);
        command
    };
    let text = stdout_of(&mut list());
    let rows: Vec<Vec<_>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0][..4], ["SOURCE", "SIZE", "VIRTUAL", "PADDING"]);
    assert_eq!(
        rows[1][..7],
        ["disk.raw", "5.00", "MiB", "5.00", "MiB", "0", "B"]
    );
    assert_eq!(
        rows[2][..7],
        [
            "sub/big.img",
            "3.00",
            "MiB",
            "4.00",
            "MiB",
            "1024.00",
            "KiB"
        ]
    );
    assert!(rows[2].contains(&"sub/big.vhd") && text.contains("no partition table"));
    assert!(text.contains("DOES NOT APPEAR") && text.contains("notes.txt"));
    assert!(!text.contains('\u{1b}'), "{text:?}");

    let command = format!(
        "{} list {}",
        vhdfs().get_program().display(),
        source.display()
    );
    let coloured = Terminal::run(&lab, &command, &[]).end();
    assert!(coloured.contains("\u{1b}[1mSOURCE"), "{coloured:?}");
    assert!(coloured.contains("\u{1b}[33mdisk.raw"), "{coloured:?}");
    let plain = Terminal::run(&lab, &command, &[("NO_COLOR", "1")]).end();
    assert!(
        plain.contains("SOURCE") && !plain.contains('\u{1b}'),
        "{plain:?}"
    );
}

/// What comes while it is mounted and does not appear is in the log once, and counted.
#[test]
fn later_arrivals_that_do_not_appear_are_counted() {
    let lab = Lab::new();
    let source = source(&lab);
    let mount = Options::default()
        .foreground()
        .allow_log("part.vmdk: does not appear")
        .mount(&source);
    fs::write(source.join("empty.raw"), "").expect("a file");
    fs::write(source.join("part.vmdk"), "no VMDK").expect("a file");
    fs::write(source.join("notes.txt"), "text").expect("a file");
    for _ in 0..2 {
        fs::read_dir(mount.path()).expect("the mount").count();
    }
    assert_eq!(status(&mount)["totals"]["skipped"], 2);
    for name in ["empty.raw", "part.vmdk"] {
        let log = mount.log();
        assert_eq!(
            lines_with(&log, &format!("{name}: does not appear")).len(),
            1,
            "{log}"
        );
    }
    let limit = &status(&mount)["cache"]["limit"];
    assert_eq!(limit, &Value::from(64 * MIB));
    mount.unmount();
}

/// One line for each mount, one document, or metrics that Prometheus takes.
#[test]
fn all_mounts_are_shown_at_once() {
    let lab = Lab::new();
    let source = source(&lab);
    let options = ["--snapshot", "never", "--direct-io"];
    let (first, second) = (
        Mount::with(&source, &options),
        Mount::with(&source, &options),
    );
    let view = File::open(first.join("disk.vhd")).expect("open a view");
    view.read_exact_at(&mut vec![0; 300_000], 0)
        .expect("read a view");

    let text = stdout_of(vhdfs().arg("status"));
    for mount in [&first, &second] {
        let name = mount.path().to_str().unwrap();
        assert_eq!(
            text.lines().filter(|line| line.starts_with(name)).count(),
            1,
            "{text}"
        );
    }
    let all = stdout_of(vhdfs().args(["status", "--json"]));
    let all: Value = serde_json::from_str(&all).expect("JSON");
    let of_first = all["mounts"].as_array().and_then(|mounts| {
        mounts
            .iter()
            .find(|one| one["mountpoint"] == first.path().to_str().unwrap())
    });
    let open = &of_first.expect("the first mount")["views"][0];
    assert_eq!(
        (&open["position"], &open["bytes"]),
        (&json!(300_000), &json!(300_000))
    );
    assert!(open["average_rate"].as_u64() > Some(0), "{open}");

    for arguments in [
        &["status", "--prometheus"][..],
        &["status", "--prometheus", first.path().to_str().unwrap()],
    ] {
        let metrics = stdout_of(vhdfs().args(arguments));
        let line = format!(
            "vhdfs_read_bytes_total{{mountpoint=\"{}\",view=\"disk.raw\"}} 300000",
            first.path().display()
        );
        assert!(
            metrics.lines().any(|other| other == line),
            "no {line} in {metrics}"
        );
        let file = lab.path().join("metrics");
        fs::write(&file, &metrics).expect("write the metrics");
        let mut promtool = Command::new(tool("bash"));
        promtool.args(["-c", "exec \"$0\" check metrics <\"$1\""]);
        let output = run_ok(promtool.arg(tool("promtool")).arg(&file));
        assert!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "{output:?}"
        );
    }
    drop(view);
}

/// Lines fit the terminal, and are whole for programs.
#[test]
fn tables_fit_their_terminal() {
    let lab = Lab::new();
    let source = source(&lab);
    let long = format!("{}.raw", "a long name ".repeat(8).trim());
    random_image(&source.join(&long), 3, MIB);
    let narrow = stdout_of(vhdfs().env("COLUMNS", "80").arg("list").arg(&source));
    assert!(
        narrow.lines().all(|line| line.chars().count() <= 80),
        "{narrow}"
    );
    for wide in [
        stdout_of(vhdfs().arg("list").arg(&source)),
        stdout_of(
            vhdfs()
                .env("COLUMNS", "80")
                .args(["list", "--wide"])
                .arg(&source),
        ),
    ] {
        assert!(wide.lines().any(|line| line.contains(&long)), "{wide}");
    }
}
