//! `vhdfs check`: whether Azure would take and boot an image.

mod many;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use indicatif::HumanBytes;
use thiserror::Error;

use super::Failure;
use super::print::{print, print_json};
use super::view::{Choice, Named, ViewError};
use crate::advice;
use crate::cli::{CheckArgs, ViewArgs};
use crate::folder::beneath;
use crate::folder::metadata::Kind;
use crate::folder::missing;
use crate::folder::settle::Writers;
use crate::folder::source::{Freshness, SourceFile};
use crate::serve::image::{OpenImage, Policy};
use check::{self, CheckError, Deadline, Progress, Report, Subject};
use disk::Disk;

/// A check that takes longer than this shows how far it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why an image cannot be checked.
#[derive(Debug, Error)]
enum Uncheckable {
    #[error("{}: cannot be read: {}{} [unreadable]", .0.display(), .1, advice(.1))]
    Read(PathBuf, #[source] io::Error),
    #[error("{}: is not a file; name an image [not-a-file]", .0.display())]
    NotAFile(PathBuf),
    #[error("{}: {} [no-check]", .0.display(), .1)]
    Check(PathBuf, #[source] CheckError),
    #[error(transparent)]
    View(#[from] ViewError),
    #[error("{}: it changed meanwhile; check it again [changed]", .0.display())]
    Changed(PathBuf),
}

/// What to do about an image that cannot be read.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; name an image",
        _ => advice::on_reading(error),
    }
}

/// 1 means that an image is not ready, so what cannot be checked ends with 2.
pub(super) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    if let Some(id) = &args.explain {
        return explain(id);
    }
    let options = check::Options {
        generation: args.generation,
        data_disk: args.data_disk,
        secure_boot: args.secure_boot,
    };
    let shown = ShownAs {
        choice: Choice::new(&args.selection, &args.view)?,
        view: args.view,
        time_limit: args.time_limit,
    };
    match &args.images[..] {
        [image] if !image.is_dir() => one(image, &options, args, &shown),
        images => many::run(images, &options, args, &shown),
    }
}

fn explain(id: &str) -> Result<ExitCode, Failure> {
    let text = check::explain(id).ok_or_else(|| {
        Failure::usage(format!(
            "no finding is called `{id}`; docs/CHECK.md lists them all [no-finding]"
        ))
    })?;
    print(&text).map_err(|failure| Failure::usage(failure.message))?;
    Ok(ExitCode::SUCCESS)
}

/// What is judged of an image.
struct ShownAs {
    choice: Choice,
    view: ViewArgs,
    time_limit: u32,
}

fn one(
    image: &Path,
    options: &check::Options,
    args: &CheckArgs,
    shown: &ShownAs,
) -> Result<ExitCode, Failure> {
    let report = judge(image, options, shown).map_err(Failure::usage)?;
    let printed = if args.json {
        print_json(&report)
    } else {
        print(&format!("{report}\n"))
    };
    printed.map_err(|failure| Failure::usage(failure.message))?;
    Ok(ExitCode::from(report.verdict().exit_status()))
}

fn judge(path: &Path, options: &check::Options, shown: &ShownAs) -> Result<Report, Uncheckable> {
    let (image, subject) = open(path, shown)?;
    let image = Rc::new(image);
    let mut line = ProgressLine::default();
    let name = path.to_string_lossy();
    let clock = Rc::new(Clock::new(shown.time_limit));
    let report = check::check_subject(
        &subject,
        &name,
        image.clone(),
        options,
        clock,
        &mut |progress| {
            line.update(progress);
        },
    );
    line.clear();
    let failed = |error| Uncheckable::Read(path.to_owned(), error);
    if image.has_changed().map_err(failed)? {
        return Err(Uncheckable::Changed(path.to_owned()));
    }
    report.map_err(|error| Uncheckable::Check(path.to_owned(), error))
}

/// The time that a check may take.
struct Clock {
    began: Instant,
    limit: Duration,
}

impl Clock {
    fn new(seconds: u32) -> Self {
        Self {
            began: Instant::now(),
            limit: Duration::from_secs(seconds.into()),
        }
    }
}

impl Deadline for Clock {
    fn has_passed(&self) -> bool {
        self.began.elapsed() >= self.limit
    }

    fn limit(&self) -> Duration {
        self.limit
    }
}

/// What is judged.
enum Judged {
    /// A file as it is.
    File(SourceFile),
    /// What a mount with the same options shows of it.
    View(OpenImage),
}

impl Judged {
    fn has_changed(&self) -> io::Result<bool> {
        let checked = match self {
            Self::File(file) => return Ok(file.check()? == Freshness::Changed),
            Self::View(image) => image.check(),
        };
        match checked {
            Err(error) if missing::is_stale(&error) => Ok(true),
            other => other.map(|()| false),
        }
    }
}

impl Disk for Judged {
    fn size(&self) -> u64 {
        match self {
            Self::File(file) => file.size(),
            Self::View(image) => image.size(),
        }
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(buffer, offset),
            Self::View(image) => image.view().read_exact_at(buffer, offset),
        }
    }
}

/// Opens what is judged: a raw disk and a VHD that keeps its bytes as they are, otherwise the view.
fn open(path: &Path, shown: &ShownAs) -> Result<(Judged, Subject), Uncheckable> {
    let ShownAs { choice, view, .. } = shown;
    let failed = |error| Uncheckable::Read(path.to_owned(), error);
    let file = beneath::open_path(path).map_err(failed)?;
    let image = SourceFile::new(file, path).map_err(failed)?;
    if !matches!(image.metadata().kind, Kind::File | Kind::BlockDevice) {
        return Err(Uncheckable::NotAFile(path.to_owned()));
    }
    match Named::find(path, choice) {
        Ok(named) if view.is_default() && named.image.is_plain() => {
            Ok((Judged::File(image), Subject::Image))
        }
        Ok(named) => {
            let opened = named.open(view, Policy::Never, Writers::Allow)?;
            Ok((Judged::View(opened), Subject::View(named.image.format())))
        }
        Err(ViewError::NoView(_, skip)) => {
            Ok((Judged::File(image), Subject::WithoutView(skip.to_string())))
        }
        Err(error) if view.is_default() && !matches!(error, ViewError::Several(..)) => {
            log::debug!("{error}");
            Ok((Judged::File(image), Subject::Image))
        }
        Err(error) => Err(error.into()),
    }
}

/// One line on a terminal that shows how far a long check is.
#[derive(Debug, Default)]
struct ProgressLine {
    began: Option<Instant>,
    line: bool,
}

impl ProgressLine {
    fn update(&mut self, progress: Progress) {
        let began = *self.began.get_or_insert_with(Instant::now);
        if began.elapsed() < PATIENCE || !io::stderr().is_terminal() {
            return;
        }
        self.line = true;
        let read = HumanBytes(progress.bytes_read);
        // Progress that cannot be shown is no reason to stop.
        let _ = write!(
            io::stderr(),
            "\r\x1b[Kchecking the {}, {read} read",
            progress.step
        );
    }

    fn clear(&mut self) {
        if self.line {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
