//! `vhdfs list`: what would appear, what would not, and why.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;

use super::print::{print, print_json};
use super::{Failure, catalog_options};
use crate::catalog::{Catalog, Directory, Found, Image, Skip};
use crate::cli::ListArgs;
use crate::format::Format;

/// Why a source cannot be listed.
#[derive(Debug, Error)]
#[error("{}: cannot be listed: {}", .0.display(), .1)]
struct ListError(PathBuf, #[source] io::Error);

/// What a mount of the source would show; sizes in bytes, names that are not UTF-8 with
/// replacement characters.
#[derive(Debug, Serialize)]
struct Report {
    source: String,
    images: Vec<Shown>,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
struct Shown {
    source: String,
    view: String,
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
    let options = catalog_options(&args.selection, false)?;
    let catalog = Catalog::open(&args.source, options).map_err(failed)?;
    let mut report = Report {
        source: args.source.to_string_lossy().into_owned(),
        images: Vec::new(),
        skipped: Vec::new(),
    };
    report
        .add_folder(&catalog, &catalog.root().map_err(failed)?)
        .map_err(failed)?;
    if args.json {
        print_json(&report)
    } else {
        print(&report.to_text())
    }
}

impl Report {
    /// Adds what is in `top` and in all folders below.
    fn add_folder(&mut self, catalog: &Catalog, top: &Arc<Directory>) -> io::Result<()> {
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            let listing = match catalog.list(&folder) {
                Ok(listing) => listing,
                Err(error) if Arc::ptr_eq(&folder, top) => return Err(error),
                Err(error) => {
                    self.add_skipped(folder.shown_path(), &Skip::Unreadable(error));
                    continue;
                }
            };
            let first = folders.len();
            for index in 0..listing.len() {
                match listing.entry(catalog, index) {
                    Ok((_, Found::Directory(inner, _))) => folders.push(inner),
                    Ok((view, Found::Image(image))) => {
                        self.images
                            .push(Shown::new(&image, &folder.shown_path().join(view)));
                    }
                    Err(skip) if skip.is_gone() => {}
                    Err(skip) => {
                        let path = folder
                            .shown_path()
                            .join(listing.name(index).unwrap_or_default());
                        self.add_skipped(&path, &listing.explain(index, skip));
                    }
                }
            }
            folders[first..].reverse();
        }
        Ok(())
    }

    fn add_skipped(&mut self, path: &Path, skip: &Skip) {
        self.skipped.push(Skipped {
            source: path.to_string_lossy().into_owned(),
            format: skip.format().map(Format::name),
            reason: skip.to_string(),
        });
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        for image in &self.images {
            let _ = writeln!(
                text,
                "{} -> {} ({} bytes)",
                image.source, image.view, image.view_size
            );
        }
        for skipped in &self.skipped {
            let _ = writeln!(
                text,
                "{} does not appear: {}",
                skipped.source, skipped.reason
            );
        }
        text
    }
}

impl Shown {
    fn new(image: &Image, view: &Path) -> Self {
        let metadata = image.metadata();
        Self {
            source: image.shown_path().to_string_lossy().into_owned(),
            view: view.to_string_lossy().into_owned(),
            source_size: metadata.version.size,
            virtual_size: image.virtual_size(),
            view_size: image.view_size(),
            allocated_size: metadata.blocks * 512,
            unique_id: image.identity().unique_id().to_string(),
            warnings: Vec::new(),
        }
    }
}
