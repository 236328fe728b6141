//! Everything that can write to a file.

use std::fs::{self, File, FileTimes};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::devices::Loop;
use super::images::{Aligned, Rng};
use super::process::tool;

/// Sizes of files that are written in all of these ways are multiples of this.
pub(crate) const BLOCK: usize = 64 << 10;

/// A way to write to a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    Write,
    Direct,
    Mapping,
    MappingBesideDescriptor,
    Truncate,
    Punch,
    Collapse,
    Replace,
    CopyRange,
    LoopDevice,
    TimesSetBack,
    HardLink,
    DescriptorOfProc,
    Splice,
    SendFile,
    Clone,
    ZeroRange,
    OpenTruncated,
}

impl Way {
    pub(crate) const ALL: [Self; 18] = [
        Self::Write,
        Self::Direct,
        Self::Mapping,
        Self::MappingBesideDescriptor,
        Self::Truncate,
        Self::Punch,
        Self::Collapse,
        Self::Replace,
        Self::CopyRange,
        Self::LoopDevice,
        Self::TimesSetBack,
        Self::HardLink,
        Self::DescriptorOfProc,
        Self::Splice,
        Self::SendFile,
        Self::Clone,
        Self::ZeroRange,
        Self::OpenTruncated,
    ];

    /// Whether another file takes the name.
    pub(crate) fn replaces(self) -> bool {
        self == Self::Replace
    }

    /// Makes `content` that of the file at `path`; `spare` is a name on its file system that
    /// nobody else uses. Returns how long the file took to be opened for writing, where that is
    /// known.
    pub(crate) fn write(
        self,
        path: &Path,
        content: &[u8],
        spare: &Path,
        rng: &mut Rng,
    ) -> Duration {
        let begun = Instant::now();
        let open = |flags| {
            let file = File::options().write(true).custom_flags(flags).open(path);
            (file.expect("a source"), begun.elapsed())
        };
        match self {
            Self::Write => {
                let (file, waited) = open(0);
                overwrite(&file, content, rng);
                waited
            }
            Self::Direct => {
                let (file, waited) = open(libc::O_DIRECT);
                let mut memory = Aligned::new();
                for start in shuffled(content.len(), rng) {
                    let block = memory.get(BLOCK);
                    block.copy_from_slice(&content[start..start + BLOCK]);
                    file.write_all_at(block, start as u64).expect("write");
                }
                waited
            }
            Self::Mapping | Self::MappingBesideDescriptor => {
                fs::write(spare, content).expect("what to store");
                let mut mapping = Mapping::of(path, self == Self::MappingBesideDescriptor);
                mapping.store(spare, 0..content.len() / 2);
                mapping.store(spare, content.len() / 2..content.len());
                let waited = mapping.waited;
                drop(mapping);
                fs::remove_file(spare).expect("remove");
                waited
            }
            Self::Truncate => {
                let (file, waited) = open(0);
                file.set_len(0).expect("truncate");
                overwrite(&file, content, rng);
                waited
            }
            Self::Punch => {
                let (file, waited) = open(0);
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                match fallocate(&file, flags, 0, content.len() as u64) {
                    // Not every file system can.
                    Ok(()) | Err(Errno::OPNOTSUPP) => {}
                    Err(error) => panic!("punch: {error}"),
                }
                overwrite(&file, content, rng);
                waited
            }
            Self::Collapse => {
                let (file, waited) = open(0);
                match fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, BLOCK as u64) {
                    Ok(()) | Err(Errno::OPNOTSUPP) => {}
                    Err(error) => panic!("collapse: {error}"),
                }
                overwrite(&file, content, rng);
                waited
            }
            Self::Replace => {
                fs::write(spare, content).expect("a new source");
                fs::rename(spare, path).expect("replace");
                Duration::ZERO
            }
            Self::CopyRange => {
                fs::write(spare, content).expect("what to copy");
                let from = File::open(spare).expect("what to copy");
                let (file, waited) = open(0);
                copy_range(&from, &file, content.len());
                fs::remove_file(spare).expect("remove");
                waited
            }
            Self::LoopDevice => {
                let device = Loop::writable(path);
                let node = File::options().write(true).open(device.path());
                let node = node.expect("a device");
                overwrite(&node, content, rng);
                node.sync_all().expect("sync");
                drop((node, device));
                Duration::ZERO
            }
            Self::TimesSetBack => {
                let times = path.metadata().and_then(|found| found.modified());
                let (file, waited) = open(0);
                overwrite(&file, content, rng);
                let times = FileTimes::new().set_modified(times.expect("its time"));
                file.set_times(times).expect("set the time back");
                waited
            }
            Self::HardLink => {
                let has_links = match rustix::fs::link(path, spare) {
                    Ok(()) => true,
                    // FAT has one name for a file.
                    Err(Errno::PERM) => false,
                    Err(error) => panic!("another name: {error}"),
                };
                let begun = Instant::now();
                let name = if has_links { spare } else { path };
                let file = File::options().write(true).open(name);
                let waited = begun.elapsed();
                overwrite(&file.expect("a source"), content, rng);
                if has_links {
                    fs::remove_file(spare).expect("remove");
                }
                waited
            }
            Self::DescriptorOfProc => {
                let reader = File::open(path).expect("a source");
                let link = format!("/proc/thread-self/fd/{}", reader.as_raw_fd());
                let begun = Instant::now();
                let file = File::options().write(true).open(link);
                let waited = begun.elapsed();
                overwrite(&file.expect("a source"), content, rng);
                waited
            }
            Self::Splice => {
                let (file, waited) = open(0);
                splice(content, &file);
                waited
            }
            Self::SendFile | Self::Clone => {
                fs::write(spare, content).expect("what to copy");
                let from = File::open(spare).expect("what to copy");
                let (file, waited) = open(0);
                if self == Self::SendFile || rustix::fs::ioctl_ficlone(&file, &from).is_err() {
                    send(&from, &file, content.len());
                }
                fs::remove_file(spare).expect("remove");
                waited
            }
            Self::ZeroRange => {
                let (file, waited) = open(0);
                let flags = FallocateFlags::ZERO_RANGE;
                match fallocate(&file, flags, 0, content.len() as u64) {
                    Ok(()) | Err(Errno::OPNOTSUPP) => {}
                    Err(error) => panic!("zero: {error}"),
                }
                overwrite(&file, content, rng);
                waited
            }
            Self::OpenTruncated => {
                let file = File::create(path).expect("a source");
                let waited = begun.elapsed();
                overwrite(&file, content, rng);
                waited
            }
        }
    }
}

