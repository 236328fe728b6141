//! Which sources appear, and under which names.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::harness::views::{assert_missing, assert_views, images};
use crate::harness::{
    Lab, Mount, assert_tree, list, listed_reasons, listed_views, oracle_verify, random_image, run,
    stdout_of, vhdfs,
};

#[test]
fn image_extensions_select_in_any_case() {
    let lab = Lab::new();
    images(
        lab.path(),
        &[
            "a.raw",
            "b.img",
            "c.dd",
            "d.image",
            "e.disk",
            "f.RAW",
            "g.Img",
            "h.tar.raw",
            "notes.txt",
            "plain",
            "x.qcow2",
            "raw",
            "y.raw.bak",
        ],
    );
    let expected = [
        ("a.raw", "a.vhd"),
        ("b.img", "b.vhd"),
        ("c.dd", "c.vhd"),
        ("d.image", "d.vhd"),
        ("e.disk", "e.vhd"),
        ("f.RAW", "f.vhd"),
        ("g.Img", "g.vhd"),
        ("h.tar.raw", "h.tar.vhd"),
    ];
    assert_views(lab.path(), &[], &expected);
}

#[test]
fn the_tree_is_mirrored_without_dotfiles() {
    let lab = Lab::new();
    images(
        lab.path(),
        &[
            "a.raw",
            "sub/b.raw",
            "sub/deeper/c.raw",
            ".hidden.raw",
            ".git/d.raw",
            "sub/.e.raw",
            "notes/readme",
        ],
    );
    fs::create_dir(lab.path().join("empty")).expect("a folder");
    let mount = Mount::new(lab.path());
    let shown = [
        "a.vhd",
        "sub",
        "sub/b.vhd",
        "sub/deeper",
        "sub/deeper/c.vhd",
        "notes",
        "empty",
    ];
    assert_tree(mount.path(), shown);
    for hidden in [".hidden.vhd", ".hidden.raw", ".git", "sub/.e.vhd", "a.raw"] {
        assert_missing(&mount.join(hidden));
    }
    mount.unmount();
    let all = Mount::with(lab.path(), &["--all"]);
    assert_missing(&all.join(".hidden.vhd"));
    all.unmount();
}

#[test]
fn all_shows_every_file_that_is_an_image() {
    let lab = Lab::new();
    images(
        lab.path(),
        &["a.raw", "b", "c.bin", "d.qcow2", "sub/e.txt", ".f"],
    );
    fs::write(lab.path().join("nothing"), "").expect("an empty file");
    let expected = [
        ("a.raw", "a.vhd"),
        ("b", "b.vhd"),
        ("c.bin", "c.bin.vhd"),
        ("d.qcow2", "d.vhd"),
        ("sub/e.txt", "sub/e.txt.vhd"),
    ];
    assert_views(lab.path(), &["--all"], &expected);
}

#[test]
fn include_selects_by_the_path_below_the_source_folder() {
    let lab = Lab::new();
    images(
        lab.path(),
        &["a.raw", "b.bin", "sub/c.bin", "sub/d.iso", "e.iso"],
    );
    let expected = [
        ("a.raw", "a.vhd"),
        ("b.bin", "b.bin.vhd"),
        ("sub/c.bin", "sub/c.bin.vhd"),
        ("sub/d.iso", "sub/d.iso.vhd"),
    ];
    let arguments = ["--include", "*.bin", "--include", "sub/*.iso"];
    assert_views(lab.path(), &arguments, &expected);
}

