//! The bytes of views are what the independent oracle makes of their sources, however, how often
//! and by however many they are read.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::oracle::ask_oracle;
use crate::harness::process::{describe, test_file};
use crate::harness::{
    Lab, MIB, Mount, Options, assert_tree, oracle_verify, random_image, run, run_ok, set_mtime,
    snapshot_of, sparse_image, tool, vhdfs,
};

/// Sources of all sizes at which the layout changes, the larger in nested folders.
fn sources(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut made = Vec::new();
    for (place, sizes) in [
        ("", vec![1, 511, 512, MIB - 1, MIB, MIB + 1]),
        ("sub/deep/", vec![20 * MIB, 97 * MIB + 12_345]),
    ] {
        for size in sizes {
            let raw = folder.join(format!("{place}{size}.raw"));
            random_image(&raw, size, size);
            made.push((raw, PathBuf::from(format!("{place}{size}.vhd"))));
        }
    }
    made
}

#[test]
fn every_size_is_what_the_oracle_says() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let sources = sources(&folder);
    let before = snapshot_of(&folder);
    // The second mount is another process: nothing of the first may be in the bytes.
    for options in [&[][..], &[], &["--direct-io"]] {
        let mount = Mount::with(&folder, options);
        for (raw, view) in &sources {
            oracle_verify(raw, &mount.join(view));
        }
        mount.unmount();
    }
    before.assert_unchanged(&folder);
}

