//! Tools that keep holes: with a view they do as they do with its source.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use crate::harness::{Lab, MIB, Mount, run_ok, sparse_image, stdout_of, tool};

const SIZE: u64 = 300 * MIB + 7;
const DATA: [(u64, usize); 3] = [(0, 100), (MIB + 8192, 20_000), (200 * MIB, 70_000)];

fn cp(file: &Path, copy: &Path) {
    let mut command = Command::new(tool("cp"));
    run_ok(command.arg("--sparse=auto").arg(file).arg(copy));
}

fn rsync(file: &Path, copy: &Path) {
    run_ok(Command::new(tool("rsync")).arg("-S").arg(file).arg(copy));
}

fn tar(file: &Path, copy: &Path) {
    let archive = copy.with_extension("tar");
    let mut create = Command::new(tool("tar"));
    create.arg("-C").arg(file.parent().expect("a folder"));
    let name = file.file_name().expect("a name");
    run_ok(create.arg("-Scf").arg(&archive).arg(name));
    assert!(archive.metadata().expect("an archive").len() < MIB);
    let mut extract = Command::new(tool("tar"));
    extract.arg("-C").arg(copy.parent().expect("a folder"));
    extract
        .arg("--transform")
        .arg(format!("s,.*,{},", name_of(copy)));
    run_ok(extract.arg("-xf").arg(&archive));
}

fn qemu_img(file: &Path, copy: &Path) {
    let mut command = Command::new(tool("qemu-img"));
    command.args(["convert", "-f", "raw", "-O", "raw"]);
    run_ok(command.arg(file).arg(copy));
}

fn name_of(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .expect("a name")
}

fn allocated(path: &Path) -> u64 {
    rustix::fs::sync();
    path.metadata().expect("a copy").blocks() * 512
}

/// Compares two files of which most is a hole.
fn assert_same(one: &Path, other: &Path) {
    let size = one.metadata().expect("a file").len();
    assert_eq!(other.metadata().expect("a file").len(), size);
    let (one, other) = (
        File::open(one).expect("open"),
        File::open(other).expect("open"),
    );
    let (mut left, mut right) = (vec![0; MIB as usize], vec![1; MIB as usize]);
    for at in (0..size).step_by(MIB as usize) {
        let length = (size - at).min(MIB) as usize;
        one.read_exact_at(&mut left[..length], at).expect("read");
        other.read_exact_at(&mut right[..length], at).expect("read");
        assert!(left[..length] == right[..length], "they differ behind {at}");
    }
}

#[test]
fn copies_of_a_view_are_as_sparse_as_those_of_its_source() {
    type Copy = fn(&Path, &Path);
    let tools: [(&str, Copy); 4] = [
        ("cp", cp),
        ("rsync", rsync),
        ("tar", tar),
        ("qemu-img", qemu_img),
    ];
    let lab = Lab::new();
    let source = lab.folder("source");
    let image = source.join("disk.raw");
    sparse_image(&image, 1, SIZE, &DATA);
    for options in [&[][..], &["--snapshot", "never"]] {
        let mount = Mount::with(&source, options);
        let view = mount.join("disk.vhd");
        for (name, copy) in tools {
            let of_source = lab.path().join("copy.raw");
            let of_view = lab.path().join("copy.vhd");
            copy(&image, &of_source);
            copy(&view, &of_view);
            assert_same(&view, &of_view);
            // The footer, and what the file system allocates ahead of a writer.
            let (want, got) = (allocated(&of_source), allocated(&of_view));
            assert!(
                got <= want + MIB / 2,
                "{name}: {got} bytes, {want} of the source"
            );
            fs::remove_file(of_source).expect("remove");
            fs::remove_file(of_view).expect("remove");
        }
        mount.unmount();
    }
}

#[test]
fn du_tells_of_a_view_what_it_tells_of_its_source() {
    let lab = Lab::new();
    let source = lab.folder("source");
    let image = source.join("disk.raw");
    sparse_image(&image, 1, SIZE, &DATA);
    rustix::fs::sync();
    let mount = Mount::new(&source);
    let du = |options: &[&str], path: &Path| {
        let text = stdout_of(Command::new(tool("du")).args(options).arg(path));
        let number = text.split_whitespace().next().expect("a number");
        number.parse::<u64>().expect("a number")
    };
    let view = mount.join("disk.vhd");
    let sectors = ["--block-size=512"];
    assert_eq!(
        du(&sectors, &view),
        du(&sectors, &image) + 1,
        "the footer is a sector"
    );
    let bytes = ["--apparent-size", "--block-size=1"];
    assert_eq!(du(&bytes, &view), 301 * MIB + 512);
    mount.unmount();
}