#[test]
fn an_extension_that_promises_a_container_does_not_make_a_raw_image() {
    let lab = Lab::new();
    images(
        lab.path(),
        &[
            "a.vhd",
            "b.vhdx",
            "c.avhdx",
            "d.vdi",
            "e-flat.VMDK",
            "f.ova",
            "g.qcow2",
            "h.QCOW",
            "i.raw",
        ],
    );
    assert_views(lab.path(), &[], &[("i.raw", "i.vhd")]);
    let reasons = listed_reasons(&list(lab.path(), &[]));
    for (name, reason) in &reasons {
        assert!(
            reason.contains("not what its extension says"),
            "{name}: {reason}"
        );
    }
    assert_eq!(reasons.len(), 8);
    let arguments = ["--include", "a.*", "--include", "*.VMDK"];
    let expected = [
        ("a.vhd", "a.vhd"),
        ("e-flat.VMDK", "e-flat.vhd"),
        ("i.raw", "i.vhd"),
    ];
    assert_views(lab.path(), &arguments, &expected);
    // An image that is named alone is no other.
    let mut alone = vhdfs();
    alone.arg("cat").arg(lab.path().join("d.vdi"));
    let output = run(&mut alone);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn control_characters_in_names_reach_no_terminal() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let name = "a\u{1b}[31m\n\u{9b}b";
    images(&folder, &[&format!("{name}.raw")]);
    fs::write(folder.join(format!("{name}.img")), "").expect("a file");
    let table = stdout_of(vhdfs().arg("list").arg(&folder));
    assert!(table.contains("a?[31m??b.raw"), "{table:?}");
    let is_shown =
        |text: &str| !text.contains(|letter: char| letter != '\n' && letter.is_control());
    assert!(is_shown(&table), "{table:?}");
    let json = stdout_of(vhdfs().args(["list", "--json"]).arg(&folder));
    assert!(is_shown(&json), "{json:?}");
    let views = listed_views(&list(&folder, &[]));
    assert_eq!(views[&format!("{name}.raw")], format!("{name}.vhd"));
    let output = run(vhdfs().arg("cat").arg(folder.join(format!("{name}.img"))));
    let message = String::from_utf8(output.stderr).expect("text");
    assert!(
        is_shown(&message) && message.contains("a?[31m??b.img"),
        "{message:?}"
    );
    assert_eq!(message.lines().count(), 1, "{message:?}");
}

#[test]
fn exclude_wins() {
    let lab = Lab::new();
    images(
        lab.path(),
        &["a.raw", "b.raw", "sub/c.raw", "old/d.raw", "e.bin"],
    );
    assert_views(
        lab.path(),
        &["--exclude", "b.raw", "--exclude", "old"],
        &[("a.raw", "a.vhd"), ("sub/c.raw", "sub/c.vhd")],
    );
    assert_views(
        lab.path(),
        &["--all", "--include", "e.bin", "--exclude", "*"],
        &[],
    );
    // What is excluded takes no name from others.
    images(lab.path(), &["b.img"]);
    let arguments = ["--exclude", "b.raw", "--exclude", "*/*"];
    assert_views(
        lab.path(),
        &arguments,
        &[("a.raw", "a.vhd"), ("b.img", "b.vhd")],
    );
}

#[test]
fn empty_files_do_not_appear() {
    let lab = Lab::new();
    fs::write(lab.path().join("empty.raw"), "").expect("an empty file");
    assert_views(lab.path(), &[], &[]);
    let reasons = listed_reasons(&list(lab.path(), &[]));
    assert!(reasons["empty.raw"].contains("empty"), "{reasons:?}");
}

#[test]
fn sources_that_want_one_name_get_full_names() {
    let lab = Lab::new();
    images(
        lab.path(),
        &[
            "disk.raw",
            "disk.img",
            "alone.raw",
            "Disk.dd",
            "case.raw",
            "case.RAW",
        ],
    );
    let expected = [
        ("disk.raw", "disk.raw.vhd"),
        ("disk.img", "disk.img.vhd"),
        ("alone.raw", "alone.vhd"),
        ("Disk.dd", "Disk.vhd"),
        ("case.raw", "case.raw.vhd"),
        ("case.RAW", "case.RAW.vhd"),
    ];
    assert_views(lab.path(), &[], &expected);
    let mount = Mount::new(lab.path());
    for short in ["disk.vhd", "case.vhd"] {
        assert_missing(&mount.join(short));
    }
    mount.unmount();
}