#[test]
fn cat_gives_the_same_bytes() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let sources = sources(&folder);
    let before = snapshot_of(&folder);
    for (raw, _) in &sources {
        let copy = lab.path().join("copy.vhd");
        run_ok(
            Command::new(tool("sh"))
                .args(["-c", r#"exec "$0" cat "$1" >"$2""#])
                .args([vhdfs().get_program(), raw.as_ref(), copy.as_ref()]),
        );
        oracle_verify(raw, &copy);
        run_ok(
            Command::new(tool("bash"))
                .args(["-o", "pipefail", "-c", r#""$0" cat "$1" | cmp - "$2""#])
                .args([vhdfs().get_program(), raw.as_ref(), copy.as_ref()]),
        );
        fs::remove_file(&copy).expect("remove a copy");
    }
    before.assert_unchanged(&folder);
}

#[test]
fn cat_ends_quietly_where_its_reader_has_seen_enough() {
    let lab = Lab::new();
    let raw = lab.path().join("a.raw");
    random_image(&raw, 1, 20 * MIB);
    let output = run(Command::new(tool("bash"))
        .args(["-c", r#""$0" cat "$1" | head -c 10; exit ${PIPESTATUS[0]}"#])
        .args([vhdfs().get_program(), raw.as_ref()]));
    assert_eq!(output.stdout.len(), 10);
    assert!(output.stderr.is_empty(), "{output:?}");
    // 141 is SIGPIPE, as any other filter would end.
    assert!(
        matches!(output.status.code(), Some(0 | 141)),
        "{}",
        output.status
    );
}

#[test]
fn cat_refuses_a_terminal() {
    let lab = Lab::new();
    let raw = lab.path().join("a.raw");
    random_image(&raw, 1, 512);
    let command = format!("{} cat {}", vhdfs().get_program().display(), raw.display());
    let output = run(Command::new(tool("script")).args(["-qec", &command, "/dev/null"]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("terminal"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn cat_keeps_holes_and_does_not_read_them() {
    let lab = Lab::new();
    let raw = lab.path().join("a.raw");
    sparse_image(&raw, 1, 40 << 30, &[(0, 4096), (30 << 30, 70_000)]);
    let copy = lab.path().join("copy.vhd");
    // Reading 40 GiB of zeros would take longer than anybody waits here.
    let command = Command::new(vhdfs().get_program())
        .arg("cat")
        .arg(&raw)
        .stdout(File::create(&copy).expect("a copy"))
        .status();
    assert!(command.expect("vhdfs cat").success());
    let copied = copy.metadata().expect("a copy");
    assert_eq!(copied.len(), (40 << 30) + 512);
    assert!(copied.blocks() * 512 < MIB, "{} blocks", copied.blocks());
    let mount = Mount::new(&raw);
    let view = File::open(mount.join("a.vhd")).expect("a view");
    let copy = File::open(&copy).expect("a copy");
    for offset in [0, 30 << 30, (30 << 30) + 4096, (40 << 30) - 3584] {
        assert_eq!(bytes_at(&copy, offset), bytes_at(&view, offset), "{offset}");
    }
    drop(view);
    mount.unmount();
}

fn bytes_at(file: &File, offset: u64) -> Vec<u8> {
    let mut bytes = vec![0xAA; 4096];
    file.read_exact_at(&mut bytes, offset)
        .unwrap_or_else(|error| panic!("{offset}: {error}"));
    bytes
}

#[test]
fn a_sparse_tebibyte_has_its_data_and_footer_in_place() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = folder.join("large.raw");
    let size = (1 << 40) + 4097;
    let data = [
        (0, 8192),
        (4096 * MIB - 100, 8192),
        ((1 << 39) + 5, 4096),
        (size - 4000, 4000),
    ];
    sparse_image(&raw, 3, size, &data);
    set_mtime(&raw, 1_700_000_000, 123);
    let before = snapshot_of(&folder);
    let mount = Mount::new(&folder);
    let view = File::open(mount.join("large.vhd")).expect("a view");
    let virtual_size = size.next_multiple_of(MIB);
    assert_eq!(view.metadata().expect("its size").len(), virtual_size + 512);
    let source = File::open(&raw).expect("the source");
    for offset in data.iter().flat_map(|&(start, length)| {
        let end = (start + length as u64).min(size - 4096);
        [start.saturating_sub(4096), start.min(size - 4096), end]
    }) {
        assert_eq!(
            bytes_at(&view, offset),
            bytes_at(&source, offset),
            "{offset}"
        );
    }
    let padding = bytes_at(&view, size);
    assert_eq!(padding, [0; 4096]);
    let question = format!("footer {} {size} 1700000000", hex(b"large.raw"));
    let answer = &ask_oracle(&[question])[0];
    let footer = &bytes_at(&view, virtual_size + 512 - 4096)[4096 - 512..];
    assert_eq!(*answer, format!("{virtual_size} {}", hex(footer)));
    drop(view);
    mount.unmount();
    before.assert_unchanged(&folder);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_single_image_is_the_whole_mount() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    // Named by the user, so its extension does not matter; nothing beside it appears.
    for (name, view) in [("one.raw", "one.vhd"), ("two.bin", "two.bin.vhd")] {
        let raw = folder.join(name);
        random_image(&raw, 1, MIB + 77);
        let mount = Mount::new(&raw);
        assert_tree(mount.path(), [view]);
        oracle_verify(&raw, &mount.join(view));
        mount.unmount();
    }
}

/// Many processes at once read one view in every way, over every border of its regions.
fn read_by_many(options: &[&str]) {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("dense.raw"), 1, 3 * MIB + 777);
    let data = [(MIB, 10_000), (2 * MIB - 1, 4098), (5 * MIB, 13)];
    sparse_image(&folder.join("holes.raw"), 2, 5 * MIB + 13, &data);
    let before = snapshot_of(&folder);
    let mount = Options::default().args(options).mount(&folder);
    let mut readers = Vec::new();
    for (seed, way) in ["cached", "direct", "mapped", "cached", "direct"]
        .iter()
        .enumerate()
    {
        for name in ["dense", "holes"] {
            let raw = folder.join(format!("{name}.raw"));
            let view = mount.join(format!("{name}.vhd"));
            readers.push(start_reader(&raw, &view, way, seed));
        }
    }
    for reader in readers {
        let output = reader.wait_with_output().expect("a reader");
        assert!(
            output.status.success(),
            "{}",
            describe(&Command::new("reader"), &output)
        );
    }
    mount.unmount();
    before.assert_unchanged(&folder);
}

fn start_reader(raw: &Path, view: &Path, way: &str, seed: usize) -> Child {
    Command::new(tool("python3"))
        .arg("-B")
        .arg(test_file("semantics/read_ranges.py"))
        .args([raw, view])
        .args([way, &seed.to_string(), "300"])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start a reader")
}

#[test]
fn many_readers_get_every_range_right() {
    read_by_many(&[]);
}

#[test]
fn many_readers_get_every_range_right_past_the_page_cache() {
    read_by_many(&["--direct-io"]);
}

#[test]
fn many_readers_get_every_range_right_without_snapshots() {
    read_by_many(&["--snapshot", "never", "--threads", "2"]);
}

#[test]
fn the_name_the_size_and_the_time_alone_make_the_bytes() {
    let lab = Lab::new();
    let made: Vec<_> = ["here", "there"]
        .into_iter()
        .map(|place| {
            let folder = lab.folder(place);
            let raw = folder.join("a.raw");
            random_image(&raw, 5, MIB - 3);
            // Nanoseconds are no part of the footer.
            set_mtime(&raw, 1_600_000_000, if place == "here" { 1 } else { 2 });
            let mount = Mount::new(&folder);
            let bytes = fs::read(mount.join("a.vhd")).expect("a view");
            mount.unmount();
            bytes
        })
        .collect();
    assert!(made[0] == made[1], "the same source gave two views");
}
