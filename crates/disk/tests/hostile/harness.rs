//! Files that exist only where somebody looks, and opening them as images within limits.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use disk::cache::{Caches, DEFAULT_CACHE_SIZE};
use disk::format::{Container, Damage, FormatError, Given, Opening, Options, Step};
use disk::{ByteRange, Disk};

use crate::MEMORY;

/// What a reader of images may take beyond what it has when idle, in bytes.
const MOST_MEMORY: usize = 64 << 20;
/// What nothing takes, however slow and busy the machine is: five seconds are allowed, measured by hand.
const FOREVER: Duration = Duration::from_secs(120);

/// A file of any size that is zeros but for some parts.
#[derive(Clone, Default)]
pub(crate) struct Sparse {
    parts: Vec<(u64, Vec<u8>)>,
    size: u64,
}

impl Sparse {
    /// These bytes.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self::default().with(0, bytes)
    }

    /// The same with other bytes at `at`.
    pub(crate) fn with(mut self, at: u64, bytes: &[u8]) -> Self {
        self.size = self.size.max(at + bytes.len() as u64);
        self.parts.push((at, bytes.to_vec()));
        self
    }

    /// The same of at least this size.
    pub(crate) fn sized(mut self, size: u64) -> Self {
        self.size = self.size.max(size);
        self
    }
}

impl Disk for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let wanted = ByteRange::at(offset, buffer.len() as u64);
        if wanted.end() > self.size || wanted.len() != buffer.len() as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.fill(0);
        for (start, bytes) in &self.parts {
            let part = ByteRange::at(*start, bytes.len() as u64).intersect(wanted);
            if !part.is_empty() {
                let from = (part.start() - start) as usize;
                let to = (part.start() - offset) as usize;
                let count = part.len() as usize;
                buffer[to..to + count].copy_from_slice(&bytes[from..from + count]);
            }
        }
        Ok(())
    }
}

/// A file in which every block of 512 bytes is the same.
pub(crate) struct Repeated {
    pub(crate) block: [u8; 512],
    pub(crate) size: u64,
}

impl Disk for Repeated {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.saturating_add(buffer.len() as u64) > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (at, byte) in (offset..).zip(buffer) {
            *byte = self.block[(at % 512) as usize];
        }
        Ok(())
    }
}

/// The VHDX in a corpus, where it is kept as its parts: offset, length, bytes.
pub(crate) fn vhdx(mut corpus: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 320 << 10];
    while let Some((head, rest)) = corpus.split_at_checked(6) {
        let start = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let length = usize::from(u16::from_le_bytes([head[4], head[5]]));
        let (bytes, rest) = rest.split_at(length.min(rest.len()));
        file.resize(file.len().max(start + bytes.len()), 0);
        file[start..start + bytes.len()].copy_from_slice(bytes);
        corpus = rest;
    }
    // Blocks are whole.
    file.resize(file.len().next_multiple_of(1 << 20), 0);
    seal_vhdx(&mut file);
    file
}

/// Makes the checksums of a VHDX right.
pub(crate) fn seal_vhdx(file: &mut [u8]) {
    static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    for (start, length) in [(64, 4), (128, 4), (192, 64), (256, 64)] {
        let part = &mut file[start << 10..(start + length) << 10];
        part[4..8].fill(0);
        let sum = CRC.checksum(part);
        part[4..8].copy_from_slice(&sum.to_le_bytes());
    }
}

/// An image of a fuzzer's corpus.
pub(crate) fn corpus(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    std::fs::read(folder.join(name)).expect("an image")
}

/// Counts what is read of a file.
struct Counted {
    file: Arc<dyn Disk + Send + Sync>,
    bytes: AtomicU64,
}

impl Disk for Counted {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.file.read_exact_at(buffer, offset)
    }
}

/// What each test begins with: while it lives, no other test of this program takes memory.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A measurement of what something takes.
pub(crate) struct Limits {
    began: Instant,
    before: usize,
}

impl Limits {
    pub(crate) fn begin() -> Self {
        MEMORY.reset_peak_usage();
        Self {
            began: Instant::now(),
            before: MEMORY.current_usage(),
        }
    }

