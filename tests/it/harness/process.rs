//! Tools and processes, with their whole output where they fail.

use std::env;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::machine::own_descriptors;
use tempfile::TempDir;

/// The project's own folder.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file below `tests/`.
pub(crate) fn test_file(name: &str) -> PathBuf {
    repository().join("tests").join(name)
}

/// Where `scripts/test` put the tools from PyPI and npm.
fn test_tools() -> PathBuf {
    env::var_os("VHDFS_TEST_TOOLS")
        .map_or_else(|| repository().join("target/test-tools"), PathBuf::from)
}

/// The program `name`: the tests' own before the machine's.
///
/// Panics where it is missing; a test never passes because it could not run.
pub(crate) fn tool(name: &str) -> PathBuf {
    let own = ["venv/bin", "bin"].map(|folder| test_tools().join(folder));
    let path = env::var_os("PATH").unwrap_or_default();
    own.into_iter()
        .chain(env::split_paths(&path))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
        .unwrap_or_else(|| panic!("{name} is missing: run scripts/test"))
}

/// The tests' own Python, which has the packages of `tests/requirements.txt`.
pub(crate) fn python() -> Command {
    let python = test_tools().join("venv/bin/python3");
    assert!(
        is_executable(&python),
        "the Python packages are missing: run scripts/test"
    );
    Command::new(python)
}

fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The built program.
pub(crate) fn vhdfs() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vhdfs"))
}

/// Copies the program to where every user can run it.
///
/// Another process does that: a process that a test of this one starts meanwhile would hold the
/// copy open for writing, and nobody could run it.
pub(crate) fn copy_program(to: &Path) {
    run_ok(Command::new(tool("cp")).arg(vhdfs().get_program()).arg(to));
    set_mode(to, 0o755);
}

/// Runs a command to its end, with nothing on standard input.
pub(crate) fn run(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

/// Runs a command that must succeed.
pub(crate) fn run_ok(command: &mut Command) -> Output {
    let output = run(command);
    assert!(output.status.success(), "{}", describe(command, &output));
    output
}

/// Standard output of a command that must succeed.
pub(crate) fn stdout_of(command: &mut Command) -> String {
    let output = run_ok(command);
    String::from_utf8(output.stdout)
        .unwrap_or_else(|error| panic!("{command:?} did not print text: {error}"))
}

/// A command, how it ended and all that it said.
pub(crate) fn describe(command: &Command, output: &Output) -> String {
    let mut text = format!("{command:?}: {}", output.status);
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !bytes.is_empty() {
            let _ = write!(text, "\n-- {name}\n{}", String::from_utf8_lossy(bytes));
        }
    }
    text
}

/// A folder of one test that every user may enter; gone with the value.
#[derive(Debug)]
pub(crate) struct Lab {
    folder: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        own_descriptors();
        let folder = tempfile::Builder::new()
            .prefix("vhdfs-test-")
            .tempdir()
            .expect("a temporary folder");
        set_mode(folder.path(), 0o755);
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder `name` inside, made where it is not there yet.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.path().join(name);
        std::fs::create_dir_all(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        folder
    }
}

/// A file system in memory that covers a folder; gone with the value. Only root can make one.
#[derive(Debug)]
pub(crate) struct MemoryFs(PathBuf);

impl MemoryFs {
    pub(crate) fn on(folder: &Path) -> Self {
        run_ok(
            Command::new(tool("mount"))
                .args(["-t", "tmpfs", "vhdfs-test"])
                .arg(folder),
        );
        Self(folder.to_path_buf())
    }

    /// With room for `size` bytes.
    pub(crate) fn of_size(folder: &Path, size: u64) -> Self {
        let options = format!("size={size}");
        run_ok(
            Command::new(tool("mount"))
                .args(["-t", "tmpfs", "-o", &options, "vhdfs-test"])
                .arg(folder),
        );
        Self(folder.to_path_buf())
    }
}

impl Drop for MemoryFs {
    fn drop(&mut self) {
        let _ = run(Command::new(tool("umount")).arg("-l").arg(&self.0));
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The helper of a daemon is its child.
pub(crate) fn helper(daemon: u32) -> u32 {
    let children = format!("/proc/{daemon}/task/{daemon}/children");
    let children = std::fs::read_to_string(children).expect("a process");
    let mut children = children.split_whitespace();
    let helper = children.next().expect("a helper").parse();
    assert_eq!(children.next(), None, "one child");
    helper.expect("a process id")
}
