//! `vhdfs map`: which ranges of a view hold data.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::harness::images::divided_image;
use crate::harness::{
    FileSystem, Lab, MIB, Mount, random_image, run, snapshot_of, sparse_image, stdout_of, vhdfs,
};
use rustix::fs::{SeekFrom, seek};
use serde_json::Value;

const GPT: &str = "label: gpt\nstart=2048, size=4096\nstart=8192, size=4096\n";

fn map(image: &Path, arguments: &[&str]) -> Value {
    let text = stdout_of(vhdfs().args(["map", "--json"]).args(arguments).arg(image));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// Offset, length and whether it is zeros, of each range.
fn ranges(map: &Value) -> Vec<(u64, u64, bool)> {
    let ranges = map["ranges"].as_array().expect("ranges");
    let number = |range: &Value, key: &str| range[key].as_u64().expect("a number");
    let range = |range: &Value| {
        let zero = range["zero"].as_bool().expect("a truth value");
        (number(range, "offset"), number(range, "length"), zero)
    };
    ranges.iter().map(range).collect()
}

/// Panics where the ranges are not in order, merged, of whole sectors and without gaps.
#[track_caller]
fn assert_form(map: &Value) {
    let (mut at, mut data, mut before) = (0, 0, None);
    for (offset, length, zero) in ranges(map) {
        assert_eq!(offset, at);
        assert!(length > 0 && length % 512 == 0, "{length}");
        assert_ne!(before, Some(zero), "two alike at {offset}");
        at += length;
        data += if zero { 0 } else { length };
        before = Some(zero);
    }
    assert_eq!(map["view_size"], at);
    assert_eq!(map["data_bytes"], data);
}

/// The data of a view as its mount reports it, in whole sectors.
fn data_of(view: &Path) -> Vec<(u64, u64)> {
    let file = File::open(view).expect("a view");
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).expect("a hole");
        let (start, end) = (start / 512 * 512, at.next_multiple_of(512));
        match found.last_mut() {
            Some((_, last)) if *last >= start => *last = end,
            _ => found.push((start, end)),
        }
    }
    found
}

#[test]
fn ranges_are_those_that_the_view_has() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let image = folder.join("a.raw");
    let data = [(0, 700), (3 * MIB, 5000), (9 * MIB + 512, 100_000)];
    sparse_image(&image, 1, 40 * MIB + 700, &data);
    let before = snapshot_of(&folder);
    for option in ["--min-size=1", "--min-size=1G"] {
        let found = map(&image, &[option]);
        assert_form(&found);
        assert_eq!(found["image"], image.to_str().expect("text"));
        assert_eq!(found["probed"], false);
        let mount = Mount::with(&folder, &[option, "--snapshot=never"]);
        mount.allow_log("smaller than 20 MiB");
        let ours: Vec<_> = ranges(&found)
            .into_iter()
            .filter(|(_, _, zero)| !zero)
            .map(|(offset, length, _)| (offset, offset + length))
            .collect();
        assert_eq!(ours, data_of(&mount.join("a.vhd")));
        let pages = stdout_of(vhdfs().args(["map", "--format=pages", option]).arg(&image));
        let pages: Vec<_> = pages
            .lines()
            .map(|line| line.split_once(' ').expect("offset and length"))
            .map(|(offset, length)| {
                let offset: u64 = offset.parse().expect("an offset");
                (offset, offset + length.parse::<u64>().expect("a length"))
            })
            .collect();
        assert_eq!(pages, ours);
        mount.unmount();
    }
    before.assert_unchanged(&folder);
}

