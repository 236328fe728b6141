//! Many images: a table with a line for each, the worst first, or a JSON array.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::super::Failure;
use super::super::print::{print, print_json};
use super::super::table::{Style, Table};
use super::{ShownAs, judge};
use crate::cli::CheckArgs;
use crate::folder::select::{Selection, Verdict as Selected, is_hidden};
use check::{Level, Options, Report, StageVerdict, Verdict};

const COLUMNS: [&str; 5] = ["IMAGE", "GENERATION", "VERDICT", "STAGE", "FINDING"];
/// Deepest folder below one that is named.
const MAX_DEPTH: usize = 32;
/// Ends a check of which an image could not be read.
const UNREADABLE: u8 = 2;

/// An image, or why there is no report.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Row {
    Judged(Box<Report>),
    Unreadable(Unreadable),
}

/// An image that could not be read, with the keys of a report that scripts look at.
#[derive(Debug, Serialize)]
struct Unreadable {
    schema: u32,
    image: String,
    verdict: &'static str,
    ready: bool,
    error: String,
}

pub(super) fn run(
    images: &[PathBuf],
    options: &Options,
    args: &CheckArgs,
    shown: &ShownAs,
) -> Result<ExitCode, Failure> {
    let mut paths = Vec::new();
    for image in images {
        match image.is_dir() {
            true => {
                let mut found = BTreeSet::new();
                collect(image, Path::new(""), shown.choice.selection(), &mut found).map_err(
                    |error| {
                        Failure::usage(format!(
                            "{}: cannot be read: {error} [unreadable]",
                            image.display()
                        ))
                    },
                )?;
                paths.extend(found);
            }
            false => paths.push(image.clone()),
        }
    }
    if paths.is_empty() {
        let names: Vec<_> = images
            .iter()
            .map(|image| image.display().to_string())
            .collect();
        return Err(Failure::usage(format!(
            "{}: there is no image [no-images]",
            names.join(", ")
        )));
    }
    let mut rows: Vec<Row> = paths.iter().map(|path| row(path, options, shown)).collect();
    // The order of the names stays within those of one verdict.
    rows.sort_by_key(Row::rank);
    let printed = match args.json {
        true => print_json(&rows),
        false => print(&table(&rows).to_string()),
    };
    printed.map_err(|failure| Failure::usage(failure.message))?;
    Ok(ExitCode::from(status(&rows)))
}

fn row(path: &Path, options: &Options, shown: &ShownAs) -> Row {
    match judge(path, options, shown) {
        Ok(report) => Row::Judged(Box::new(report)),
        Err(error) => Row::Unreadable(Unreadable {
            schema: check::SCHEMA,
            image: path.to_string_lossy().into_owned(),
            verdict: "unknown",
            ready: false,
            error: error.to_string(),
        }),
    }
}

/// The images that are selected in a folder and those below it, as a mount would show them. `below` is the path of
/// the part that is looked at.
fn collect(
    top: &Path,
    below: &Path,
    selection: &Selection,
    found: &mut BTreeSet<PathBuf>,
) -> std::io::Result<()> {
    for entry in fs::read_dir(top.join(below))? {
        let entry = entry?;
        let below = below.join(entry.file_name());
        if is_hidden(&entry.file_name()) || selection.excludes(&below) {
            continue;
        }
        // A link is followed to a file, and not to a folder, which could lead in a circle.
        if entry.file_type()?.is_dir() {
            if below.components().count() <= MAX_DEPTH {
                collect(top, &below, selection, found)?;
            }
        } else if matches!(
            selection.of_file(&below),
            Selected::Image | Selected::Container
        ) && entry.path().is_file()
        {
            found.insert(entry.path());
        }
    }
    Ok(())
}

impl Row {
    fn rank(&self) -> u8 {
        match self {
            Self::Unreadable(_) => 0,
            Self::Judged(report) => match report.verdict() {
                Verdict::NotReady => 1,
                Verdict::Unknown => 2,
                Verdict::Ready => 3,
            },
        }
    }
}

fn status(rows: &[Row]) -> u8 {
    let of_row = |row: &Row| match row {
        Row::Unreadable(_) => UNREADABLE,
        Row::Judged(report) => report.verdict().exit_status(),
    };
    let statuses: Vec<u8> = rows.iter().map(of_row).collect();
    let gravest = [UNREADABLE, 1, 3]
        .into_iter()
        .find(|status| statuses.contains(status));
    gravest.unwrap_or(0)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&COLUMNS);
    for row in rows {
        match row {
            Row::Unreadable(Unreadable { image, error, .. }) => {
                let error = error.strip_prefix(&format!("{image}: ")).unwrap_or(error);
                let cells = [image.clone(), String::new(), "cannot be read".to_owned()];
                let [image, generation, verdict] = cells;
                let cells = [image, generation, verdict, String::new(), error.to_owned()];
                table.add(Style::Warning, cells);
            }
            Row::Judged(report) => table.add(style(report), cells(report)),
        }
    }
    table
}

fn style(report: &Report) -> Style {
    match report.verdict() {
        Verdict::Ready => Style::Plain,
        Verdict::NotReady | Verdict::Unknown => Style::Warning,
    }
}

/// The first stage that is not right, and the first finding of it.
fn cells(report: &Report) -> [String; 5] {
    let worst = [StageVerdict::Broken, StageVerdict::Unknown];
    let stage = worst
        .iter()
        .find_map(|verdict| report.stages.iter().find(|stage| stage.verdict == *verdict));
    let finding = stage.and_then(|stage| {
        let of_stage = |finding: &&check::Finding| {
            finding.stage == stage.name && matches!(finding.level, Level::Error | Level::Unknown)
        };
        report.findings.iter().find(of_stage)
    });
    let verdict = match report.verdict() {
        Verdict::Ready => "ready",
        Verdict::NotReady => "not ready",
        Verdict::Unknown => "unknown",
    };
    [
        report.image.clone(),
        report.generation.number().to_string(),
        verdict.to_owned(),
        stage.map_or_else(String::new, |stage| stage.name.name().to_owned()),
        finding.map_or_else(String::new, |finding| {
            format!("{}: {}", finding.id, finding.message)
        }),
    ]
}
