//! Disks that appear larger than they are: `--min-size`.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::images::divided_image;
use crate::harness::process::{describe, test_file};
use crate::harness::{
    FileSystem, Lab, MIB, Mount, Options, list, oracle_verify, random_image, run, run_ok,
    set_mtime, snapshot_of, sparse_image, stdout_of, tool, vhdfs,
};
use rustix::fs::{SeekFrom, seek};
use serde_json::{Value, json};

/// 20 MiB of padding take the backup from its place anyway: the disk ends in the middle of a MiB.
const GPT: &str = "label: gpt\nfirst-lba: 34\nstart=2048, size=2048\n";

fn oracle() -> Command {
    let mut command = Command::new(tool("python3"));
    command.arg("-B").arg(test_file("oracle/grown.py"));
    command
}

/// Panics where `view` is not what the oracle makes of the disk in `raw`, grown to `minimum` bytes,
/// with the name and time of `source`.
#[track_caller]
fn assert_grown(raw: &Path, source: &Path, view: &Path, minimum: u64) {
    let meta = source.metadata().expect("the source");
    let mut command = oracle();
    command.arg("verify").args([raw, view]);
    command
        .arg("--name")
        .arg(source.file_name().expect("a name"));
    command.arg(format!("--mtime={}", meta.mtime()));
    command.arg(format!("--min-size={minimum}"));
    let output = run(&mut command);
    assert!(output.status.success(), "{}", describe(&command, &output));
}

/// A fixed VHD of `size` bytes, and beside it the disk that is in it.
fn fixed_vhd(folder: &Path, name: &str, size: u64) -> (PathBuf, PathBuf) {
    let raw = folder.join(format!("{name}-disk"));
    random_image(&raw, 7, size);
    let mut bytes = fs::read(&raw).expect("the disk");
    bytes.extend(run_ok(oracle().arg("footer").arg(&raw)).stdout);
    let path = folder.join(name);
    fs::write(&path, bytes).expect("a VHD");
    (raw, path)
}

fn cat(image: &Path, arguments: &[&str], to: &Path) {
    let file = File::create(to).expect("an output");
    let mut command = vhdfs();
    command.arg("cat").args(arguments).arg(image).stdout(file);
    let status = command.status().expect("vhdfs runs");
    assert!(status.success(), "{command:?}");
}

#[test]
fn smaller_disks_appear_in_that_size_and_larger_ones_as_they_are() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("small.raw"), 1, MIB + 5);
    random_image(&folder.join("even.raw"), 2, 3 * MIB);
    random_image(&folder.join("large.raw"), 3, 9 * MIB + 1);
    let (disk, vhd) = fixed_vhd(&folder, "made.vhd", 2 * MIB);
    let (large_disk, large_vhd) = fixed_vhd(&folder, "kept.vhd", 8 * MIB);
    let before = snapshot_of(&folder);
    // Rounded up to a whole MiB, as every virtual size.
    let minimum = 7 * MIB - 100;
    let option = format!("--min-size={minimum}");
    for policy in ["--snapshot=auto", "--snapshot=never"] {
        let mount = Mount::with(&folder, &[&option, policy]);
        mount.allow_log("smaller than 20 MiB");
        mount.allow_log("no partition table");
        for name in ["small", "even", "large"] {
            let raw = folder.join(format!("{name}.raw"));
            let view = mount.join(format!("{name}.vhd"));
            assert_grown(&raw, &raw, &view, minimum);
            let catted = lab.path().join("catted");
            cat(&raw, &[&option], &catted);
            assert_grown(&raw, &raw, &catted, minimum);
        }
        oracle_verify(&folder.join("large.raw"), &mount.join("large.vhd"));
        assert_grown(&disk, &vhd, &mount.join("made.vhd"), minimum);
        assert!(fs::read(mount.join("kept.vhd")).unwrap() == fs::read(&large_vhd).unwrap());
        assert!(large_disk.exists());
        // The zeros take no space, and are holes for those who ask.
        let view = File::open(mount.join("small.vhd")).expect("a view");
        let hole = seek(&view, SeekFrom::Hole(0)).expect("a hole");
        assert!(hole < 2 * MIB, "{hole}");
        assert_eq!(seek(&view, SeekFrom::Data(2 * MIB)), Ok(7 * MIB));
        drop(view);
        mount.unmount();
    }
    before.assert_unchanged(&folder);
}

