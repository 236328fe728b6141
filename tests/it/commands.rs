//! `list` and `inspect` as scripts see them, exit statuses, and that nothing can be written.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::harness::process::{copy_program, set_mode};
use crate::harness::{
    Lab, MIB, Mount, User, errno_of, list, listed_reasons, random_image, run, set_mtime,
    snapshot_of, sparse_image, stdout_of, tool, vhdfs,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, XattrFlags};
use rustix::io::Errno;
use serde_json::{Value, json};

fn inspect(file: &Path) -> Value {
    let text = stdout_of(vhdfs().args(["inspect", "--json"]).arg(file));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

#[test]
fn list_tells_what_appears() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("sub/a.raw"), 1, MIB + 1);
    set_mtime(&folder.join("sub/a.raw"), 1_700_000_000, 5);
    sparse_image(&folder.join("hole.raw"), 1, 4 * MIB, &[]);
    let before = snapshot_of(&folder);
    let list = list(&folder, &[]);
    before.assert_unchanged(&folder);
    assert_eq!(list["source"], folder.to_str().expect("text"));
    assert_eq!(list["skipped"], json!([]));
    let images = list["images"].as_array().expect("images");
    assert_eq!(images.len(), 2);
    let image = |source: &str| {
        let found = images.iter().find(|image| image["source"] == source);
        found.unwrap_or_else(|| panic!("{source} in {list}"))
    };
    let a = image("sub/a.raw");
    assert_eq!(a["view"], "sub/a.vhd");
    assert_eq!(a["format"], "raw");
    assert_eq!(a["files"], json!(["sub/a.raw"]));
    assert_eq!(a["source_size"], MIB + 1);
    assert_eq!(a["virtual_size"], 2 * MIB);
    assert_eq!(a["view_size"], 2 * MIB + 512);
    assert!(a["allocated_size"].as_u64() >= Some(MIB));
    for warning in a["warnings"].as_array().expect("a list") {
        assert!(warning.is_string(), "{warning}");
    }
    // The oracle's own: uuid5 of name, size and time.
    let footer = inspect(&folder.join("sub/a.raw"));
    assert_eq!(a["unique_id"], footer["footer"]["unique_id"]);
    assert_eq!(image("hole.raw")["allocated_size"], 0);
    let text = stdout_of(vhdfs().arg("list").arg(&folder));
    assert!(text.contains("sub/a.raw") && text.contains("sub/a.vhd"));
}

#[test]
fn list_tells_what_does_not_appear_and_why() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    for name in ["a.raw", "notes.txt", ".dot.raw", "secret.raw"] {
        random_image(&folder.join(name), 1, 600);
    }
    fs::write(folder.join("empty.img"), "").expect("a file");
    fs::write(folder.join("q.img"), b"QFI\xfb\0\0\0\x03 and more").expect("a file");
    fs::write(folder.join("q.qcow2"), b"QFI\xfb\0\0\0\x03 and more").expect("a file");
    fs::create_dir(folder.join("closed")).expect("a folder");
    symlink("/etc", folder.join("outside")).expect("a link");
    set_mode(&folder.join("secret.raw"), 0o600);
    set_mode(&folder.join("closed"), 0o700);
    for name in ["a.raw", "notes.txt", "empty.img", "q.img", "q.qcow2"] {
        set_mode(&folder.join(name), 0o644);
    }
    // An ordinary user finds out what only root may read.
    let program = lab.path().join("vhdfs");
    copy_program(&program);
    let text = stdout_of(
        User::ordinary()
            .command(program)
            .args(["list", "--json"])
            .arg(&folder),
    );
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let reasons = listed_reasons(&list);
    for (source, word) in [
        ("notes.txt", "extension"),
        (".dot.raw", "dot"),
        ("secret.raw", "cannot be read"),
        ("empty.img", "empty"),
        ("q.img", "damaged"),
        ("q.qcow2", "damaged"),
        ("closed", "cannot be read"),
        ("outside", "outside"),
    ] {
        let reason = reasons.get(source);
        assert!(
            reason.is_some_and(|reason| reason.contains(word)),
            "{source}: {reasons:?}"
        );
    }
    assert_eq!(reasons.len(), 8, "{reasons:?}");
    for entry in list["skipped"].as_array().expect("skipped") {
        let source = entry["source"].as_str().expect("a path");
        let format = if source.starts_with("q.") {
            json!("qcow2")
        } else {
            Value::Null
        };
        assert_eq!(entry["format"], format, "{source}");
    }
}

