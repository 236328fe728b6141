//! `vhdfs verify`: whether a file, a stream or a download holds a view.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use thiserror::Error;

use super::Failure;
use super::print::print;
use super::progress::Progress;
use crate::advice;
use crate::cli::VerifyArgs;
use crate::proof::{BLOCK_SIZE, Difference, Judge, Manifest, ManifestError, Outcome, ViewSums};
use disk::ByteRange;
use vhd::footer::{FOOTER_SIZE, Footer};

/// Why it is unknown whether a file holds a view.
#[derive(Debug, Error)]
enum VerifyError {
    #[error("{}: cannot be read: {}{} [unreadable]", .0.display(), .1, advice::on_reading(.1))]
    Read(PathBuf, #[source] io::Error),
    #[error("{}: {} [manifest]", .0.display(), .1)]
    Manifest(PathBuf, #[source] ManifestError),
    #[error("{}: holds no view {:?}; it holds {} [no-such-view]", .0.display(), .1, .2)]
    NoView(PathBuf, String, String),
    #[error("{}: holds {} views; say which with --view: {} [which-view]", .0.display(), .1, .2)]
    Several(PathBuf, usize, String),
    #[error("{0} [range]")]
    Range(String),
    #[error(
        "the range {0} does not begin and end with blocks: at multiples of {BLOCK_SIZE} (4M), or \
         at the view's end, {1} [range]"
    )]
    Edges(ByteRange, u64),
}

/// That it differs, in a sentence for the user.
enum Verdict {
    Equal(u64),
    Differs(String),
}

/// 1 means that it differs, so an unknown result ends with 2.
pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    match verify(args).map_err(Failure::usage)? {
        Verdict::Equal(bytes) => {
            let name = shown(&args.file);
            print(&format!("{name}: equal, {bytes} bytes\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Verdict::Differs(message) => Err(Failure {
            message: format!("{message} [differs]"),
            status: super::FAILED,
        }),
    }
}

fn shown(file: &Path) -> String {
    match is_stdin(file) {
        true => "standard input".into(),
        false => file.display().to_string(),
    }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn verify(args: &VerifyArgs) -> Result<Verdict, VerifyError> {
    let manifest = read_manifest(&args.manifest)?;
    let sums = choose(args, &manifest)?;
    let all = Ok(ByteRange::new(0, sums.view_size));
    let range = args.range.map_or(all, |span| span.within(sums.view_size));
    let range = range.map_err(VerifyError::Range)?;
    let is_edge = |offset: u64| offset == sums.view_size || offset.is_multiple_of(BLOCK_SIZE);
    if !is_edge(range.start()) || !is_edge(range.end()) {
        return Err(VerifyError::Edges(range, sums.view_size));
    }
    let failed = |error| VerifyError::Read(args.file.clone(), error);
    let mut input = Input::open(&args.file, range.start()).map_err(failed)?;
    if let Some(verdict) = input
        .contradicts(sums, &shown(&args.file))
        .map_err(failed)?
    {
        return Ok(verdict);
    }
    compare(args, sums, range, &mut input).map_err(failed)
}

fn read_manifest(path: &Path) -> Result<Manifest, VerifyError> {
    let file = File::open(path).map_err(|error| VerifyError::Read(path.to_owned(), error))?;
    let manifest = Manifest::read(io::BufReader::new(file));
    manifest.map_err(|error| VerifyError::Manifest(path.to_owned(), error))
}

/// The view that the user named, or that is called as the file is, or the only one.
fn choose<'a>(args: &VerifyArgs, manifest: &'a Manifest) -> Result<&'a ViewSums, VerifyError> {
    let names = || {
        let names: Vec<_> = manifest
            .views
            .iter()
            .map(|sums| format!("{:?}", sums.view))
            .collect();
        match names.len() {
            0 => "none".to_owned(),
            1..=8 => names.join(", "),
            _ => names[..8].join(", ") + ", …",
        }
    };
    let by_path = |wanted: &str| manifest.views.iter().find(|sums| sums.view == wanted);
    if let Some(wanted) = &args.view_name {
        let found = by_path(wanted);
        return found
            .ok_or_else(|| VerifyError::NoView(args.manifest.clone(), wanted.clone(), names()));
    }
    if let [only] = manifest.views.as_slice() {
        return Ok(only);
    }
    // The longest path of a view that the file's path ends with.
    let file = args.file.to_string_lossy();
    let ends = |sums: &&ViewSums| Path::new(&*file).ends_with(&sums.view);
    let found = manifest.views.iter().filter(ends);
    found
        .max_by_key(|sums| sums.view.len())
        .ok_or_else(|| match manifest.views.len() {
            0 => VerifyError::NoView(args.manifest.clone(), file.into_owned(), names()),
            count => VerifyError::Several(args.manifest.clone(), count, names()),
        })
}