#[test]
fn a_name_that_is_taken_leads_to_the_full_name_or_none() {
    let lab = Lab::new();
    images(
        lab.path(),
        &[
            "a.raw",
            "a.img",
            "a.raw.raw",
            "b",
            "b.raw",
            "dir.raw",
            "dir.vhd/x.raw",
        ],
    );
    // `b` has but one possible name, and `b.raw` wants it: it is nobody's.
    let expected = [
        ("a.raw", "a.raw.vhd"),
        ("a.img", "a.img.vhd"),
        ("a.raw.raw", "a.raw.raw.vhd"),
        ("b.raw", "b.raw.vhd"),
        ("dir.raw", "dir.raw.vhd"),
        ("dir.vhd/x.raw", "dir.vhd/x.vhd"),
    ];
    assert_views(lab.path(), &["--include", "b"], &expected);
    let reasons = listed_reasons(&list(lab.path(), &["--include", "b"]));
    assert!(reasons["b"].contains("another entry"), "{reasons:?}");
}

#[test]
fn folders_keep_their_names_whatever_they_are_called() {
    let lab = Lab::new();
    images(
        lab.path(),
        &["x.raw/a.raw", "y.vhd/b.raw", "y.raw", "y.raw.vhd/c.raw"],
    );
    let expected = [
        ("x.raw/a.raw", "x.raw/a.vhd"),
        ("y.vhd/b.raw", "y.vhd/b.vhd"),
        ("y.raw.vhd/c.raw", "y.raw.vhd/c.vhd"),
    ];
    assert_views(lab.path(), &[], &expected);
    let reasons = listed_reasons(&list(lab.path(), &[]));
    assert!(reasons["y.raw"].contains("another entry"), "{reasons:?}");
}

#[test]
fn names_need_not_be_text() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    // The longest name there is: 255 bytes.
    let long = "x".repeat(250);
    let names: [(&[u8], &[u8]); 6] = [
        (b"\xff\xfe.raw", b"\xff\xfe.vhd"),
        (b"\xc3.img", b"\xc3.vhd"),
        (b"new\nline.raw", b"new\nline.vhd"),
        (b"sp ace\t'\"\\.raw", b"sp ace\t'\"\\.vhd"),
        ("ünï.raw".as_bytes(), "ünï.vhd".as_bytes()),
        (b"-rf.raw", b"-rf.vhd"),
    ];
    let mut expected = Vec::new();
    for (name, view) in names {
        random_image(&folder.join(OsStr::from_bytes(name)), 1, 700);
        expected.push(PathBuf::from(OsStr::from_bytes(view)));
    }
    random_image(&folder.join(format!("{long}.disk")), 1, 700);
    expected.push(format!("{long}.vhd").into());
    let mount = Mount::new(&folder);
    for (name, view) in names {
        let (raw, view) = (OsStr::from_bytes(name), OsStr::from_bytes(view));
        oracle_verify(&folder.join(raw), &mount.join(view));
    }
    assert_tree(mount.path(), &expected);
    mount.unmount();
    assert_eq!(
        list(&folder, &[])["images"].as_array().map(Vec::len),
        Some(7)
    );
}

#[test]
fn a_view_name_that_would_be_too_long_does_not_appear() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let long = "x".repeat(252);
    images(&folder, &[&format!("{long}.dd"), "a.raw"]);
    // Its short name would be legal, but somebody else wants that too.
    let pair = "y".repeat(250);
    images(&folder, &[&format!("{pair}.disk"), &format!("{pair}.raw")]);
    let mount = Mount::new(&folder);
    assert_tree(mount.path(), ["a.vhd"]);
    mount.unmount();
    let reasons = listed_reasons(&list(&folder, &[]));
    for name in [
        format!("{long}.dd"),
        format!("{pair}.disk"),
        format!("{pair}.raw"),
    ] {
        assert!(reasons[&name].contains("255"), "{name}: {reasons:?}");
    }
    let output = stdout_of(vhdfs().arg("list").arg(&folder));
    assert!(output.contains("255"), "{output}");
}
