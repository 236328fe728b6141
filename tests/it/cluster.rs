//! `examples/dask_upload.py`: a scheduler and three hosts, one of which dies half-way.

use std::process::{Command, Stdio};

use crate::harness::process::{describe, python, repository, test_file};
use crate::harness::{Lab, MIB, run_ok, set_mtime, sparse_image, tool, vhdfs};

#[test]
fn a_worker_that_dies_half_way_is_replaced_and_the_blobs_are_proven() {
    let lab = Lab::new();
    let source = lab.folder("source");
    for (number, name) in ["a.raw", "b.img", "sub/c.dd"].into_iter().enumerate() {
        let data = [(0, 24 << 20), (40 * MIB, 70_000), (50 * MIB, 9 << 20)];
        sparse_image(&source.join(name), number as u64, 60 * MIB + 5, &data);
        set_mtime(&source.join(name), 1_700_000_000, 0);
    }
    let work = lab.folder("work");
    let mut command = Command::new(tool("unshare"));
    command
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .arg(tool("bash"))
        .arg(test_file("azure/cluster.sh"))
        .args([&source, &work])
        .arg(vhdfs().get_program())
        .arg(python().get_program())
        .arg(tool("azurite-blob"))
        .arg(repository())
        .stdin(Stdio::null());
    let output = command.output().expect("unshare runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", describe(&command, &output));
    assert!(text.contains("mounts 3\n"), "{text}");
    assert!(
        text.contains("3 blobs, ") && text.contains("verified"),
        "{text}"
    );
    let manifest = lab.path().join("manifest.json");
    let mut command = vhdfs();
    command
        .args(["manifest", "--min-size=64M", "--output"])
        .args([&manifest, &source]);
    run_ok(&mut command);
    for view in ["a.vhd", "b.vhd", "sub/c.vhd"] {
        let blob = work.join("downloaded").join(view);
        run_ok(vhdfs().arg("verify").args([&manifest, &blob]));
    }
}
