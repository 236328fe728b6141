//! Raw images to mount.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use super::process::{Lab, tool};

pub(crate) const MIB: u64 = 1 << 20;

/// A small generator whose numbers depend on the seed alone (SplitMix64), so that a failure can
/// be had again.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

pub(crate) fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Rng::new(seed).fill(&mut bytes);
    bytes
}

/// Makes an image of `size` random bytes, and the folders above it.
pub(crate) fn random_image(path: &Path, seed: u64, size: u64) {
    let mut file = create(path);
    let mut rng = Rng::new(seed);
    let mut buffer = vec![0; MIB as usize];
    let mut left = size;
    while left > 0 {
        let part = left.min(MIB) as usize;
        rng.fill(&mut buffer[..part]);
        file.write_all(&buffer[..part]).expect("write an image");
        left -= part as u64;
    }
}

/// Makes an image of `size` bytes that is a hole but for random data at each (offset, length).
pub(crate) fn sparse_image(path: &Path, seed: u64, size: u64, data: &[(u64, usize)]) {
    let file = create(path);
    file.set_len(size).expect("grow an image");
    for (number, &(offset, length)) in data.iter().enumerate() {
        assert!(offset + length as u64 <= size, "data beyond the image");
        let bytes = random_bytes(seed + number as u64, length);
        file.write_all_at(&bytes, offset).expect("write an image");
    }
}

/// A folder with one image of a MiB, `disk.raw`, and one file that does not appear, which is worth a warning.
pub(crate) fn folder_with_a_warning(lab: &Lab) -> PathBuf {
    let source = lab.folder("source");
    random_image(&source.join("disk.raw"), 1, MIB);
    let mut qcow2 = b"QFI\xfb\0\0\0\x03".to_vec();
    qcow2.resize(4096, 0);
    fs::write(source.join("other.img"), qcow2).expect("write a file");
    source
}

/// A sparse image that sfdisk divides as `script` says, or leaves alone where that is empty.
pub(crate) fn divided_image(lab: &Lab, name: &str, size: u64, script: &str) -> PathBuf {
    let path = lab.path().join(name);
    sparse_image(&path, 0, size, &[]);
    if !script.is_empty() {
        let input = lab.path().join("script");
        fs::write(&input, script).unwrap();
        let mut command = Command::new(tool("sfdisk"));
        command.arg("--quiet").arg(&path);
        command.stdin(File::open(&input).unwrap());
        let status = command.status().expect("sfdisk runs");
        assert!(status.success(), "{command:?}: {status}");
        fs::remove_file(input).unwrap();
    }
    path
}

/// Sets the modification time in seconds and nanoseconds since 1970.
pub(crate) fn set_mtime(path: &Path, seconds: u64, nanoseconds: u32) {
    let time = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    File::open(path)
        .and_then(|file| file.set_times(FileTimes::new().set_modified(time)))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn create(path: &Path) -> File {
    fs::create_dir_all(path.parent().expect("an image is in a folder"))
        .and_then(|()| File::create(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Opens a view so that every read of it reaches the program.
pub(crate) fn open_past_cache(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Opens a source to change it in place.
pub(crate) fn writable(path: &Path) -> File {
    OpenOptions::new()
        .write(true)
        .open(path)
        .expect("the source")
}

/// Memory that O_DIRECT takes.
pub(crate) struct Aligned(Vec<u8>, usize);

impl Aligned {
    pub(crate) fn new() -> Self {
        let memory = vec![0; MIB as usize + 4096];
        let start = memory.as_ptr().align_offset(4096);
        Self(memory, start)
    }

    pub(crate) fn get(&mut self, length: usize) -> &mut [u8] {
        &mut self.0[self.1..][..length]
    }
}
