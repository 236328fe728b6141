//! `vhdfs check` at the command line: exit statuses, JSON and text, whatever an image comes as.

use std::fs::{self, File};
use std::io::pipe;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::images::divided_image;
use crate::harness::process::{copy_program, describe, set_mode};
use crate::harness::root::as_root;
use crate::harness::snapshot::access_times_of;
use crate::harness::{
    Lab, Loop, MIB, Mount, User, run, run_ok, snapshot_of, stdout_of, tool, vhdfs,
};
use serde_json::Value;

const READY: i32 = 0;
const NOT_READY: i32 = 1;
/// Wrong arguments, or an image that cannot be read.
const UNCHECKED: i32 = 2;
const UNKNOWN: i32 = 3;

/// A GPT with one partition.
const GPT: &str = "label: gpt\nstart=2048, size=2048\n";
/// A boot record with one partition.
const MBR: &str = "label: dos\nstart=2048, size=2048, type=83\n";

fn write_at(path: &Path, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn check(image: &Path, options: &[&str]) -> Command {
    let mut command = vhdfs();
    command.arg("check").args(options).arg(image);
    command
}

/// Runs a command that must end with this status.
#[track_caller]
fn ends(mut command: Command, status: i32) -> Output {
    let output = run(&mut command);
    let what = describe(&command, &output);
    assert_eq!(output.status.code(), Some(status), "{what}");
    output
}

/// Runs a check that must end with this status, nothing printed, and one line on standard error
/// that begins with the image's name and holds `words`.
#[track_caller]
fn refused(command: Command, image: &Path, words: &str) {
    let text = describe_refusal(ends(command, UNCHECKED));
    assert!(
        text.starts_with(&format!("vhdfs: {}: ", image.display())),
        "{text}"
    );
    assert!(text.contains(words), "{words:?} is not in: {text}");
}

#[track_caller]
fn describe_refusal(output: Output) -> String {
    assert!(output.stdout.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stderr).expect("a message");
    assert!(
        text.lines().count() == 1 && text.ends_with('\n'),
        "no line: {text:?}"
    );
    text
}

/// The report, which must lead to this exit status.
#[track_caller]
fn report(image: &Path, options: &[&str], status: i32) -> Value {
    let output = ends(check(image, &[&["--json"], options].concat()), status);
    assert!(output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

/// The findings but for the one that every disk has, sorted.
fn ids(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    let mut ids: Vec<_> = findings.map(|f| f["id"].as_str().unwrap()).collect();
    ids.retain(|&id| id != "size-upload");
    ids.sort_unstable();
    ids
}

/// Everything that is said about the disk, and not about the file around it.
fn about_the_disk(report: &Value) -> Vec<Value> {
    let mut findings = report["findings"].as_array().unwrap().clone();
    findings.retain(|finding| finding["id"] != "size-padding");
    findings
}

#[test]
fn the_exit_status_is_the_conclusion() {
    let lab = Lab::new();
    let disk = divided_image(&lab, "disk.raw", 20 * MIB, MBR);
    let ready = report(&disk, &["--data-disk"], READY);
    assert_eq!(ready["ready"], true);
    assert_eq!(ids(&ready), [""; 0]);

    let small = divided_image(&lab, "small.raw", 19 * MIB, MBR);
    let not_ready = report(&small, &["--data-disk"], NOT_READY);
    assert_eq!(not_ready["ready"], false);
    assert_eq!(ids(&not_ready), ["size-minimum"]);
    assert_eq!(
        ids(&report(&disk, &[], NOT_READY)),
        ["bios-boot-code", "boot-config", "root-unknown"]
    );

    // With boot code, nothing is wrong that can be told, and what matters cannot.
    write_at(&disk, 0, &[0xeb, 0x63, 0x90]);
    write_at(&disk, MIB, b"XFSB");
    let unknown = report(&disk, &[], UNKNOWN);
    assert_eq!(unknown["ready"], false);
    assert_eq!(unknown["verdict"], "unknown");
    assert_eq!(
        ids(&unknown),
        ["bios-loader-unknown", "boot-config", "root-unknown"]
    );
}

#[test]
fn the_json_is_that_of_the_contract() {
    let lab = Lab::new();
    let disk = divided_image(&lab, "disk.raw", 20 * MIB + 512, GPT);
    let report = report(&disk, &[], NOT_READY);
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let expected = [
        "findings",
        "format",
        "generation",
        "image",
        "ready",
        "schema",
        "stages",
        "verdict",
    ];
    assert_eq!(keys(&report), expected);
    assert_eq!(report["schema"], 2);
    assert_eq!(report["format"], "raw");
    assert_eq!(report["verdict"], "not_ready");
    let stages = report["stages"].as_array().unwrap();
    let names: Vec<_> = stages
        .iter()
        .map(|stage| stage["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "container",
            "firmware",
            "loader",
            "kernel",
            "cmdline",
            "initrd",
            "system",
            "provisioning",
            "network",
            "reachable"
        ]
    );
    for stage in stages {
        let verdict = stage["verdict"].as_str().unwrap();
        assert!(["ok", "broken", "unknown"].contains(&verdict), "{stage}");
    }
    assert_eq!(report["image"], disk.to_str().unwrap());
    assert_eq!(report["ready"], false);
    assert_eq!(report["generation"], 1);
    let levels = ["error", "unknown", "warning", "info"].map(Value::from);
    let findings = report["findings"].as_array().unwrap();
    let mut gravity = Vec::new();
    for finding in findings {
        let expected = [
            "id", "level", "line", "message", "path", "remedy", "source", "stage",
        ];
        assert_eq!(keys(finding), expected);
        assert!(names.contains(&finding["stage"].as_str().unwrap()));
        for key in ["id", "message", "remedy"] {
            assert_ne!(finding[key].as_str().expect("text"), "", "{key}");
        }
        let level = levels.iter().position(|level| *level == finding["level"]);
        gravity.push(level.expect("a known level"));
    }
    assert!(gravity.is_sorted(), "{findings:?}");
    gravity.dedup();
    assert_eq!(gravity.len(), levels.len(), "{findings:?}");
}

#[test]
fn the_text_is_for_people() {
    let lab = Lab::new();
    let disk = divided_image(&lab, "disk.raw", 20 * MIB, MBR);
    let text = stdout_of(&mut check(&disk, &["--data-disk"]));
    let name = disk.display();
    let want = format!(
        "\u{2713} container    MBR, 1 partitions, 20 MiB\n\n\
         container\n  info     size-upload: the virtual size is 20971520 bytes, and the upload's \
         with the footer 20972032\n           to do: give this number to `az disk create \
         --upload-size-bytes`\n\n{name}: ready for Azure (generation 1)\n"
    );
    assert_eq!(text, want);

    let output = ends(check(&disk, &[]), NOT_READY);
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\n\u{2717} firmware\n? loader\n"), "{text}");
    assert!(text.contains("\n  error    bios-boot-code: "), "{text}");
    assert!(text.contains("\n  unknown  root-unknown: "), "{text}");
    let last = text.lines().last().unwrap();
    assert_eq!(last, format!("{name}: not ready for Azure (generation 1)"));

    let strange = divided_image(&lab, "a\u{1b}[31m\nb.raw", 20 * MIB, "");
    let text = stdout_of(&mut check(&strange, &["--data-disk"]));
    let last = text.lines().last().unwrap();
    assert!(last.contains("a?[31m?b.raw: ready"), "{text:?}");
}

#[test]
fn the_generation_is_the_users_or_what_the_image_looks_like() {
    let lab = Lab::new();
    let mbr = divided_image(&lab, "mbr.raw", 20 * MIB, MBR);
    let efi = divided_image(&lab, "efi.raw", 20 * MIB, "label: gpt\nsize=2048, type=U\n");
    for (image, options, generation, expected) in [
        (
            &mbr,
            &[][..],
            1,
            &["bios-boot-code", "boot-config", "root-unknown"][..],
        ),
        (
            &mbr,
            &["--generation", "1"],
            1,
            &["bios-boot-code", "boot-config", "root-unknown"],
        ),
        (
            &mbr,
            &["--generation=2"],
            2,
            &["boot-config", "efi-table", "root-unknown"],
        ),
        (
            &efi,
            &[],
            2,
            &["boot-config", "efi-unreadable", "root-unknown"],
        ),
        (
            &efi,
            &["--generation", "1"],
            1,
            &[
                "bios-boot-code",
                "bios-boot-partition",
                "boot-config",
                "root-unknown",
            ],
        ),
        (
            &efi,
            &["--generation", "2"],
            2,
            &["boot-config", "efi-unreadable", "root-unknown"],
        ),
    ] {
        let errors = !expected.contains(&"efi-unreadable");
        let status = if errors { NOT_READY } else { UNKNOWN };
        let report = report(image, options, status);
        assert_eq!(report["generation"], generation, "{options:?}");
        assert_eq!(ids(&report), expected, "{options:?}");
    }
    let ready = report(&efi, &["--data-disk", "--generation=1"], READY);
    assert_eq!(ready["generation"], 1);
    for wrong in ["0", "3", "257", "", "one", "-1", "1.0", "1 "] {
        let output = ends(check(&mbr, &[&format!("--generation={wrong}")]), UNCHECKED);
        assert!(output.stdout.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.contains("--generation") && text.contains("1 or 2"),
            "{text}"
        );
    }
}

#[test]
fn what_cannot_be_checked_says_so_in_one_line() {
    let lab = Lab::new();
    let path = |name: &str| lab.path().join(name);
    let missing = path("missing.raw");
    refused(check(&missing, &[]), &missing, "name an image");
    refused(check(&missing, &["--json"]), &missing, "No such file");
    let nothing = lab.folder("nothing");
    refused(check(&nothing, &[]), &nothing, "there is no image");
    let null = Path::new("/dev/null");
    refused(
        check(null, &["--json"]),
        null,
        "is not a file; name an image",
    );
    let empty = divided_image(&lab, "empty.raw", 0, "");
    refused(
        check(&empty, &["--data-disk"]),
        &empty,
        "the image is empty",
    );
    let fifo = path("fifo.raw");
    run_ok(Command::new(tool("mkfifo")).arg(&fifo));
    refused(check(&fifo, &[]), &fifo, "is not a file; name an image");
    let socket = path("socket.raw");
    let _listener = UnixListener::bind(&socket).unwrap();
    refused(check(&socket, &[]), &socket, "cannot be read");
    let circle = path("circle.raw");
    std::os::unix::fs::symlink("circle.raw", &circle).unwrap();
    refused(check(&circle, &[]), &circle, "cannot be read");

    // The build may lie below a folder that is closed to others.
    let (program, closed) = (path("vhdfs"), divided_image(&lab, "closed.raw", MIB, ""));
    copy_program(&program);
    set_mode(&closed, 0o000);
    let mut command = User::ordinary().command(&program);
    command.arg("check").arg(&closed);
    refused(command, &closed, "run as a user who may read it");

    ends(vhdfs_with(&["check"]), UNCHECKED);
    ends(check(&closed, &["--unknown"]), UNCHECKED);
}

fn vhdfs_with(arguments: &[&str]) -> Command {
    let mut command = vhdfs();
    command.args(arguments);
    command
}

/// A folder is judged as its images are: a table, the worst first, and an array for scripts.
#[test]
fn folders_and_several_images() {
    let lab = Lab::new();
    let folder = lab.folder("images");
    lab.folder("images/below");
    let ready = divided_image(&lab, "images/a.raw", 20 * MIB, MBR);
    let small = divided_image(&lab, "images/below/small.img", 19 * MIB, MBR);
    divided_image(&lab, "images/.hidden.raw", 20 * MIB, MBR);
    fs::write(folder.join("notes.txt"), "x").unwrap();
    let rows = |command: Command, status| -> Vec<(String, Value)> {
        let output = ends(command, status);
        let rows: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        let rows = rows.as_array().expect("an array").iter();
        rows.map(|row| {
            (
                row["image"].as_str().unwrap().to_owned(),
                row["verdict"].clone(),
            )
        })
        .collect()
    };
    let expected = [
        (small.display().to_string(), Value::from("not_ready")),
        (ready.display().to_string(), Value::from("ready")),
    ];
    let options = ["--json", "--data-disk"];
    assert_eq!(rows(check(&folder, &options), NOT_READY), expected);
    let mut named = check(&ready, &options);
    named.arg(&small);
    assert_eq!(rows(named, NOT_READY), expected);

    let output = ends(check(&folder, &["--data-disk"]), NOT_READY);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("IMAGE"), "{text}");
    assert!(
        lines[1].contains("small.img") && lines[1].contains("size-minimum"),
        "{text}"
    );
    assert!(
        lines[2].contains("a.raw") && lines[2].contains("ready"),
        "{text}"
    );

    // One that cannot be read does not hide the others.
    let mut named = check(&ready, &options);
    named.arg(folder.join("missing.raw"));
    let output = ends(named, UNCHECKED);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        found[0]["error"].as_str().unwrap().contains("No such file"),
        "{found}"
    );
    assert_eq!(found[0]["verdict"], "unknown");
    assert_eq!(
        (&found[0]["ready"], &found[0]["schema"]),
        (&false.into(), &2.into())
    );
    assert_eq!(found[1]["ready"], true);
}

#[test]
fn findings_are_explained() {
    let text = stdout_of(&mut vhdfs_with(&["check", "--explain", "root-missing"]));
    assert!(
        text.starts_with("root-missing (error, stage cmdline)"),
        "{text}"
    );
    assert!(
        text.contains("source: ") && text.contains("https://"),
        "{text}"
    );
    let output = ends(vhdfs_with(&["check", "--explain", "nonsense"]), UNCHECKED);
    assert!(describe_refusal(output).contains("no finding is called"));
}

#[test]
fn a_reader_that_has_gone_does_not_change_the_status() {
    let lab = Lab::new();
    let disk = divided_image(&lab, "disk.raw", 20 * MIB, MBR);
    let broken_pipe = || {
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        writer
    };
    for options in [&[][..], &["--json"]] {
        for (more, status) in [(&["--data-disk"][..], READY), (&[], NOT_READY)] {
            let mut command = check(&disk, &[options, more].concat());
            let output = command.stdout(broken_pipe()).output().unwrap();
            assert_eq!(output.status.code(), Some(status), "{output:?}");
            assert!(output.stderr.is_empty(), "{output:?}");
        }
    }
    let mut command = check(&lab.path().join("missing"), &[]);
    let output = command.stderr(broken_pipe()).output().unwrap();
    assert_eq!(output.status.code(), Some(UNCHECKED), "{output:?}");
}

/// 1 would say that the image is not ready.
#[test]
fn a_report_that_cannot_be_written_is_no_verdict() {
    let lab = Lab::new();
    let disk = divided_image(&lab, "disk.raw", 20 * MIB, MBR);
    for options in [&["--data-disk"][..], &["--data-disk", "--json"], &[]] {
        let mut command = check(&disk, options);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(UNCHECKED), "{output:?}");
        let text = describe_refusal(output);
        assert!(text.contains("cannot write to standard output"), "{text}");
    }
}

