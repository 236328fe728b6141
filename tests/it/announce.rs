//! What `vhdfs mount` says about what appears and what does not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::mount::is_mount;
use crate::harness::process::describe;
use crate::harness::{Lab, MIB, random_image, run, run_ok, vhdfs};

fn mount(arguments: &[&str], source: &Path, mountpoint: &Path) -> (Command, Output) {
    let mut command = vhdfs();
    command.arg("mount").args(arguments);
    let output = run(command.arg(source).arg(mountpoint));
    (command, output)
}

fn umount(mountpoint: &Path) {
    run_ok(vhdfs().arg("umount").arg(mountpoint));
}

/// A folder with two images, an empty one, a part of nothing, and what nobody looks for.
fn mixed(lab: &Lab) -> PathBuf {
    let source = lab.folder("source");
    random_image(&source.join("a.raw"), 1, MIB);
    fs::create_dir(source.join("b")).expect("a folder");
    random_image(&source.join("b/c.img"), 2, MIB);
    fs::write(source.join("empty.raw"), "").expect("a file");
    fs::write(source.join("part.vmdk"), "no VMDK").expect("a file");
    symlink("nowhere", source.join("dangling.raw")).expect("a link");
    for plain in ["notes.txt", "SHA256SUMS", ".hidden.raw"] {
        fs::write(source.join(plain), "text").expect("a file");
    }
    source
}

#[test]
fn a_mount_ends_with_what_appears() {
    let lab = Lab::new();
    let (source, mountpoint) = (mixed(&lab), lab.folder("mnt"));
    let (command, output) = mount(&[], &source, &mountpoint);
    let what = describe(&command, &output);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{what}"
    );
    let said = String::from_utf8(output.stdout).expect("text");
    let want = format!(
        "2 images appear, 3 do not: vhdfs list {} tells why\n",
        source.display()
    );
    // A machine that is busy may count less.
    assert!(said == want || said.starts_with("at least "), "{what}");
    umount(&mountpoint);

    for name in ["empty.raw", "part.vmdk", "dangling.raw", "b/c.img"] {
        fs::remove_file(source.join(name)).expect("remove a file");
    }
    let (command, output) = mount(&[], &source, &mountpoint);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let what = describe(&command, &output);
    assert!(
        said == "1 image appears\n" || said.starts_with("at least "),
        "{what}"
    );
    umount(&mountpoint);
}

#[test]
fn strict_mounts_all_or_nothing() {
    let lab = Lab::new();
    let (source, mountpoint) = (mixed(&lab), lab.folder("mnt"));
    for foreground in [&["--strict"][..], &["--strict", "-f"], &["-o", "strict"]] {
        let (command, output) = mount(foreground, &source, &mountpoint);
        let what = describe(&command, &output);
        assert_eq!(output.status.code(), Some(1), "{what}");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(said.lines().count(), 1, "{what}");
        for words in [
            "--strict",
            "2 images appear, 3 do not",
            "dangling.raw",
            "vhdfs list",
        ] {
            assert!(said.contains(words), "no {words:?} in {what}");
        }
        assert!(!is_mount(&mountpoint));
    }
    let chosen = [
        "--strict",
        "--exclude",
        "{empty,dangling}.raw",
        "--exclude",
        "*.vmdk",
    ];
    let (command, output) = mount(&chosen, &source, &mountpoint);
    assert!(output.status.success(), "{}", describe(&command, &output));
    umount(&mountpoint);
}

#[test]
fn a_single_source_that_cannot_appear_is_refused() {
    let lab = Lab::new();
    let (source, mountpoint) = (mixed(&lab), lab.folder("mnt"));
    for (name, words) in [
        ("empty.raw", "empty"),
        ("part.vmdk", "does not appear"),
        ("dangling.raw", "cannot open the source"),
    ] {
        let (command, output) = mount(&[], &source.join(name), &mountpoint);
        let what = describe(&command, &output);
        assert_eq!(output.status.code(), Some(1), "{what}");
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(said.contains(name) && said.contains(words), "{what}");
        assert_eq!(said.lines().count(), 1, "{what}");
        assert!(!is_mount(&mountpoint));
    }
    let (command, output) = mount(&[], &source.join("notes.txt"), &mountpoint);
    // A file that is named is an image, whatever its extension.
    assert!(output.status.success(), "{}", describe(&command, &output));
    umount(&mountpoint);
}
