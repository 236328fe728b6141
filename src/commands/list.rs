//! `vhdfs list`: what would appear, what would not, and why.

use std::io;
use std::path::{Path, PathBuf};

use indicatif::HumanBytes;
use serde::Serialize;
use thiserror::Error;

use super::print::{print, print_json};
use super::table::{Style, Table, output_width};
use super::{Failure, catalog_options, view};
use crate::advice;
use crate::cli::{ListArgs, ViewArgs};
use crate::folder::catalog::{Catalog, Image, Skip};
use crate::folder::settle::Writers;
use crate::serve::image::{OpenImage, Policy, Refusal};

/// Headings of the table of images.
const COLUMNS: [&str; 7] = [
    "SOURCE",
    "SIZE",
    "VIRTUAL",
    "PADDING",
    "ALLOCATED",
    "VIEW",
    "WARNINGS",
];

/// Why a source cannot be listed.
#[derive(Debug, Error)]
#[error("{}: cannot be listed: {}{} [unreadable]", .0.display(), .1, advice::on_reading(.1))]
struct ListError(PathBuf, #[source] io::Error);

/// What a mount of the source would show; sizes in bytes, names that are not UTF-8 with
/// replacement characters.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(skip)]
    view: ViewArgs,
    source: String,
    images: Vec<Shown>,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
struct Shown {
    source: String,
    view: String,
    format: &'static str,
    files: Vec<String>,
    source_size: u64,
    virtual_size: u64,
    view_size: u64,
    allocated_size: u64,
    unique_id: String,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Skipped {
    source: String,
    format: Option<&'static str>,
    reason: String,
}

pub(super) fn run(args: &ListArgs) -> Result<(), Failure> {
    let failed = |error| ListError(args.source.clone(), error);
    let options = catalog_options(&args.selection, &args.view, false)?;
    let catalog = Catalog::open(&args.source, options).map_err(failed)?;
    let mut report = Report {
        view: args.view,
        source: args.source.to_string_lossy().into_owned(),
        images: Vec::new(),
        skipped: Vec::new(),
    };
    let survey = catalog.root().and_then(|root| catalog.survey(&root));
    let survey = survey.map_err(failed)?;
    for (view, image) in &survey.images {
        let shown = Shown::new(&catalog, image, view, &report.view);
        report.images.push(shown);
    }
    for (path, skip) in &survey.skipped {
        report.add_skipped(path, skip);
    }
    if args.json {
        print_json(&report)
    } else {
        print(&report.to_text(output_width(args.wide)))
    }
}

impl Report {
    fn add_skipped(&mut self, path: &Path, skip: &Skip) {
        self.skipped.push(Skipped {
            source: path.to_string_lossy().into_owned(),
            format: skip.format().map(disk::format::Format::name),
            reason: skip.to_string(),
        });
    }

    fn to_text(&self, width: usize) -> String {
        let size = |bytes| HumanBytes(bytes).to_string();
        let mut images = Table::new(&COLUMNS)
            .right_aligned(1..5)
            .within(width)
            .dropping(3);
        for image in &self.images {
            let style = if image.warnings.is_empty() {
                Style::Plain
            } else {
                Style::Warning
            };
            let cells = [
                image.source.clone(),
                size(image.source_size),
                size(image.virtual_size),
                size(image.virtual_size.saturating_sub(image.source_size)),
                size(image.allocated_size),
                image.view.clone(),
                image.warnings.join("; "),
            ];
            images.add(style, cells);
        }
        let mut skipped = Table::new(&["DOES NOT APPEAR", "WHY"]).within(width);
        for skip in &self.skipped {
            skipped.add(Style::Faint, [skip.source.clone(), skip.reason.clone()]);
        }
        let tables = [images, skipped].map(|table| table.to_string());
        let tables: Vec<_> = tables.iter().filter(|table| !table.is_empty()).collect();
        match tables.as_slice() {
            [] => format!("{}: holds nothing\n", self.source),
            [one] => one.to_string(),
            both => format!("{}\n{}", both[0], both[1]),
        }
    }
}

/// Warnings about an image.
fn warnings_of(image: &Image, opened: Result<OpenImage, Refusal>) -> Vec<String> {
    let unread = |error| vec![format!("its content cannot be read: {error}")];
    match opened {
        Ok(opened) => vhd::warnings(opened.view(), !image.keeps_bytes()).unwrap_or_else(unread),
        Err(Refusal::Source(error)) => unread(error),
        Err(refusal) => vec![format!("cannot be opened: {refusal}")],
    }
}

impl Shown {
    fn new(catalog: &Catalog, image: &Image, view: &Path, args: &ViewArgs) -> Self {
        let opened = view::open(catalog, image, args, Policy::Never, Writers::Allow);
        let derived = || image.identity().unique_id(image.virtual_size());
        let stored = opened.as_ref().ok().map(view::unique_id);
        let unique_id = stored.and_then(Result::ok).unwrap_or_else(derived);
        let warnings = warnings_of(image, opened);
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Self {
            source: text(&image.shown_path()),
            view: text(view),
            format: image.format().name(),
            files: image.files().iter().map(|path| text(path)).collect(),
            source_size: image.disk_size(),
            virtual_size: image.virtual_size(),
            view_size: image.view_size(),
            allocated_size: image.allocated_size(),
            unique_id: unique_id.to_string(),
            warnings,
        }
    }
}