#[test]
fn nothing_is_written_to_the_image() {
    let lab = Lab::new();
    let folder = lab.folder("images");
    let disk = divided_image(&lab, "images/disk.raw", 20 * MIB + 512, GPT);
    write_at(&disk, MIB, &crate::harness::random_bytes(5, MIB as usize));
    let vhd = run_ok(vhdfs().arg("cat").arg(&disk)).stdout;
    fs::write(folder.join("disk.vhd"), vhd).unwrap();
    fs::write(folder.join("disk.qcow2"), b"QFI\xfb\0\0\0\x03").unwrap();
    let (before, times) = (snapshot_of(&folder), access_times_of(&folder));
    for name in ["disk.raw", "disk.vhd", "disk.qcow2"] {
        for options in [&[][..], &["--json"], &["--data-disk"], &["--generation=2"]] {
            run(&mut check(&folder.join(name), options));
        }
    }
    assert_eq!(access_times_of(&folder), times);
    before.assert_unchanged(&folder);
}

#[test]
fn a_view_is_judged_as_its_source_is() {
    let lab = Lab::new();
    lab.folder("source");
    for (name, size, script) in [
        ("gpt.raw", 20 * MIB + 512, GPT),
        ("mbr.raw", 21 * MIB - 5, MBR),
        ("blank.raw", 20 * MIB, ""),
        ("small.raw", 4 * MIB, MBR),
    ] {
        divided_image(&lab, &format!("source/{name}"), size, script);
    }
    let source = lab.path().join("source");
    let (kept, relocated) = (
        Mount::new(&source),
        Mount::with(&source, &["--gpt=relocate"]),
    );
    for name in ["gpt", "mbr", "blank", "small"] {
        let raw = source.join(format!("{name}.raw"));
        for options in [&[][..], &["--data-disk"], &["--generation=2"]] {
            let options = &[&["--json"], options].concat()[..];
            let [raw, kept, relocated] = [
                &raw,
                &kept.join(format!("{name}.vhd")),
                &relocated.join(format!("{name}.vhd")),
            ]
            .map(|image| {
                let output = run(&mut check(image, options));
                let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
                (output.status.code(), report)
            });
            assert_eq!(raw.0, kept.0);
            assert_eq!(raw.1["generation"], kept.1["generation"]);
            assert_eq!(about_the_disk(&raw.1), about_the_disk(&kept.1), "{name}");
            let position = "gpt-backup-position";
            assert_eq!(ids(&kept.1).contains(&position), name == "gpt");
            let mut expected = about_the_disk(&kept.1);
            expected.retain(|finding| finding["id"] != position);
            assert_eq!(about_the_disk(&relocated.1), expected, "{name}");
        }
    }
    kept.unmount();
    relocated.unmount();
}