#[test]
fn inspect_shows_the_footer_that_a_raw_image_gets() {
    let lab = Lab::new();
    let raw = lab.path().join("a.raw");
    random_image(&raw, 1, 20 * MIB - 3);
    set_mtime(&raw, 1_700_000_000, 5);
    let found = inspect(&raw);
    assert_eq!(found["path"], raw.to_str().expect("text"));
    assert_eq!(found["format"], "raw");
    assert_eq!(found["file_size"], 20 * MIB - 3);
    assert_eq!(found["virtual_size"], 20 * MIB);
    assert_eq!(found["padding"], 3);
    let footer = &found["footer"];
    let expected = json!({
        "cookie": "conectix", "features": 2, "file_format_version": 0x10000,
        "data_offset": u64::MAX, "timestamp": 1_700_000_000 - 946_684_800,
        "creator_application": "win ", "creator_version": 0xA0000, "creator_host_os": "Wi2k",
        "original_size": 20 * MIB, "current_size": 20 * MIB, "disk_type": 2, "saved_state": 0,
        "checksum_valid": true,
    });
    for (key, value) in expected.as_object().expect("keys") {
        assert_eq!(&footer[key], value, "{key}");
    }
    assert_eq!(footer["disk_geometry"]["cylinders"], 602);
    assert_eq!(footer["disk_geometry"]["heads"], 4);
    assert_eq!(footer["disk_geometry"]["sectors_per_track"], 17);

    // The view itself, inspected, says the same.
    let mount = Mount::new(&raw);
    let view = inspect(&mount.join("a.vhd"));
    mount.unmount();
    assert_eq!(view["format"], "fixed_vhd");
    assert_eq!(view["file_size"], 20 * MIB + 512);
    assert_eq!(view["virtual_size"], 20 * MIB);
    assert_eq!(view["footer"], *footer);
    let text = stdout_of(vhdfs().arg("inspect").arg(&raw));
    assert!(text.contains(footer["unique_id"].as_str().expect("text")));
}

#[test]
fn inspect_names_other_formats() {
    let lab = Lab::new();
    for (format, options, name) in [
        ("qcow2", "compat=1.1", "qcow2"),
        ("vpc", "subformat=dynamic,force_size=on", "dynamic_vhd"),
        ("vpc", "subformat=fixed,force_size=on", "fixed_vhd"),
        ("vhdx", "subformat=dynamic", "vhdx"),
    ] {
        let file = lab.path().join(name);
        crate::harness::run_ok(
            Command::new(tool("qemu-img"))
                .args(["create", "-q", "-f", format, "-o", options])
                .arg(&file)
                .arg("4M"),
        );
        let found = inspect(&file);
        assert_eq!(found["format"], name);
        assert_eq!(
            found["file_size"],
            file.metadata().expect("a file").len(),
            "{name}"
        );
        assert_eq!(found["source_size"], 4 * MIB, "{name}");
        assert_eq!(found["virtual_size"], 4 * MIB, "{name}");
        assert_eq!(found["padding"], 0, "{name}");
        assert_eq!(found["files"], json!([name]));
        assert_eq!(found["footer"]["disk_type"], 2, "{name}");
        assert_eq!(found["footer"]["checksum_valid"], true, "{name}");
    }
}

