//! Running tools, and images as files.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::rc::Rc;

use check::{self, Options, Report};
use disk::Disk;

use crate::harness::Loop;
use crate::harness::machine::own_descriptors;

pub(crate) const MIB: u64 = 1 << 20;

/// Runs a tool to success and returns what it printed.
pub(crate) fn run(tool: &str, args: &[&dyn AsRef<OsStr>]) -> String {
    run_with_input(tool, args, b"")
}

/// Runs a tool that reads `input`, to success, and returns what it printed.
pub(crate) fn run_with_input(tool: &str, args: &[&dyn AsRef<OsStr>], input: &[u8]) -> String {
    let output = output(tool, args, input);
    let text = text_of(&output);
    assert!(output.status.success(), "{tool} failed: {text}");
    text
}

/// What a tool prints on both outputs.
pub(crate) fn text_of(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Runs a tool, whatever its exit status. A tool that is not there fails the test by its name.
pub(crate) fn output(tool: &str, args: &[&dyn AsRef<OsStr>], input: &[u8]) -> Output {
    let mut command = Command::new(tool);
    command.args(args.iter().map(AsRef::as_ref));
    command.env("LC_ALL", "C").env("PATH", path());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("the tool `{tool}` cannot be run ({error}); run scripts/test")
    });
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A tool that ends without reading its input closes the pipe.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the tool is waited for");
    writer.join().expect("the writer ends");
    output
}

/// The search path with the folders of administration tools.
fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}

/// A file as a disk, counting the bytes that are read.
pub(crate) struct FileDisk {
    file: File,
    size: u64,
    pub(crate) read: Rc<Cell<u64>>,
}

impl FileDisk {
    pub(crate) fn open(path: &Path) -> Self {
        let file = File::open(path).expect("the image opens");
        let size = file.metadata().expect("the image has metadata").len();
        let read = Rc::default();
        Self { file, size, read }
    }
}

impl Disk for FileDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.set(self.read.get() + buffer.len() as u64);
        self.file.read_exact_at(buffer, offset)
    }
}

/// A folder for the images of one test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        own_descriptors();
        let parent = env!("CARGO_TARGET_TMPDIR");
        Self(tempfile::tempdir_in(parent).expect("a temporary folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A sparse file of `size` bytes.
    pub(crate) fn sparse(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path)
            .and_then(|file| file.set_len(size))
            .expect("a sparse file");
        path
    }

    /// A file with these bytes.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    /// A copy of an image, sharing or leaving out what can be.
    pub(crate) fn copy(&self, name: &str, image: &Path) -> PathBuf {
        let path = self.path(name);
        run(
            "cp",
            &[&"--reflink=auto", &"--sparse=always", &image, &path],
        );
        path
    }
}

/// Writes bytes into an image.
pub(crate) fn write_at(image: &Path, offset: u64, bytes: &[u8]) {
    let file = File::options()
        .write(true)
        .open(image)
        .expect("the image opens");
    file.write_all_at(bytes, offset)
        .expect("the image is written");
}

/// Puts the bytes of a file into an image.
pub(crate) fn embed(image: &Path, offset: u64, part: &Path) {
    let seek = format!("seek={offset}");
    let (input, output) = (
        format!("if={}", part.display()),
        format!("of={}", image.display()),
    );
    run(
        "dd",
        &[
            &input,
            &output,
            &"bs=1M",
            &seek,
            &"oflag=seek_bytes",
            &"conv=notrunc,sparse",
            &"status=none",
        ],
    );
}

/// Judges an image.
pub(crate) fn check(image: &Path, options: Options) -> Report {
    let name = image.display().to_string();
    let disk = Rc::new(FileDisk::open(image));
    check::check(&name, disk, &options, &mut |_| {}).expect("the image can be read")
}

/// The names of the findings, sorted.
pub(crate) fn ids(report: &Report) -> Vec<&'static str> {
    let mut ids: Vec<_> = report.findings.iter().map(|finding| finding.id).collect();
    ids.sort_unstable();
    ids
}

/// Asserts that an image has these findings beside the one that every image has.
pub(crate) fn assert_findings(image: &Path, options: Options, expected: &[&str]) -> Report {
    let report = check(image, options);
    let mut expected = [expected, &["size-upload"]].concat();
    expected.sort_unstable();
    assert_eq!(ids(&report), expected, "{report}");
    report
}

/// An image to be used as a data disk.
pub(crate) const DATA: Options = Options {
    generation: None,
    data_disk: true,
    secure_boot: false,
};

/// Gives an image a GPT in sectors of 4,096 bytes with one partition.
pub(crate) fn divide_into_4k_sectors(image: &Path) {
    let device = Loop::with_sectors_of(image, 4096);
    let script = b"label: gpt\nsize=1024\n";
    run_with_input("sfdisk", &[&"--quiet", &device.path()], script);
}
