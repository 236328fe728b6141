//! What packages hold: units, man pages, completions; and a package's whole life on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::mount::{is_mount, wait_until};
use crate::harness::process::{describe, repository};
use crate::harness::root::as_root;
use crate::harness::{
    Lab, MIB, User, oracle_verify, random_image, run, run_ok, stdout_of, tool, vhdfs,
};

/// What `vhdfs generate` writes.
fn generated(lab: &Lab) -> PathBuf {
    let folder = lab.path().join("generated");
    run_ok(vhdfs().arg("generate").arg(&folder));
    folder
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().expect("a folder");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

/// Builds with a script of `packaging` from the program under test.
fn build(command: &mut Command) -> String {
    stdout_of(command.env("VHDFS_BINARY", vhdfs().get_program()))
}

#[test]
fn units_are_accepted_by_systemd() {
    let lab = Lab::new();
    let units = lab.folder("units");
    for file in files_in(&repository().join("packaging/systemd")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&file).expect("a unit");
        let text = text.replace("/usr/bin/vhdfs", vhdfs().get_program().to_str().unwrap());
        fs::write(units.join(name.replace('@', "@mnt-vhd")), text).expect("write a unit");
    }
    let names = [
        "vhdfs@mnt-vhd.service",
        "vhdfs-metrics.timer",
        "vhdfs-metrics.service",
        "mnt-vhd.mount",
        "mnt-vhd.automount",
    ];
    let mut command = Command::new(tool("systemd-analyze"));
    command.args(["verify", "--man=no"]);
    command.args(names.map(|name| units.join(name)));
    let output = run_ok(&mut command);
    assert!(output.stderr.is_empty(), "{}", describe(&command, &output));
}

#[test]
fn man_pages_are_whole() {
    let lab = Lab::new();
    let folder = generated(&lab);
    let pages = [
        files_in(&folder.join("man1")),
        files_in(&folder.join("man8")),
    ]
    .concat();
    assert!(pages.len() >= 8, "{pages:?}");
    for page in &pages {
        let mut command = Command::new(tool("man"));
        command.args(["--warnings", "-l"]).arg(page);
        let output = run_ok(command.env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8"));
        assert!(output.stderr.is_empty(), "{}", describe(&command, &output));
        let text = String::from_utf8(output.stdout).expect("text");
        for section in [
            "NAME",
            "SYNOPSIS",
            "OPTIONS",
            "EXAMPLES",
            "EXIT STATUS",
            "SEE ALSO",
        ] {
            let is_there = text.lines().any(|line| line == section);
            assert!(is_there, "{}: no {section}\n{text}", page.display());
        }
    }
    assert!(folder.join("man8/mount.vhdfs.8").is_file());
}

#[test]
fn completions_are_taken_by_their_shells() {
    let lab = Lab::new();
    let folder = generated(&lab).join("completions");
    for (shell, file) in [
        ("bash", "vhdfs.bash"),
        ("zsh", "_vhdfs"),
        ("fish", "vhdfs.fish"),
    ] {
        let mut command = Command::new(tool(shell));
        let output = run_ok(command.arg("-n").arg(folder.join(file)));
        assert!(output.stderr.is_empty(), "{}", describe(&command, &output));
    }
    let completed = stdout_of(Command::new(tool("bash")).current_dir(&folder).args([
        "-c",
        "source ./vhdfs.bash; COMP_WORDS=(vhdfs mount --allow-o); COMP_CWORD=2
         _vhdfs vhdfs --allow-o mount; printf '%s\\n' \"${COMPREPLY[@]}\"",
    ]));
    assert_eq!(completed.trim(), "--allow-other");
}

#[test]
fn an_rpm_holds_what_it_should() {
    let lab = Lab::new();
    let top = lab.folder("rpm");
    let binary = vhdfs().get_program().to_str().unwrap().to_owned();
    let mut command = Command::new(tool("rpmbuild"));
    command
        .current_dir(repository())
        .args(["-bb", "--build-in-place"]);
    command.args(["--define", &format!("vhdfs_binary {binary}")]);
    command.args(["--define", &format!("_topdir {}", top.display())]);
    run_ok(command.arg("packaging/rpm/vhdfs.spec"));
    let architecture = files_in(&top.join("RPMS")).remove(0);
    let package = files_in(&architecture).remove(0);
    let version = format!("vhdfs-{}-1.", env!("CARGO_PKG_VERSION"));
    assert!(
        package
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(&version)
    );
    let files = stdout_of(Command::new(tool("rpm")).arg("-qlp").arg(&package));
    for file in [
        "/usr/bin/vhdfs",
        "/usr/sbin/mount.vhdfs",
        "/usr/lib/systemd/system/vhdfs@.service",
        "/usr/share/man/man8/mount.vhdfs.8.gz",
        "/usr/share/zsh/site-functions/_vhdfs",
    ] {
        assert!(
            files.lines().any(|line| line == file),
            "no {file} in {files}"
        );
    }
}

/// A package that is installed, and removed with the value.
struct Installed;

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = run(as_root("dpkg").args(["--purge", "vhdfs"]));
    }
}