#[test]
fn exit_statuses() {
    let lab = Lab::new();
    let raw = lab.path().join("a.raw");
    random_image(&raw, 1, 600);
    let text = raw.to_str().expect("text");
    let missing = lab.path().join("missing");
    let missing = missing.to_str().expect("text");
    let cases: [(&[&str], i32); 14] = [
        (&["--version"], 0),
        (&["--help"], 0),
        (&["list", text], 0),
        (&["inspect", text], 0),
        (&["cat", text], 0),
        (&["list", missing], 1),
        (&["inspect", missing], 1),
        (&["cat", missing], 1),
        (&["mount", missing, missing], 1),
        (&["umount", missing], 1),
        (&[], 2),
        (&["list"], 2),
        (&["list", "--include", "[", text], 2),
        (&["mount", "-o", "nonsense", text, missing], 2),
    ];
    for (arguments, status) in cases {
        let output = run(vhdfs().args(arguments));
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        match status {
            0 => assert!(output.stderr.is_empty(), "{output:?}"),
            1 => {
                let error = String::from_utf8_lossy(&output.stderr);
                assert_eq!(error.lines().count(), 1, "{error}");
                assert!(error.contains(missing), "{error}");
            }
            _ => assert!(!output.stderr.is_empty(), "{arguments:?}"),
        }
    }
}

#[test]
fn writes_fail_with_erofs() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("a.raw"), 1, MIB);
    fs::create_dir(folder.join("sub")).expect("a folder");
    let before = snapshot_of(&folder);
    for options in [&[][..], &["-o", "rw"]] {
        let mount = Mount::with(&folder, options);
        let (view, sub, new) = (
            mount.join("a.vhd"),
            mount.join("sub"),
            mount.join("sub/new"),
        );
        type Attempt<'a> = &'a dyn Fn() -> std::io::Result<()>;
        let attempts: [(&str, Attempt); 16] = [
            ("open", &|| {
                OpenOptions::new().write(true).open(&view).map(drop)
            }),
            ("read and write", &|| {
                let mut options = OpenOptions::new();
                options.read(true).write(true).open(&view).map(drop)
            }),
            ("append", &|| {
                OpenOptions::new().append(true).open(&view).map(drop)
            }),
            ("truncate", &|| {
                rustix::fs::open(
                    &view,
                    rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::TRUNC,
                    Mode::empty(),
                )
                .map(drop)
                .map_err(Into::into)
            }),
            ("create", &|| File::create(&new).map(drop)),
            ("mkdir", &|| fs::create_dir(&new)),
            ("mknod", &|| {
                Ok(rustix::fs::mknodat(
                    CWD,
                    &new,
                    FileType::Fifo,
                    Mode::RUSR,
                    0,
                )?)
            }),
            ("symlink", &|| symlink("a", &new)),
            ("link", &|| fs::hard_link(&view, &new)),
            ("unlink", &|| fs::remove_file(&view)),
            ("rmdir", &|| fs::remove_dir(&sub)),
            ("rename", &|| fs::rename(&view, &new)),
            ("chmod", &|| {
                fs::set_permissions(&view, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            }),
            ("chown", &|| {
                std::os::unix::fs::chown(&view, Some(1), Some(1))
            }),
            ("utimes", &|| {
                File::open(&view)?
                    .set_times(FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH))
            }),
            ("setxattr", &|| {
                Ok(rustix::fs::setxattr(
                    &view,
                    "user.x",
                    b"y",
                    XattrFlags::empty(),
                )?)
            }),
        ];
        for (what, attempt) in attempts {
            assert_eq!(errno_of(attempt()), Errno::ROFS, "{what}");
        }
        assert_eq!(
            rustix::fs::accessat(CWD, &view, rustix::fs::Access::WRITE_OK, AtFlags::empty()),
            Err(Errno::ROFS)
        );
        mount.unmount();
    }
    before.assert_unchanged(&folder);
}
