//! What the program says of itself: short help, long help, examples that work, and ids of messages.

use std::path::Path;
use std::process::{Command, Output};

use crate::harness::mount::is_mount;
use crate::harness::process::describe;
use crate::harness::{Azurite, Lab, MIB, random_image, run, run_ok, stdout_of, tool, vhdfs};

const COMMANDS: [&str; 12] = [
    "mount", "umount", "status", "list", "inspect", "cat", "map", "manifest", "verify", "check",
    "demo", "generate",
];

/// What the program says, as it says it on a terminal of 80 columns.
fn said(arguments: &[&str]) -> String {
    stdout_of(vhdfs().args(arguments).env("COLUMNS", "80"))
}

#[test]
fn short_help_is_one_screen() {
    let page = said(&["-h"]);
    let pages = COMMANDS.map(|command| said(&[command, "-h"]));
    for page in pages.iter().chain([&page]) {
        assert!(page.lines().count() <= 40, "{page}");
        for line in page.lines() {
            assert!(line.chars().count() <= 80, "{line:?} in {page}");
        }
    }
}

#[test]
fn long_help_is_in_groups() {
    let page = said(&["mount", "--help"]);
    let groups = [
        "What appears:",
        "Who may read:",
        "Consistency:",
        "Speed:",
        "System:",
    ];
    let places = groups.map(|group| page.find(&format!("\n{group}\n")).expect(group));
    assert!(places.is_sorted(), "{page}");
    for (group, option) in
        groups
            .iter()
            .zip(["--gpt", "--uid", "--writers", "--threads", "--sandbox"])
    {
        let of_group = &page[page.find(group).expect("a group")..];
        let end = of_group[1..].find("\n\n\n").unwrap_or(of_group.len());
        let next = groups
            .iter()
            .filter_map(|other| of_group[1..].find(&format!("\n{other}\n")));
        let end = next.min().unwrap_or(end);
        assert!(
            of_group[..end].contains(option),
            "{option} is not in {group}"
        );
    }
}

/// The commands below `Examples:` at the end of a help page.
fn examples(page: &str) -> Vec<&str> {
    let (_, examples) = page.rsplit_once("\nExamples:\n").expect(page);
    examples.trim_end().lines().map(str::trim_start).collect()
}

/// What the examples speak of, in a home of the test's own.
fn home() -> Lab {
    let lab = Lab::new();
    let home = lab.path();
    for (name, seed) in [
        ("disk.raw", 1),
        ("data.img", 2),
        ("debian.raw", 3),
        ("old/a.bin", 4),
    ] {
        random_image(&home.join("images").join(name), seed, 9 * MIB);
    }
    lab.folder("mnt");
    lab.folder("downloads");
    let script =
        "vhdfs manifest images --output images.json; vhdfs cat images/disk.raw >downloads/disk.vhd";
    shell(home, script, "");
    lab
}

fn shell(home: &Path, line: &str, container: &str) -> Output {
    let mut command = Command::new(tool("bash"));
    let folders = [vhdfs().get_program().into(), tool("azcopy")];
    let folders =
        folders.map(|program: std::path::PathBuf| program.parent().expect("a folder").to_owned());
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{}:{path}", folders[0].display(), folders[1].display());
    command
        .args(["-euo", "pipefail", "-c", line])
        .current_dir(home)
        .env("HOME", home)
        .env("PATH", path)
        .env("MANPAGER", "cat")
        .env("AZCOPY_LOG_LOCATION", home)
        .env("AZCOPY_JOB_PLAN_LOCATION", home)
        .env("CONTAINER_URL", container);
    let output = run(&mut command);
    // `check` may find something to say about images of random bytes.
    let is_judged = line.starts_with("vhdfs check") && output.status.code() != Some(2);
    assert!(
        output.status.success() || is_judged,
        "{}",
        describe(&command, &output)
    );
    output
}

#[test]
fn each_help_ends_with_examples_that_work() {
    let azurite = Azurite::start();
    let container = azurite.container("examples");
    let lab = home();
    let mountpoint = lab.path().join("mnt");
    let place = mountpoint.to_str().expect("a name of a test");
    let mount = || shell(lab.path(), "vhdfs mount ~/images ~/mnt", "");
    let pages = COMMANDS.map(|command| said(&[command, "--help"]));
    for (command, page) in COMMANDS
        .iter()
        .zip(&pages)
        .chain([(&"", &said(&["--help"]))])
    {
        let lines = examples(page);
        assert!(lines.len() >= 2, "{command}: {lines:?}");
        for line in lines {
            let is_of_mounts = ["vhdfs umount", "vhdfs status", "azcopy"]
                .iter()
                .any(|of| line.starts_with(of));
            if is_of_mounts && !is_mount(&mountpoint) {
                mount();
            }
            // The emulator's address does not say that it is one.
            let line = line
                .replace("/mnt/vhd", place)
                .replace("azcopy copy", "azcopy copy --from-to LocalBlob");
            shell(lab.path(), &line, &container.url);
            for mounted in [&mountpoint, &lab.path().join("vhds")] {
                if !line.contains("status") && !line.contains("azcopy") && is_mount(mounted) {
                    run_ok(vhdfs().arg("umount").arg(mounted));
                }
            }
        }
    }
}

#[test]
fn what_was_probably_meant_is_suggested() {
    for (arguments, meant) in [
        (&["mount", "--alow-other", "a", "b"][..], "'--allow-other'"),
        (&["mont", "a", "b"], "'mount'"),
        (&["mount", "--writers", "alow", "a", "b"], "'allow'"),
        (&["mount", "-o", "alow_other", "a", "b"], "\"allow_other\""),
        (&["list", "--exlude", "x", "a"], "'--exclude'"),
    ] {
        let mut command = vhdfs();
        let output = run(command.args(arguments));
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(meant), "{meant} is not in {text}");
    }
}

#[test]
fn an_id_leads_to_its_section() {
    let lab = Lab::new();
    let missing = lab.path().join("nothing");
    let output = run(vhdfs().arg("list").arg(&missing));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let id = text.trim_end().rsplit(' ').next().expect("an id");
    assert_eq!(id, "[unreadable]", "{text}");
    for asked in [id, id.trim_matches(['[', ']'])] {
        let section = said(&["help", "troubles", asked]);
        assert!(
            section.starts_with(id) && section.contains("cannot be listed"),
            "{section}"
        );
    }
    let all = said(&["help", "troubles"]);
    assert!(all.contains("\n  fuse-missing "), "{all}");
    assert!(all.lines().all(|line| line.chars().count() <= 80), "{all}");
    let output = run(vhdfs().args(["help", "troubles", "nonsense"]));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_version_tells_what_the_system_can_do() {
    let short = said(&["--version"]);
    assert_eq!(
        short.trim_end(),
        format!("vhdfs {}", env!("CARGO_PKG_VERSION"))
    );
    let long = said(&["--version", "--verbose"]);
    for word in [
        "commit: ",
        "target: ",
        "kernel: ",
        "/dev/fuse: ",
        "fusermount3: ",
        "Landlock: ",
        "passthrough",
    ] {
        assert!(long.contains(word), "{long}");
    }
}
