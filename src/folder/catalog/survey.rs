//! Everything that a folder tree shows, and everything that it does not.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Catalog, Directory, Found, Image, Skip};

/// What is in a folder and in all folders below.
#[derive(Debug, Default)]
pub struct Survey {
    /// Path of each view in the mount, and its image.
    pub images: Vec<(PathBuf, Image)>,
    /// Path of each entry below the source folder that does not appear, and why.
    pub skipped: Vec<(PathBuf, Skip)>,
    /// Whether everything was looked at.
    pub is_whole: bool,
}

impl Catalog {
    /// Looks at everything in `top` and in all folders below, in the order of names.
    ///
    /// # Errors
    ///
    /// If `top` cannot be listed. What cannot be read below is a part of the result.
    pub fn survey(&self, top: &Arc<Directory>) -> io::Result<Survey> {
        self.survey_while(top, || true)
    }

    /// The same for as long as `go_on` returns true; it is called before each entry.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn survey_while(
        &self,
        top: &Arc<Directory>,
        mut go_on: impl FnMut() -> bool,
    ) -> io::Result<Survey> {
        let mut survey = Survey {
            is_whole: true,
            ..Survey::default()
        };
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            let first = folders.len();
            match self.list(&folder) {
                Ok(listing) => {
                    for index in 0..listing.len() {
                        if !go_on() || !survey.has_room() {
                            survey.is_whole = false;
                            folders.clear();
                            break;
                        }
                        survey.add_entry(self, &listing, index, &mut folders);
                    }
                }
                Err(error) if Arc::ptr_eq(&folder, top) => return Err(error),
                Err(error) => {
                    let path = folder.shown_path().to_owned();
                    survey.skipped.push((path, Skip::Unreadable(error)));
                }
            }
            if let Some(found) = folders.get_mut(first..) {
                found.reverse();
            }
        }
        survey.find_parts();
        Ok(survey)
    }
}

impl Survey {
    /// Number of entries that were selected and do not appear.
    pub fn losses(&self) -> usize {
        let skips = self.skipped.iter().map(|(_, skip)| skip);
        skips.filter(|skip| skip.is_a_loss()).count()
    }

    /// Whether there is memory for one entry more: a list of everything may be long.
    fn has_room(&mut self) -> bool {
        self.images.try_reserve(1).is_ok() && self.skipped.try_reserve(1).is_ok()
    }

    fn add_entry(
        &mut self,
        catalog: &Catalog,
        listing: &super::Listing,
        index: usize,
        folders: &mut Vec<Arc<Directory>>,
    ) {
        let folder = listing.directory().shown_path();
        for entry in listing.entries(catalog, index) {
            match entry {
                Ok((_, Found::Directory(inner, _))) => folders.push(inner),
                Ok((view, Found::Image(image))) => self.images.push((folder.join(view), image)),
                Err(skip) if skip.is_gone() => {}
                Err(skip) => {
                    let path = folder.join(listing.name(index).unwrap_or_default());
                    self.skipped.push((path, listing.explain(index, skip)));
                }
            }
        }
    }

    /// A file that does not appear because another image that does is read from it is no loss.
    fn find_parts(&mut self) {
        let mut parts: HashMap<&Path, &Image> = HashMap::new();
        for (_, image) in &self.images {
            parts.extend(image.further_paths().map(|path| (path, image)));
        }
        for (path, skip) in &mut self.skipped {
            if let Some(image) = parts.get(path.as_path())
                && matches!(
                    skip,
                    Skip::NotContainer | Skip::Refused(_) | Skip::Unselected
                )
            {
                *skip = Skip::Part(image.shown_path());
            }
        }
    }
}
