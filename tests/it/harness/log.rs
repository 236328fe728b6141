//! What a program logs, and what a test expects of it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The log of one mount. Nothing grave may be in it that the test did not ask for: no warning, no
/// error, no panic, no bug.
#[derive(Debug)]
pub(crate) struct Log {
    file: PathBuf,
    wanted: Mutex<Wanted>,
}

/// Words of lines that a test asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// At least one line holds them.
    expected: Vec<String>,
    /// Grave lines may hold them.
    allowed: Vec<String>,
}

impl Wanted {
    pub(crate) fn expect(&mut self, words: &str) {
        self.expected.push(words.to_owned());
    }

    pub(crate) fn allow(&mut self, words: &str) {
        self.allowed.push(words.to_owned());
    }

    /// What is wrong with a log, line by line; empty where nothing is.
    fn faults_of(&self, text: &str) -> Vec<String> {
        let is_asked_for = |line: &str| {
            let mut words = self.expected.iter().chain(&self.allowed);
            words.any(|words| line.contains(words.as_str()))
        };
        let unasked = text
            .lines()
            .filter(|line| is_grave(line) && !is_asked_for(line))
            .map(|line| format!("the test did not ask for this in the log: {line}"));
        let missing = self
            .expected
            .iter()
            .filter(|words| !text.contains(words.as_str()))
            .map(|words| format!("the log lacks {words:?}"));
        unasked.chain(missing).collect()
    }
}

/// Whether a line is more than information: by its level, or as what a process says that ends.
fn is_grave(line: &str) -> bool {
    // [2026-01-31T12:00:00Z WARN ] disk.raw: …
    let header = line.strip_prefix('[').and_then(|line| line.split_once(']'));
    let level = header.and_then(|(header, _)| header.split_whitespace().nth(1));
    let mut words = line.split(|letter: char| !letter.is_alphanumeric());
    matches!(level, Some("WARN" | "ERROR"))
        || line.contains("panicked")
        || line.contains("memory allocation of")
        || words.any(|word| word.eq_ignore_ascii_case("bug"))
}

impl Log {
    pub(crate) fn new(file: PathBuf, wanted: Wanted) -> Self {
        Self {
            file,
            wanted: Mutex::new(wanted),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file
    }

    /// All that was logged so far.
    pub(crate) fn text(&self) -> String {
        // Reading a FIFO would wait for a writer that is gone.
        if !self.file.is_file() {
            return String::new();
        }
        let text = fs::read(&self.file).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    pub(crate) fn want(&self, want: impl FnOnce(&mut Wanted)) {
        want(&mut self.wanted.lock().expect("no panic in here"));
    }

    /// What is wrong with the log of a process that has ended.
    pub(crate) fn judge(&self) -> Result<(), String> {
        let text = self.text();
        let wanted = self.wanted.lock().expect("no panic in here");
        let faults = wanted.faults_of(&text);
        if faults.is_empty() {
            return Ok(());
        }
        Err(format!("{}\n-- the whole log\n{text}", faults.join("\n")))
    }
}

/// The file that options of `vhdfs mount` name for the log.
pub(crate) fn chosen_by(arguments: &[OsString]) -> Option<PathBuf> {
    let words: Vec<_> = arguments
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let separate = words.windows(2).find(|pair| pair[0] == "--log-file");
    let separate = separate.map(|pair| pair[1].clone().into_owned());
    let joined = || {
        let options = words.iter().flat_map(|word| word.split(','));
        let mut names = options.filter_map(|option| option.split_once('='));
        names.find_map(|(name, value)| {
            ["--log-file", "log_file"]
                .contains(&name)
                .then(|| value.to_owned())
        })
    };
    separate.or_else(joined).map(PathBuf::from)
}