#[test]
fn a_debian_package_comes_works_and_goes() {
    let query = ["-W", "-f", "${Status}", "vhdfs"];
    let status = || run(Command::new("dpkg-query").args(query));
    assert!(
        !status().status.success(),
        "vhdfs is installed already; this test would remove it: dpkg --purge vhdfs"
    );
    let lab = Lab::new();
    let mut command = Command::new(repository().join("packaging/deb/build"));
    let package = build(command.arg(lab.path()));
    run_ok(as_root("dpkg").arg("--install").arg(package.trim()));
    let installed = Installed;
    let files = stdout_of(Command::new("dpkg-query").args(["-L", "vhdfs"]));
    let files: Vec<_> = files
        .lines()
        .map(PathBuf::from)
        .filter(|file| !file.is_dir())
        .collect();
    assert!(files.len() > 10, "{files:?}");
    for (program, name) in [
        ("vhdfs", "vhdfs"),
        ("mount.vhdfs", "mount.vhdfs"),
        ("mount.fuse.vhdfs", "mount.vhdfs"),
        ("umount.fuse.vhdfs", "umount.fuse.vhdfs"),
    ] {
        let version = stdout_of(Command::new(tool(program)).arg("--version"));
        assert_eq!(
            version.trim(),
            format!("{name} {}", env!("CARGO_PKG_VERSION"))
        );
    }
    run_ok(Command::new("dpkg").args(["--verify", "vhdfs"]));

    let source = lab.folder("source");
    random_image(&source.join("disk.raw"), 1, 3 * MIB + 5);
    root_mounts_by_mount(&lab, &source);
    a_user_mounts(&lab, &source);
    let mountpoint = lab.folder("left-mounted");
    run_ok(
        as_root(tool("vhdfs"))
            .arg("mount")
            .arg(&source)
            .arg(&mountpoint),
    );
    let configuration = Path::new("/etc/vhdfs/mnt-vhd.conf");
    fs::create_dir_all(configuration.parent().unwrap()).expect("a folder");
    fs::write(configuration, "SOURCE=/srv/images\n").expect("a configuration");

    drop(installed);
    assert!(!is_mount(&mountpoint) && !configuration.parent().unwrap().exists());
    assert!(!status().status.success());
    let left: Vec<_> = files
        .iter()
        .filter(|file| file.symlink_metadata().is_ok())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!Path::new("/usr/share/doc/vhdfs").exists());
}

fn root_mounts_by_mount(lab: &Lab, source: &Path) {
    let mountpoint = lab.folder("by root");
    let options = "allow_other,noexec,x-systemd.automount,nofail";
    for kind in ["vhdfs", "fuse.vhdfs"] {
        let mut command = as_root(tool("mount"));
        command.args(["-t", kind, "-o", options]);
        let output = run_ok(command.arg(source).arg(&mountpoint));
        assert!(output.stderr.is_empty(), "{}", describe(&command, &output));
        oracle_verify(&source.join("disk.raw"), &mountpoint.join("disk.vhd"));
        // By the helper for umount(8), which returns when the daemon has ended.
        run_ok(as_root(tool("umount")).arg(&mountpoint));
        assert!(!run_of_daemon(&mountpoint));
    }

    let table = lab.path().join("fstab");
    let line = format!(
        "{} {} vhdfs ro,{options} 0 0\n",
        source.display(),
        mountpoint.display()
    );
    let line = line.replace("by root", "by\\040root");
    fs::write(&table, line).expect("write a table");
    // Twice: what is mounted already is left alone.
    for _ in 0..2 {
        let mut command = as_root(tool("mount"));
        run_ok(command.arg("--all").arg("--fstab").arg(&table));
        assert!(mountpoint.join("disk.vhd").is_file());
    }
    run_ok(as_root(tool("umount")).arg(&mountpoint));
    wait_until("the daemon", || !run_of_daemon(&mountpoint)).unwrap();
}

fn a_user_mounts(lab: &Lab, source: &Path) {
    let user = User::ordinary();
    let mountpoint = lab.folder("by-user");
    user.own(&mountpoint);
    run_ok(
        user.command(tool("vhdfs"))
            .arg("mount")
            .arg(source)
            .arg(&mountpoint),
    );
    assert!(is_mount(&mountpoint));
    let read = stdout_of(
        user.command("stat")
            .args(["-c", "%s"])
            .arg(mountpoint.join("disk.vhd")),
    );
    assert_eq!(read.trim(), (4 * MIB + 512).to_string());
    run_ok(user.command(tool("vhdfs")).arg("umount").arg(&mountpoint));
    wait_until("the daemon", || !run_of_daemon(&mountpoint)).unwrap();
}

/// Whether `/usr/bin/vhdfs` serves this mount point.
fn run_of_daemon(mountpoint: &Path) -> bool {
    let pattern = format!("mount .*{}", mountpoint.display());
    run(Command::new(tool("pgrep")).args(["--full", &pattern]))
        .status
        .success()
}