/// What is judged: a file that can be read anywhere, or a stream of the range's bytes.
enum Input {
    File { file: File, size: u64, at: u64 },
    Stream(Box<dyn Read>),
}

impl Input {
    fn open(path: &Path, start: u64) -> io::Result<Self> {
        if is_stdin(path) {
            return Ok(Self::Stream(Box::new(io::stdin().lock())));
        }
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if meta.is_file() {
            let size = meta.len();
            return Ok(Self::File {
                file,
                size,
                at: start,
            });
        }
        Ok(Self::Stream(Box::new(file)))
    }

    /// What its size and its footer say, before anything is hashed.
    fn contradicts(&self, sums: &ViewSums, name: &str) -> io::Result<Option<Verdict>> {
        let Self::File { file, size, .. } = self else {
            return Ok(None);
        };
        let mut footer = [0; FOOTER_SIZE];
        let place = size.checked_sub(FOOTER_SIZE as u64);
        let id = match place {
            Some(place) => {
                file.read_exact_at(&mut footer, place)?;
                Footer::decode(&footer).ok().map(|footer| footer.unique_id)
            }
            None => None,
        };
        let view = &sums.view;
        let differs = |text: String| Ok(Some(Verdict::Differs(text)));
        match id.map(|id| id.to_string()) {
            Some(id) if id != sums.unique_id => differs(format!(
                "{name}: is another version of {view:?} than the manifest's, or another disk: its \
                 unique id is {id}, and the manifest's {}",
                sums.unique_id
            )),
            _ if *size != sums.view_size => differs(format!(
                "{name}: has {size} bytes, and {view:?} has {}",
                sums.view_size
            )),
            _ => Ok(None),
        }
    }

    /// Fills `buffer` as far as there are bytes; returns how many.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let read = match self {
                Self::File { file, at, .. } => file.read_at(&mut buffer[done..], *at + done as u64),
                Self::Stream(stream) => stream.read(&mut buffer[done..]),
            };
            match read {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if let Self::File { at, .. } = self {
            *at += done as u64;
        }
        Ok(done)
    }

    /// Whether a stream goes on behind what it should hold.
    fn has_more(&mut self) -> io::Result<bool> {
        match self {
            Self::File { .. } => Ok(false),
            Self::Stream(_) => Ok(self.read(&mut [0])? > 0),
        }
    }
}

fn compare(
    args: &VerifyArgs,
    sums: &ViewSums,
    range: ByteRange,
    input: &mut Input,
) -> io::Result<Verdict> {
    let name = shown(&args.file);
    let mut judge = Judge::new(sums, range.len() == sums.view_size);
    let progress = Progress::new(range.len(), "verifying");
    let mut buffer = vec![0; BLOCK_SIZE.min(range.len()) as usize];
    let mut found = Vec::new();
    let mut count = 0_u64;
    for block in judge.blocks(range) {
        let bytes = &mut buffer[..block.len() as usize];
        let read = input.read(bytes)?;
        if read < bytes.len() {
            let end = block.start() - range.start() + read as u64;
            return Ok(Verdict::Differs(format!(
                "{name}: ends after {end} bytes, and {} are expected",
                range.len()
            )));
        }
        if let Some(difference) = judge.judge(block, bytes) {
            count += 1;
            if !args.all {
                return Ok(Verdict::Differs(sentence(&name, difference)));
            }
            found.push(difference);
            if found.len() == MANY {
                progress.suspend(|| report(&name, &found))?;
                found.clear();
            }
        }
        progress.advance(read as u64);
    }
    progress.suspend(|| report(&name, &found))?;
    drop(progress);
    if input.has_more()? {
        return Ok(Verdict::Differs(format!(
            "{name}: goes on behind the {} bytes that are expected",
            range.len()
        )));
    }
    Ok(match judge.finish() {
        Outcome::Equal => Verdict::Equal(range.len()),
        Outcome::Blocks => Verdict::Differs(format!(
            "{name}: {count} blocks differ from {:?}",
            sums.view
        )),
        Outcome::Whole => Verdict::Differs(format!(
            "{name}: all blocks are equal, and the sum of the whole is not the manifest's: the \
             manifest contradicts itself"
        )),
    })
}

/// Differences that are kept before they are printed.
const MANY: usize = 1000;

/// Prints a line for each difference: offset and length of the block.
fn report(name: &str, found: &[Difference]) -> io::Result<()> {
    let lines = found
        .iter()
        .map(|difference| sentence(name, *difference) + "\n");
    let text: String = lines.collect();
    print(&text).map_err(|failure| io::Error::other(failure.message))
}

fn sentence(name: &str, difference: Difference) -> String {
    let Difference { block, at } = difference;
    let block = format!("the {} bytes at offset {}", block.len(), block.start());
    match at {
        Some(at) => format!("{name}: differs at offset {at}: {block} should be zeros"),
        None => format!("{name}: differs in {block}"),
    }
}