#[test]
fn what_is_allocated_and_zero_is_found_by_probing() {
    let lab = Lab::new();
    let image = lab.path().join("a.raw");
    sparse_image(
        &image,
        1,
        10 * MIB,
        &[(0, 4 * MIB as usize), (6 * MIB, 4096)],
    );
    let file = File::options().write(true).open(&image).expect("the image");
    // Zeros that are stored: a block in the middle of data, and one that is half data.
    file.write_all_at(&vec![0; 8192], MIB).expect("zeros");
    file.write_all_at(&[0; 1024], 2 * MIB).expect("zeros");
    drop(file);
    let plain = map(&image, &[]);
    assert!(ranges(&plain).contains(&(0, 4 * MIB, false)), "{plain}");
    let probed = map(&image, &["--probe"]);
    assert_form(&probed);
    assert_eq!(probed["probed"], true);
    let data = 4 * MIB - 8192 + 4096 + 512;
    assert_eq!(probed["data_bytes"], data);
    assert!(ranges(&probed).contains(&(MIB, 8192, true)), "{probed}");
    let finer = map(&image, &["--probe", "--granularity=512"]);
    assert_eq!(finer["data_bytes"], data - 1024);
    let coarse = map(&image, &["--probe", "--granularity=1M"]);
    assert_eq!(coarse["data_bytes"], 4 * MIB + 4096 + 512);
}

#[test]
fn a_large_empty_disk_and_one_in_many_pieces_are_mapped_whole() {
    let lab = Lab::new();
    let empty = lab.path().join("empty.raw");
    sparse_image(&empty, 1, 4 << 40, &[]);
    let found = map(&empty, &[]);
    assert_eq!(ranges(&found), [(0, 4 << 40, true), (4 << 40, 512, false)]);
    let pieces = lab.path().join("pieces.raw");
    let data: Vec<_> = (0..20_000).map(|number| (number * 8192, 1)).collect();
    sparse_image(&pieces, 1, 20_000 * 8192, &data);
    let found = map(&pieces, &[]);
    assert_form(&found);
    // Block sizes of 4 KiB keep the pieces apart.
    assert!(ranges(&found).len() >= 40_000, "{}", ranges(&found).len());
}

#[test]
fn the_picture_fits_the_terminal_and_shows_what_is_where() {
    let lab = Lab::new();
    let image = divided_image(&lab, "a.raw", 20 * MIB + 512, GPT);
    for columns in [20, 60, 132] {
        let mut command = vhdfs();
        command
            .env("COLUMNS", columns.to_string())
            .arg("map")
            .arg(&image);
        let text = stdout_of(&mut command);
        let line = text
            .lines()
            .find(|line| line.ends_with('F'))
            .expect("a picture");
        assert!(line.chars().count() <= columns, "{text}");
        assert!(line.contains('·'), "{text}");
        for wanted in ["view", "data", "zeros", "footer", "GPT", "[1] at 1048576"] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        let bars = text.lines().find(|line| line.contains("[2-")).or(Some("2"));
        assert!(
            bars.is_some_and(|line| line.chars().count() <= columns),
            "{text}"
        );
    }
    let grown = stdout_of(vhdfs().args(["map", "--min-size=80M"]).arg(&image));
    assert!(grown.lines().any(|line| line.ends_with("--F")), "{grown}");
}

#[test]
fn the_map_of_a_clone_and_of_what_it_was_cloned_from_are_one() {
    let xfs = FileSystem::new("xfs", 512 * MIB);
    let image = xfs.path().join("a.raw");
    sparse_image(&image, 1, 30 * MIB, &[(0, 4096), (20 * MIB, 70_000)]);
    let copy = xfs.path().join("b.raw");
    crate::harness::run_ok(
        std::process::Command::new(crate::harness::tool("cp"))
            .arg("--reflink=always")
            .args([&image, &copy]),
    );
    assert_eq!(ranges(&map(&image, &[])), ranges(&map(&copy, &[])));
}

#[test]
fn what_cannot_be_mapped_is_told() {
    let lab = Lab::new();
    let image = lab.path().join("a.raw");
    random_image(&image, 1, 600);
    for (arguments, status, reason) in [
        (&["--granularity=4096"][..], 2, "--probe"),
        (&["--probe", "--granularity=100"], 2, "multiple of 512"),
        (&["--json", "--format=pages"], 2, "cannot be used with"),
        (&["--format=xml"], 2, "possible values"),
    ] {
        let output = run(vhdfs().arg("map").args(arguments).arg(&image));
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
        assert!(text.contains(reason), "{arguments:?}: {text}");
    }
    for missing in [lab.path().to_path_buf(), lab.path().join("none")] {
        let output = run(vhdfs().arg("map").arg(&missing));
        assert_eq!(output.status.code(), Some(1));
    }
}
