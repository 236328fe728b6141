//! FAT, and folders of ext4 that ignore case: not every kernel has them, so `scripts/test-hosts` runs these
//! tests in guests with kernels that do. On a machine that has them, too: `scripts/test -- --ignored guests::`.

use std::process::Command;

use crate::case::listed_names_open_and_no_others;
use crate::harness::{FileSystem, MIB, run_ok, tool};
use crate::writers::assert_writes_within_a_tick_are_seen;
use crate::writers_model::all_writers_on;
use crate::writers_table;

/// Both list names as they were given.
const LISTED: [&str; 3] = ["Disk.RAW", "Sub", "Other"];

#[test]
#[ignore = "takes FAT in the kernel: scripts/test-hosts kernel-6.12"]
fn all_writers_on_fat() {
    all_writers_on("vfat", &[]);
}

#[test]
#[ignore = "takes FAT in the kernel: scripts/test-hosts kernel-6.12"]
fn two_writes_within_two_seconds_are_two_versions_on_fat() {
    let fat = FileSystem::new("vfat", 64 * MIB);
    assert_writes_within_a_tick_are_seen(&fat.folder("source"));
}

#[test]
#[ignore = "takes FAT in the kernel: scripts/test-hosts kernel-6.12"]
fn the_row_of_fat() {
    writers_table::check("FAT", "vfat", &[]);
}

#[test]
#[ignore = "takes FAT in the kernel: scripts/test-hosts kernel-6.12"]
fn listed_names_open_and_no_others_on_fat() {
    let fat = FileSystem::new("vfat", 64 * MIB);
    listed_names_open_and_no_others(&fat.folder("source"), LISTED);
}

#[test]
#[ignore = "takes CONFIG_UNICODE in the kernel: scripts/test-hosts kernel-6.12"]
fn listed_names_open_and_no_others_on_ext4_that_ignores_case() {
    let ext4 = FileSystem::with("ext4", 64 * MIB, &["-O", "casefold"]);
    let folder = ext4.folder("source");
    run_ok(Command::new(tool("chattr")).arg("+F").arg(&folder));
    listed_names_open_and_no_others(&folder, LISTED);
}