#[test]
fn a_device_is_judged_as_a_file_is() {
    let lab = Lab::new();
    for (name, size, script) in [
        ("gpt.raw", 20 * MIB + 512, GPT),
        ("mbr.raw", 20 * MIB, MBR),
        ("small.raw", MIB, ""),
    ] {
        let file = divided_image(&lab, name, size, script);
        let device = Loop::read_only(&file);
        for options in [&["--json"][..], &["--json", "--data-disk"]] {
            let mut of_device = as_root(vhdfs().get_program());
            of_device.arg("check").args(options).arg(device.path());
            let (of_file, of_device) = (run(&mut check(&file, options)), run(&mut of_device));
            assert_eq!(of_file.status.code(), of_device.status.code(), "{name}");
            let [of_file, of_device] = [of_file, of_device].map(|output| -> Value {
                serde_json::from_slice(&output.stdout).expect("a report")
            });
            assert_eq!(of_file["findings"], of_device["findings"], "{name}");
            assert_eq!(of_device["image"], device.path().to_str().unwrap());
        }
    }
}

#[test]
fn an_image_in_another_format_is_judged_as_the_disk_that_appears() {
    let lab = Lab::new();
    let raw = divided_image(&lab, "disk.raw", 30 * MIB, MBR);
    let image = lab.path().join("disk.qcow2");
    let mut convert = Command::new(tool("qemu-img"));
    convert.args(["convert", "-f", "raw", "-O", "qcow2"]);
    run_ok(convert.arg(&raw).arg(&image));
    let findings = |image: &Path| {
        let output = ends(check(image, &["--json"]), NOT_READY);
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = report["findings"].as_array().expect("findings").iter();
        let ids = findings.map(|finding| finding["id"].as_str().expect("an id").to_owned());
        ids.collect::<Vec<_>>()
    };
    let mut found = findings(&image);
    assert!(!found.iter().any(|id| id == "container"), "{found:?}");
    assert!(found.iter().any(|id| id == "source-format"), "{found:?}");
    found.retain(|id| id != "source-format");
    assert_eq!(found, findings(&raw));
}