#[test]
fn commands_tell_the_size_that_appears() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let image = folder.join("a.raw");
    random_image(&image, 1, MIB + 5);
    set_mtime(&image, 1_700_000_000, 0);
    let inspect = |arguments: &[&str]| -> Value {
        let text = stdout_of(
            vhdfs()
                .args(["inspect", "--json"])
                .args(arguments)
                .arg(&image),
        );
        serde_json::from_str(&text).expect("JSON")
    };
    let (grown, plain) = (inspect(&["--min-size=30G"]), inspect(&[]));
    let size = 30_u64 << 30;
    assert_eq!(grown["virtual_size"], size);
    assert_eq!(grown["padding"], size - MIB - 5);
    assert_eq!(grown["footer"]["current_size"], size);
    assert_ne!(grown["footer"]["unique_id"], plain["footer"]["unique_id"]);
    let listed = list(&folder, &["--min-size=32GiB"]);
    let shown = &listed["images"][0];
    assert_eq!(shown["source_size"], MIB + 5);
    assert_eq!(shown["virtual_size"], 32_u64 << 30);
    assert_eq!(shown["view_size"], (32_u64 << 30) + 512);
    let warnings = shown["warnings"].to_string();
    assert!(!warnings.contains("20 MiB"), "{warnings}");
    // Not larger than whole MiB demand: the same disk as without the option.
    let same = list(&folder, &["--min-size=1536K"]);
    assert_eq!(same["images"][0]["unique_id"], plain["footer"]["unique_id"]);
    let (_, vhd) = fixed_vhd(&folder, "made.vhd", 2 * MIB);
    let text = stdout_of(
        vhdfs()
            .args(["inspect", "--json", "--min-size=4M"])
            .arg(&vhd),
    );
    let made: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&made["virtual_size"], &made["padding"]),
        (&json!(4 * MIB), &json!(2 * MIB))
    );
}

#[test]
fn mount_options_take_it_by_name() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("a.raw"), 1, MIB);
    let mount = Mount::with(&folder, &["-o", "ro,min_size=4M"]);
    mount.expect_log("--min-size 4194304: smaller than 20 MiB");
    mount.allow_log("a.raw: ");
    let image = folder.join("a.raw");
    assert_grown(&image, &image, &mount.join("a.vhd"), 4 * MIB);
    mount.unmount();
}

#[test]
fn a_check_judges_the_size_that_appears() {
    let lab = Lab::new();
    let image = divided_image(&lab, "a.raw", 10 * MIB, GPT);
    let check = |arguments: &[&str]| -> Vec<String> {
        let mut command = vhdfs();
        command.args(["check", "--json", "--data-disk"]);
        let output = run(command.args(arguments).arg(&image));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = report["findings"].as_array().expect("findings");
        let id = |finding: &Value| finding["id"].as_str().expect("an id").to_owned();
        findings.iter().map(id).collect()
    };
    let has = |found: &[String], id: &str| found.iter().any(|found| found == id);
    let plain = check(&[]);
    assert!(has(&plain, "size-minimum"), "{plain:?}");
    let grown = check(&["--min-size=32M"]);
    assert!(!has(&grown, "size-minimum"), "{grown:?}");
    assert!(has(&grown, "gpt-backup-position"), "{grown:?}");
    let moved = check(&["--min-size=32M", "--gpt=relocate"]);
    assert!(!has(&moved, "gpt-backup-position"), "{moved:?}");
    assert!(has(&check(&["--min-size=33T"]), "size-maximum"));
}

/// What a partitioning tool says of a disk.
fn judged(tool_name: &str, arguments: &[&str], view: &Path) -> (String, Output) {
    let output = run(Command::new(tool(tool_name)).args(arguments).arg(view));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (text.to_lowercase(), output)
}

#[test]
fn tools_find_nothing_to_complain_about_in_a_grown_and_relocated_table() {
    let lab = Lab::new();
    let xfs = FileSystem::new("xfs", 512 * MIB);
    let image = divided_image(&lab, "a.raw", 20 * MIB, GPT);
    let folder = xfs.folder("source");
    fs::copy(&image, folder.join("a.raw")).expect("a copy");
    let disk = lab.path().join("disk");
    for policy in ["--snapshot=never", "--snapshot=always"] {
        let mount = Mount::with(&folder, &["--min-size=64M", "--gpt=relocate", policy]);
        let view = mount.join("a.vhd");
        // Without its footer it is the disk that the virtual machine gets.
        let mut bytes = vec![0; 64 * MIB as usize];
        File::open(&view).unwrap().read_exact(&mut bytes).unwrap();
        fs::write(&disk, bytes).expect("a disk");
        for (name, arguments) in [
            ("sfdisk", &["--verify"][..]),
            ("sgdisk", &["-v"]),
            ("parted", &["-s"]),
        ] {
            let (text, output) = match name {
                "parted" => {
                    let mut command = Command::new(tool(name));
                    let output = run(command.args(arguments).arg(&disk).arg("print"));
                    let text = String::from_utf8_lossy(&output.stdout)
                        + String::from_utf8_lossy(&output.stderr);
                    (text.to_lowercase(), output)
                }
                _ => judged(name, arguments, &disk),
            };
            assert!(output.status.success(), "{name}: {text}");
            let text = text
                .replace("no errors detected", "")
                .replace("no problems found", "");
            for bad in [
                "warning",
                "error",
                "problem",
                "not all of the space",
                "corrupt",
            ] {
                assert!(!text.contains(bad), "{name}: {text}");
            }
        }
        // There is room to grow into, which is what cloud-init's growpart does.
        let (free, _) = judged("sfdisk", &["--list-free", "--quiet"], &disk);
        assert!(free.contains("62m"), "{free}");
        mount.unmount();
    }
}

