//! Memory that many readers take.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;

use super::convert;
use crate::harness::images::{Aligned, open_past_cache};
use crate::harness::{Lab, MIB, Mount, random_bytes};
use crate::scale::number_of;

const READERS: u64 = 64;
const SIZE: u64 = 2 * READERS * MIB;

/// Reads a view by [`READERS`] at the same time, each a part of its own.
fn read_by_many(view: &Path) {
    thread::scope(|scope| {
        for reader in 0..READERS {
            scope.spawn(move || {
                let view = open_past_cache(view);
                let mut buffer = Aligned::new();
                let part = SIZE / READERS;
                for offset in (reader * part..(reader + 1) * part).step_by(MIB as usize) {
                    let buffer = buffer.get(MIB as usize);
                    view.read_exact_at(buffer, offset).expect("bytes");
                }
            });
        }
    });
}

#[test]
fn many_readers_take_no_more_than_the_caches_and_what_is_under_way() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = folder.join("raw.raw");
    // Half of each cluster is random, so that it can be compressed, but not to nothing.
    let mut bytes = vec![0; SIZE as usize];
    for (number, half) in (0..).zip(bytes.chunks_mut(32 << 10).step_by(2)) {
        half.copy_from_slice(&random_bytes(number, half.len()));
    }
    fs::write(&raw, bytes).expect("an image");
    convert(&raw, "qcow2", "-c", &folder.join("zlib.qcow2"));
    convert(
        &raw,
        "qcow2",
        "-ccompression_type=zstd",
        &folder.join("zstd.qcow2"),
    );
    for name in ["raw.vhd", "zlib.vhd", "zstd.vhd"] {
        let mount = Mount::with(&folder, &["--cache-size=16M", "--snapshot=never"]);
        let pid = mount.pids()[0];
        let peak = || number_of(pid, "status", "VmHWM") >> 10;
        let idle = peak();
        read_by_many(&mount.join(name));
        let more = peak() - idle;
        eprintln!("{name}: {more} MiB more than idle");
        // Of the two caches of 16 MiB only one is in use, and 16 MiB are under way; one MiB for each reader
        // would come to 80.
        assert!(more < 60, "{name}: {more} MiB");
        mount.unmount();
    }
}
