//! The file of a unit: sections with settings.

use std::rc::Rc;

use super::Obstacle;

/// A unit that was loaded.
#[derive(Debug, Default)]
pub(crate) struct Unit {
    /// Its file.
    pub(crate) path: String,
    pub(super) settings: Vec<Setting>,
}

/// A line of a unit.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) path: Rc<str>,
    pub(super) line: u32,
}

impl Setting {
    /// What it keeps from running.
    pub(super) fn obstacle(&self, why: String) -> Obstacle {
        Obstacle {
            why,
            path: self.path.to_string(),
            line: self.line,
            is_unsure: false,
        }
    }
}

impl Unit {
    /// Adds the settings of a file.
    pub(super) fn add(&mut self, path: &str, text: &str) {
        let path: Rc<str> = path.into();
        let mut section = String::new();
        let mut lines = (1..).zip(text.lines().take(4096));
        while let Some((line, text)) = lines.next() {
            let text = text.trim();
            if text.is_empty() || text.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = text.strip_prefix('[') {
                section = name.trim_end_matches(']').to_owned();
                continue;
            }
            let mut whole = text.to_owned();
            while whole.ends_with('\\') && whole.len() < 1 << 16 {
                whole.pop();
                match lines.next() {
                    Some((_, more)) => whole.push_str(more.trim()),
                    None => break,
                }
            }
            if let Some((key, value)) = whole.split_once('=') {
                self.settings.push(Setting {
                    section: section.clone(),
                    key: key.trim().to_owned(),
                    value: value.trim().to_owned(),
                    path: Rc::clone(&path),
                    line,
                });
            }
        }
    }

    /// All values of a setting that count.
    pub(super) fn all(&self, section: &str, key: &str) -> Vec<&Setting> {
        let of_key = self
            .settings
            .iter()
            .filter(|s| s.section == section && s.key == key);
        let mut found: Vec<&Setting> = Vec::new();
        for setting in of_key {
            // An empty value takes back all before it.
            match setting.value.is_empty() {
                true => found.clear(),
                false => found.push(setting),
            }
        }
        found
    }

    /// The commands of a service.
    pub(super) fn commands(&self, key: &str) -> Vec<&Setting> {
        self.all("Service", key)
    }

    /// All words of a setting that may be given several times.
    pub(crate) fn words(&self, section: &str, key: &str) -> impl Iterator<Item = &str> {
        self.all(section, key)
            .into_iter()
            .flat_map(|setting| setting.value.split_whitespace())
    }

    /// The last value of a setting.
    pub(crate) fn last(&self, section: &str, key: &str) -> Option<&str> {
        self.all(section, key)
            .last()
            .map(|setting| setting.value.as_str())
    }
}
