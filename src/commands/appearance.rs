//! What a mount says about what appears in it, and what does not.

use std::time::{Duration, Instant};

use thiserror::Error;

use super::{Failure, catalog_options};
use crate::cli::MountArgs;
use crate::folder::catalog::{Catalog, Skip, Survey};

/// How long the command looks before it lets its user go on.
const PATIENCE: Duration = Duration::from_millis(500);

/// Something that was asked for does not appear.
#[derive(Debug, Error)]
enum Missing {
    #[error("{0}: does not appear: {1} [does-not-appear]")]
    Source(String, Skip),
    #[error("--strict: {summary}; {first}: {skip}; `vhdfs list {folder}` lists all [strict]")]
    Some {
        summary: String,
        first: String,
        skip: Skip,
        folder: String,
    },
}

/// Refuses a single source that does not appear, and with `--strict` a folder in which something
/// does not.
pub(super) fn check(args: &MountArgs) -> Result<(), Failure> {
    let folder = args.source.display().to_string();
    // Mounting says why the source cannot be opened.
    let Ok(catalog) = open(args) else {
        return Ok(());
    };
    let is_single = catalog.is_single_image();
    if !args.strict && !is_single {
        return Ok(());
    }
    let Ok(survey) = catalog.root().and_then(|top| catalog.survey(&top)) else {
        return Ok(());
    };
    let summary = summary_of(&survey);
    let mut missing = survey.skipped.into_iter();
    match missing.find(|(_, skip)| is_single || skip.is_a_loss()) {
        None => Ok(()),
        Some((_, skip)) if is_single => Err(Missing::Source(folder, skip).into()),
        Some((first, skip)) => {
            let first = first.display().to_string();
            Err(Missing::Some {
                summary,
                first,
                skip,
                folder,
            }
            .into())
        }
    }
}

/// The line that ends a mount; `None` if the source cannot be read any more.
pub(super) fn summary(args: &MountArgs) -> Option<String> {
    let began = Instant::now();
    let catalog = open(args).ok()?;
    let go_on = || began.elapsed() < PATIENCE;
    let survey = catalog.survey_while(&catalog.root().ok()?, go_on).ok()?;
    let summary = summary_of(&survey);
    Some(if survey.losses() > 0 {
        format!("{summary}: vhdfs list {} tells why", args.source.display())
    } else {
        summary
    })
}

fn open(args: &MountArgs) -> Result<Catalog, Failure> {
    let options = catalog_options(&args.selection, &args.view, false)?;
    Ok(Catalog::open(&args.source, options)?)
}

/// How many appear, and how many do not.
fn summary_of(survey: &Survey) -> String {
    let at_least = if survey.is_whole { "" } else { "at least " };
    let appear = match survey.images.len() {
        0 if survey.is_whole => "no image appears".to_owned(),
        1 => format!("{at_least}1 image appears"),
        number => format!("{at_least}{number} images appear"),
    };
    match survey.losses() {
        0 => appear,
        1 => format!("{appear}, 1 does not"),
        number => format!("{appear}, {number} do not"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn args(source: &std::path::Path) -> MountArgs {
        let arguments = ["vhdfs", "mount", source.to_str().unwrap(), "/mnt"];
        match crate::cli::Cli::try_parse_from(arguments).unwrap().command {
            crate::cli::Command::Mount(args) => *args,
            _ => unreachable!(),
        }
    }

    #[test]
    fn a_look_that_was_cut_short_says_so() {
        let top = tempfile::tempdir().unwrap();
        for name in ["a.raw", "b.raw", "c.raw", "d.raw"] {
            std::fs::write(top.path().join(name), "x").unwrap();
        }
        let catalog = open(&args(top.path())).unwrap();
        let root = catalog.root().unwrap();
        for (looks, summary) in [
            (9, "4 images appear"),
            (2, "at least 2 images appear"),
            (1, "at least 1 image appears"),
        ] {
            let mut left = looks;
            let go_on = || {
                left -= 1;
                left >= 0
            };
            let survey = catalog.survey_while(&root, go_on).unwrap();
            assert_eq!(summary_of(&survey), summary);
        }
    }
}
