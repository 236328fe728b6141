//! Messages: one line each, whatever a name holds, and nobody waits for their reader.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::images::writable;
use crate::harness::{
    Lab, MIB, Options, errno_of, eventually, lines_with, random_image, run, run_ok, tool, vhdfs,
};
use rustix::io::Errno;

fn fifo(lab: &Lab) -> PathBuf {
    let path = lab.path().join("fifo");
    run_ok(Command::new(tool("mkfifo")).arg(&path));
    path
}

#[test]
fn a_log_that_is_a_fifo_without_a_reader_is_refused() {
    let lab = Lab::new();
    let (folder, mountpoint, fifo) = (lab.folder("source"), lab.folder("mnt"), fifo(&lab));
    for foreground in [&["-f"][..], &[]] {
        let mut command = vhdfs();
        command.arg("mount").args(foreground).arg("--log-file");
        let output = run(command.arg(&fifo).arg(&folder).arg(&mountpoint));
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("nobody reads this FIFO"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn a_log_that_is_a_fifo_is_written_and_nobody_waits_for_its_reader() {
    let lab = Lab::new();
    let (folder, fifo) = (lab.folder("source"), fifo(&lab));
    let name = "a".repeat(200) + ".raw";
    fs::write(folder.join(&name), "QFI\u{fb}").expect("a file");
    let mut reader = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&fifo)
        .expect("a reader");
    let mount = Options::default()
        .args(["-vv", "--log-file"])
        .args([&fifo])
        .mount(&folder);
    // Many more messages than a pipe holds.
    for number in 0..2000 {
        let missing = mount.join(format!("{number}{}", "x".repeat(200)));
        assert_eq!(errno_of(fs::metadata(missing)), Errno::NOENT);
    }
    let mut text = vec![0; 1 << 20];
    let length = reader.read(&mut text).expect("the log");
    assert!(String::from_utf8_lossy(&text[..length]).contains("is mounted on"));
    mount.unmount();
}

#[test]
fn control_characters_of_names_do_not_reach_the_log() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let name = OsStr::from_bytes(b"a\x1b[31m\nforged: line\x07.raw");
    random_image(&folder.join(name), 1, MIB);
    let mount = Options::default()
        .args(["--snapshot=never"])
        .expect_log("open for writing")
        .foreground()
        .mount(&folder);
    let writer = writable(&folder.join(name));
    let view = fs::read_dir(mount.path()).expect("the mount").next();
    let view = view.expect("a view").expect("a view").path();
    assert_eq!(errno_of(File::open(&view)), Errno::BUSY);
    drop(writer);
    eventually("the message", || {
        let log = mount.log();
        !lines_with(&log, "a?[31m?forged: line?.raw").is_empty()
    });
    assert!(!mount.log().contains('\u{7}') && !mount.log().contains("31m\n"));
    mount.unmount();

    let output = run(vhdfs().arg("cat").arg(folder.join("\u{1b}[31m\nnone")));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("?[31m?none"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}