#[test]
fn growpart_grows_the_partition_of_a_disk_that_appears_larger() {
    let lab = Lab::new();
    let image = divided_image(&lab, "a.raw", 20 * MIB, GPT);
    let disk = lab.path().join("disk");
    // What the virtual machine gets: a copy of the view, without its footer.
    let arguments = ["--min-size=64M", "--gpt=relocate", "--range=0-64M"];
    cat(&image, &arguments, &disk);
    let grown = stdout_of(Command::new(tool("growpart")).arg(&disk).arg("1"));
    assert!(
        grown.starts_with("CHANGED: partition=1 start=2048"),
        "{grown}"
    );
    let table = stdout_of(Command::new(tool("sfdisk")).arg("--json").arg(&disk));
    let table: Value = serde_json::from_str(&table).expect("JSON");
    let partition = &table["partitiontable"]["partitions"][0];
    let sectors = partition["size"].as_u64().expect("a size");
    // All but the MiB before it and the backup of the table behind it.
    assert!((2048 + sectors) * 512 >= 63 * MIB, "{partition}");
    let (text, output) = judged("sgdisk", &["-v"], &disk);
    assert!(
        output.status.success() && text.contains("no problems found"),
        "{text}"
    );
    // Without room there is nothing to grow into: that is what relocating is for.
    cat(&image, &["--min-size=64M", "--range=0-64M"], &disk);
    let kept = stdout_of(Command::new(tool("sgdisk")).arg("-v").arg(&disk));
    assert!(kept.contains("doesn't reside"), "{kept}");
}

#[test]
fn a_table_that_stays_where_it_was_is_a_warning() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    fs::rename(
        divided_image(&lab, "a.raw", 20 * MIB, GPT),
        folder.join("a.raw"),
    )
    .expect("moved");
    let listed = list(&folder, &["--min-size=64M"]);
    let warnings = listed["images"][0]["warnings"].to_string();
    assert!(warnings.contains("--gpt relocate"), "{warnings}");
    let options = Options::default().args(["--min-size=64M"]).foreground();
    let mount = options.mount(&folder);
    mount.allow_log("--gpt relocate");
    File::open(mount.join("a.vhd"))
        .unwrap()
        .read_exact(&mut [0; 512])
        .unwrap();
    let log = mount.log();
    let line = log.lines().find(|line| line.contains("--gpt relocate"));
    assert!(
        line.is_some_and(|line| line.to_lowercase().contains("warn")),
        "{log}"
    );
    mount.unmount();
    let listed = list(&folder, &["--min-size=64M", "--gpt=relocate"]);
    assert_eq!(listed["images"][0]["warnings"], json!([]));
}

#[test]
fn limits_of_azure_are_told_at_mount_time() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    sparse_image(&folder.join("a.raw"), 1, MIB, &[(0, 512)]);
    for (size, limit) in [
        ("4096G", "4,095 GiB"),
        ("32T", "32,767 GiB"),
        ("10M", "20 MiB"),
    ] {
        let options = Options::default().args(["--min-size", size]).foreground();
        options.expect_log(limit).mount(&folder).unmount();
    }
}

#[test]
fn sizes_that_are_none_are_wrong_arguments() {
    let lab = Lab::new();
    let image = lab.path().join("a.raw");
    random_image(&image, 1, 600);
    for (size, reason) in [
        ("30X", "not a size"),
        ("-1", "not a size"),
        ("", "not a size"),
        ("1.5G", "not a size"),
        ("0", "at least one byte"),
        ("9223372036854775808", "larger than a file can be"),
        (
            "9223372036854775807",
            "larger than the disk in a file can be",
        ),
    ] {
        for command in ["cat", "list", "inspect", "check"] {
            let output = run(vhdfs().args([command, "--min-size", size]).arg(&image));
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command} {size}: {text}");
            assert!(text.contains(reason), "{command} {size}: {text}");
        }
    }
}

#[test]
fn clones_grow_on_the_file_systems_that_make_them() {
    for kind in ["xfs", "btrfs"] {
        let fs = FileSystem::new(kind, 512 * MIB);
        let folder = fs.folder("source");
        let raw = folder.join("a.raw");
        // Ends in a hole in the middle of a block.
        sparse_image(&raw, 1, 3 * MIB + 700, &[(MIB, 5000)]);
        let (disk, vhd) = fixed_vhd(&folder, "made.vhd", 2 * MIB);
        let mount = Mount::with(&folder, &["--min-size=1G", "--snapshot=always"]);
        mount.allow_log("no partition table");
        assert_grown(&raw, &raw, &mount.join("a.vhd"), 1 << 30);
        assert_grown(&disk, &vhd, &mount.join("made.vhd"), 1 << 30);
        let mut at_old_footer = [1; 512];
        let view = File::open(mount.join("made.vhd")).expect("a view");
        view.read_exact_at(&mut at_old_footer, 2 * MIB)
            .expect("a read");
        assert_eq!(at_old_footer, [0; 512]);
        drop(view);
        mount.unmount();
    }
}
