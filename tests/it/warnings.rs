//! The warnings of `vhdfs list` and of the log of a mount about an image.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{
    Lab, MIB, Mount, Options, run_ok, set_mtime, sparse_image, stdout_of, tool, vhdfs,
};
use serde_json::Value;

const SMALL: &str = "smaller than 20 MiB, which Azure does not take";
const NO_TABLE: &str = "no partition table";
const POSITION: &str = "backup GPT not at the end of the disk; `--gpt relocate` puts it there";

/// One image for each warning, one for two of them, and one without any.
const IMAGES: [(&str, &[&str]); 5] = [
    ("blank", &[NO_TABLE]),
    ("good", &[]),
    ("moved", &[POSITION]),
    ("small", &[SMALL]),
    ("tiny", &[SMALL, NO_TABLE]),
];

fn divide(path: &Path) {
    let mut command = Command::new(tool("sgdisk"));
    run_ok(command.args(["-n", "1:2048:+1M"]).arg(path));
}

/// A folder with them.
fn images(lab: &Lab) -> PathBuf {
    let folder = lab.folder("source");
    for (name, size, divided) in [
        ("blank", 20 * MIB, false),
        ("good", 20 * MIB, true),
        ("moved", 20 * MIB + 512, true),
        ("small", 4 * MIB, true),
        ("tiny", 700, false),
    ] {
        let path = folder.join(format!("{name}.raw"));
        sparse_image(&path, 0, size, &[]);
        if divided {
            divide(&path);
        }
    }
    folder
}

fn warnings(report: &Value, source: &str) -> Vec<String> {
    let mut images = report["images"].as_array().unwrap().iter();
    let image = images.find(|image| image["source"] == source);
    let warnings = image.unwrap_or_else(|| panic!("{source}: {report}"))["warnings"].as_array();
    let text = |warning: &Value| warning.as_str().expect("text").to_owned();
    warnings.expect("a list").iter().map(text).collect()
}

#[test]
fn list_remarks_in_json_and_in_the_table() {
    let lab = Lab::new();
    let folder = images(&lab);
    // The warnings about a VHD are those about its disk.
    let vhd = run_ok(vhdfs().arg("cat").arg(folder.join("tiny.raw"))).stdout;
    fs::write(folder.join("other.vhd"), vhd).unwrap();
    let mut command = vhdfs();
    let json = stdout_of(command.args(["list", "--json"]).arg(&folder));
    let report: Value = serde_json::from_str(&json).expect("JSON");
    let table = stdout_of(vhdfs().arg("list").arg(&folder));
    let row = |source: &str| {
        let row = table.lines().find(|line| line.starts_with(source));
        row.unwrap_or_else(|| panic!("{source}: {table}"))
            .to_owned()
    };
    for (name, remarks) in IMAGES {
        let source = format!("{name}.raw");
        assert_eq!(warnings(&report, &source), remarks, "{name}");
        let row = row(&source);
        let view = row.find(&format!("{name}.vhd")).expect("the view's name");
        let last_column = row[view + name.len() + 4..].trim();
        assert_eq!(last_column, remarks.join("; "), "{table}");
    }
    assert_eq!(warnings(&report, "other.vhd"), [SMALL, NO_TABLE]);
    assert!(
        table.starts_with("SOURCE") && table.contains("WARNINGS"),
        "{table}"
    );
}

/// Opens a view, reads from it, and closes it.
fn look_at(view: &Path) {
    let file = File::open(view).unwrap_or_else(|error| panic!("{}: {error}", view.display()));
    file.read_exact_at(&mut [0; 512], 0).expect("a read");
}

/// How often the log has this about an image.
fn times(mount: &Mount, name: &str, remark: &str) -> usize {
    mount
        .log()
        .matches(&format!("{name}.raw: {remark}"))
        .count()
}

fn all_remarks(mount: &Mount, name: &str) -> Vec<&'static str> {
    let known = [SMALL, NO_TABLE, POSITION];
    known
        .into_iter()
        .filter(|remark| times(mount, name, remark) > 0)
        .collect()
}

#[test]
fn a_mount_remarks_once_per_version() {
    let lab = Lab::new();
    let folder = images(&lab);
    let mount = Options::default().foreground().mount(&folder);
    fs::read_dir(mount.path()).unwrap().for_each(drop);
    for (name, _) in IMAGES {
        assert_eq!(all_remarks(&mount, name), [""; 0], "before it was opened");
    }
    for _ in 0..3 {
        for (name, _) in IMAGES {
            look_at(&mount.join(format!("{name}.vhd")));
        }
    }
    for (name, remarks) in IMAGES {
        assert_eq!(all_remarks(&mount, name), remarks, "{}", mount.log());
        for remark in remarks {
            assert_eq!(times(&mount, name, remark), 1, "{}", mount.log());
        }
    }
    // Another version is another disk; the first one is remembered still.
    set_mtime(&folder.join("blank.raw"), 1_000_000_000, 5);
    let seen = crate::harness::mount::wait_until("the new version", || {
        look_at(&mount.join("blank.vhd"));
        times(&mount, "blank", NO_TABLE) == 2
    });
    seen.unwrap_or_else(|error| panic!("{error}\n{}", mount.log()));
    look_at(&mount.join("blank.vhd"));
    assert_eq!(times(&mount, "blank", NO_TABLE), 2, "{}", mount.log());
    mount.unmount();
}

/// What is a VHD already appears as it is, with its table where it is.
#[test]
fn relocation_is_not_advised_where_it_does_nothing() {
    let lab = Lab::new();
    let raw = images(&lab).join("moved.raw");
    let vhd = run_ok(vhdfs().arg("cat").arg(&raw)).stdout;
    let folder = lab.folder("vhds");
    fs::write(folder.join("kept.vhd"), vhd).unwrap();
    let json = stdout_of(vhdfs().args(["list", "--json"]).arg(&folder));
    let report: Value = serde_json::from_str(&json).expect("JSON");
    let warning = "backup GPT not at the end of the disk";
    assert_eq!(warnings(&report, "kept.vhd"), [warning]);
    let options = Options::default().args(["--gpt=relocate"]);
    let mount = options.foreground().mount(&folder);
    look_at(&mount.join("kept.vhd"));
    let log = mount.log();
    assert!(
        log.contains(&format!("kept.vhd: {warning} [warning]\n")),
        "{log}"
    );
    mount.unmount();
}

#[test]
fn a_relocated_table_needs_no_warning() {
    let lab = Lab::new();
    let folder = images(&lab);
    for policy in ["--snapshot=auto", "--snapshot=never"] {
        let options = Options::default().args(["--gpt=relocate", policy]);
        let mount = options.foreground().mount(&folder);
        for (name, remarks) in IMAGES {
            look_at(&mount.join(format!("{name}.vhd")));
            let mut expected = remarks.to_vec();
            expected.retain(|&remark| remark != POSITION);
            assert_eq!(all_remarks(&mount, name), expected, "{}", mount.log());
        }
        mount.unmount();
    }
}