/// Where the blocks of a file begin, in some order.
fn shuffled(length: usize, rng: &mut Rng) -> Vec<usize> {
    let mut starts: Vec<_> = (0..length).step_by(BLOCK).collect();
    for last in (1..starts.len()).rev() {
        starts.swap(last, rng.below(last as u64 + 1) as usize);
    }
    starts
}

fn overwrite(file: &File, content: &[u8], rng: &mut Rng) {
    for start in shuffled(content.len(), rng) {
        let block = &content[start..start + BLOCK];
        file.write_all_at(block, start as u64).expect("write");
    }
}

fn copy_range(from: &File, to: &File, length: usize) {
    let (mut read, mut written) = (0, 0);
    while (written as usize) < length {
        let left = length - written as usize;
        let count =
            rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), left);
        assert_ne!(count.expect("copy a range"), 0);
    }
}

fn splice(content: &[u8], to: &File) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    thread::scope(|scope| {
        scope.spawn(move || writer.write_all(content).expect("fill the pipe"));
        let mut written = 0;
        while (written as usize) < content.len() {
            let flags = rustix::pipe::SpliceFlags::empty();
            let left = content.len() - written as usize;
            let count = rustix::pipe::splice(&reader, None, to, Some(&mut written), left, flags);
            assert_ne!(count.expect("splice"), 0);
        }
    });
}

fn send(from: &File, to: &File, length: usize) {
    let mut read = 0;
    while (read as usize) < length {
        let left = length - read as usize;
        let count = rustix::fs::sendfile(to, from, Some(&mut read), left);
        assert_ne!(count.expect("sendfile"), 0);
    }
}

/// A shared mapping of a whole file, in a process of its own; gone with the value.
pub(crate) struct Mapping {
    process: Child,
    answers: BufReader<ChildStdout>,
    /// How long the file took to be opened.
    pub(crate) waited: Duration,
}

/// Maps the file of its first argument and, unless told otherwise, closes its descriptor. Then
/// stores what its input says: start, end, and a file to take the bytes from, or `=` and one byte.
const MAPPER: &str = r"
import mmap, os, sys, time
begun = time.monotonic_ns()
descriptor = os.open(sys.argv[1], os.O_RDWR)
waited = time.monotonic_ns() - begun
mapping = mmap.mmap(descriptor, os.lseek(descriptor, 0, os.SEEK_END))
if sys.argv[2] == 'closed':
    # The mapping has a copy of the descriptor, too.
    os.closerange(3, 256)
print(waited, flush=True)
for line in sys.stdin:
    start, end, name = line.rstrip('\n').split(' ', 2)
    start, end = int(start), int(end)
    if name.startswith('='):
        mapping[start:end] = bytes([int(name[1:])]) * (end - start)
    else:
        with open(name, 'rb') as file:
            mapping[start:end] = os.pread(file.fileno(), end - start, start)
    print('stored', flush=True)
";

impl Mapping {
    /// Maps a file; with or without a descriptor beside the mapping.
    pub(crate) fn of(path: &Path, keeps_descriptor: bool) -> Self {
        let mut process = Command::new(tool("python3"))
            .args(["-c", MAPPER])
            .arg(path)
            .arg(if keeps_descriptor { "open" } else { "closed" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let mut answers = BufReader::new(process.stdout.take().expect("its output"));
        let mut waited = String::new();
        answers.read_line(&mut waited).expect("a mapping");
        let waited = waited.trim_end().parse().expect("a mapping");
        Self {
            process,
            answers,
            waited: Duration::from_nanos(waited),
        }
    }

    /// Stores what `from` holds in the same range.
    pub(crate) fn store(&mut self, from: &Path, range: Range<usize>) {
        self.tell(range, &from.display().to_string());
    }

    /// Stores one byte everywhere in the range.
    pub(crate) fn fill(&mut self, range: Range<usize>, byte: u8) {
        self.tell(range, &format!("={byte}"));
    }

    fn tell(&mut self, range: Range<usize>, what: &str) {
        let input = self.process.stdin.as_mut().expect("its input");
        writeln!(input, "{} {} {what}", range.start, range.end).expect("a store");
        self.expect("stored\n").expect("a store");
    }

    fn expect(&mut self, expected: &str) -> io::Result<()> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        assert_eq!(answer, expected);
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().expect("the end of the mapping");
    }
}