    /// Checks that what happened since the beginning stayed within all limits.
    #[track_caller]
    pub(crate) fn check(&self, what: &str) {
        let took = MEMORY.peak_usage().saturating_sub(self.before);
        assert!(took <= MOST_MEMORY, "{what} took {took} bytes");
        let time = self.began.elapsed();
        assert!(time < FOREVER, "{what} took {time:?}");
        if std::env::var_os("VHDFS_SHOW_LIMITS").is_some() {
            eprintln!("{what}: {took} bytes, {time:?}");
        }
    }
}

/// Opens an image with everything allowed; every further file that it names is the image itself.
pub(crate) fn open(
    name: &str,
    file: Arc<dyn Disk + Send + Sync>,
) -> Result<Container, FormatError> {
    let options = Options {
        chains: true,
        compressed: true,
        disk: 0,
    };
    let given = |number| Given {
        name: name.to_owned(),
        identity: (0, number),
        bytes: Arc::clone(&file),
    };
    // As a daemon has them.
    let caches = Caches::new(DEFAULT_CACHE_SIZE, 2);
    let mut opening = Opening::new(given(0), options, caches);
    loop {
        match opening.step()? {
            Step::Ready(disk) => return Ok(disk),
            Step::Needs(needs) => {
                opening.give((1..).take(needs.len()).map(given).collect())?;
            }
        }
    }
}

/// What became of an image.
#[derive(Debug)]
pub(crate) enum Outcome {
    Refused(String),
    /// Number of reads that were right, and of those that met damage.
    Read {
        size: u64,
        good: usize,
        damaged: usize,
    },
}

/// Opens an image and reads all over its disk, within all limits.
#[track_caller]
pub(crate) fn survives(name: &str, file: impl Disk + Send + Sync + 'static) -> Outcome {
    let file = Arc::new(Counted {
        file: Arc::new(file),
        bytes: AtomicU64::new(0),
    });
    let mut limits = Limits::begin();
    let opened = open(name, file.clone());
    limits.check(&format!("opening {name}"));
    // An index, or all headers of an archive, and no more.
    let read = file.bytes.load(Ordering::Relaxed);
    assert!(read <= 80 << 20, "opening {name} read {read} bytes");
    let disk = match opened {
        Ok(disk) => disk,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let (mut good, mut damaged) = (0, 0);
    let mut buffer = vec![0; 128 << 10];
    limits = Limits::begin();
    for offset in places(disk.size()) {
        let count = (disk.size() - offset).min(buffer.len() as u64) as usize;
        match disk.read_exact_at(&mut buffer[..count], offset) {
            Ok(()) => good += 1,
            Err(error) => {
                assert!(Damage::of(&error).is_some(), "{name} at {offset}: {error}");
                damaged += 1;
            }
        }
    }
    limits.check(&format!("reading {name}"));
    limits = Limits::begin();
    let mut at = 0;
    for _ in 0..4 {
        match disk.next_data(at).expect("data or none") {
            Some(data) => at = data.end(),
            None => break,
        }
    }
    let _ = disk
        .runs(ByteRange::new(0, disk.size()))
        .take(1)
        .filter(Result::is_ok)
        .count();
    limits.check(&format!("looking for data in {name}"));
    Outcome::Read {
        size: disk.size(),
        good,
        damaged,
    }
}

/// Places at the beginning, at the end and all over a disk.
fn places(size: u64) -> impl Iterator<Item = u64> {
    let first = (0..4).map(|number| number * 128 * 1024);
    let last = (1..4).map(move |number| size.saturating_sub(number * 100_000));
    let between = (1..8).map(move |number| size / 8 * number + 1);
    first
        .chain(last)
        .chain(between)
        .filter(move |at| *at < size)
}

/// What is read of a refusal.
#[track_caller]
pub(crate) fn refused(name: &str, file: impl Disk + Send + Sync + 'static) -> String {
    match survives(name, file) {
        Outcome::Refused(text) => text,
        outcome => panic!("{name} was opened: {outcome:?}"),
    }
}
