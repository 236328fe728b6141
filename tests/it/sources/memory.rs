//! Memory that many readers take.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::convert;
use crate::harness::images::{Aligned, open_past_cache};
use crate::harness::mount::wait_until;
use crate::harness::{Lab, MIB, Mount, Options, random_bytes, run_ok, tool};
use crate::scale::number_of;
use crate::shortage::{leave_memory, limit};

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

/// Writes an image, and both kinds of compressed qcow2 files of it; returns what is in it.
fn images(folder: &Path, size: u64) -> Vec<u8> {
    let raw = folder.join("raw.raw");
    // Half of each cluster is random, so that it can be compressed, but not to nothing.
    let mut bytes = vec![0; size as usize];
    for (number, half) in (0..).zip(bytes.chunks_mut(32 << 10).step_by(2)) {
        half.copy_from_slice(&random_bytes(number, half.len()));
    }
    fs::write(&raw, &bytes).expect("an image");
    convert(&raw, "qcow2", "-c", &folder.join("zlib.qcow2"));
    let zstd = folder.join("zstd.qcow2");
    convert(&raw, "qcow2", "-ccompression_type=zstd", &zstd);
    bytes
}

#[test]
fn many_readers_take_no_more_than_the_caches_and_what_is_under_way() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    images(&folder, SIZE);
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

/// Where there is no memory for a decoder, or for what it decodes, the image is not damaged, and the daemon lives.
#[test]
fn too_little_memory_for_decoders_is_an_error_of_some_reads() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let bytes = images(&folder, READERS * MIB / 4);
    run_ok(
        Command::new(tool("xz"))
            .args(["--block-size=256KiB", "-0"])
            .arg(folder.join("raw.raw")),
    );
    let mut failed = 0;
    for memory in [64 << 10, MIB, 6 * MIB, 12 * MIB] {
        let options = ["--compressed", "--cache-size=16M", "--snapshot=never"];
        let mount = Options::default().args(options).mount(&folder);
        mount.allow_log("out of memory");
        mount.allow_log("because no thread can be started");
        let names = ["zlib.vhd", "zstd.vhd", "raw.vhd"];
        let views = names.map(|name| open_past_cache(&mount.join(name)));
        leave_memory(&mount, memory);
        failed += read_with_too_little_memory(&views, &bytes);
        limit(&mount, "--data=unlimited:");
        for (view, name) in views.iter().zip(names) {
            // A second after memory was short, some is set aside for the next time.
            let is_right = || {
                let mut got = vec![0; bytes.len()];
                view.read_exact_at(&mut got, 0).is_ok_and(|()| got == bytes)
            };
            wait_until("memory", is_right).unwrap_or_else(|late| panic!("{name}: {late}"));
        }
        let log = mount.log();
        assert!(!log.contains("damaged") && !log.contains("[bug]"), "{log}");
        drop(views);
        mount.unmount();
    }
    assert!(failed > 0, "memory was never short");
}

/// Reads all views by [`READERS`] at the same time. Returns how many reads failed; all others were right.
fn read_with_too_little_memory(views: &[File], bytes: &[u8]) -> usize {
    let failed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for offset in (0..bytes.len()).step_by(bytes.len() / READERS as usize) {
            let failed = &failed;
            scope.spawn(move || {
                let mut buffer = Aligned::new();
                for view in views {
                    let buffer = buffer.get(bytes.len() / READERS as usize);
                    match view.read_exact_at(buffer, offset as u64) {
                        Ok(()) => assert!(bytes[offset..].starts_with(buffer), "at {offset}"),
                        Err(error) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            let code = error.raw_os_error();
                            assert!(matches!(code, Some(libc::ENOMEM | libc::EIO)), "{error}");
                        }
                    }
                }
            });
        }
    });
    failed.into_inner()
}
