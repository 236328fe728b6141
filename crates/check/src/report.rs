//! What a check found.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::printable::printable;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Azure refuses the image, or it does not boot or cannot be reached.
    Error,
    /// It could not be told whether a rule holds.
    Unknown,
    /// Against the guide's advice.
    Warning,
    /// Worth knowing.
    Info,
}

impl fmt::Display for Level {
    /// The level as it stands in JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// Generation of a virtual machine.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Generation {
    /// Boots through a BIOS.
    One,
    /// Boots through UEFI.
    Two,
}

impl Generation {
    /// 1 or 2.
    pub fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// The generation of a number; nothing but 1 and 2 has one.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }
}

impl Serialize for Generation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

/// One thing to know about an image.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// Name of the rule, which keeps its meaning.
    pub id: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What was found and what is required.
    pub message: String,
    /// What to do.
    pub remedy: &'static str,
}

/// What to conclude from a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Every rule that decides was checked and holds.
    Ready,
    /// At least one finding is an error.
    NotReady,
    /// No error, but something could not be told.
    Undetermined,
}

impl Verdict {
    /// Exit status of `vhdfs check`: 0 ready, 1 not ready, 2 could not be checked.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::NotReady => 1,
            Self::Undetermined => 2,
        }
    }
}

/// The findings about an image; its serialized form is the output of `vhdfs check --json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Report {
    /// The image's name as it was given.
    pub image: String,
    /// Whether no finding is an error or unknown.
    pub ready: bool,
    /// The generation that it was judged for.
    pub generation: Generation,
    /// The findings, the gravest first.
    pub findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(image: &str, generation: Generation, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.level);
        let mut report = Self {
            image: image.to_owned(),
            ready: false,
            generation,
            findings,
        };
        report.ready = report.verdict() == Verdict::Ready;
        report
    }

    /// What to conclude: an error makes an image not ready, else an unknown leaves it open.
    pub fn verdict(&self) -> Verdict {
        let has = |level| self.findings.iter().any(|finding| finding.level == level);
        match () {
            () if has(Level::Error) => Verdict::NotReady,
            () if has(Level::Unknown) => Verdict::Undetermined,
            () => Verdict::Ready,
        }
    }
}

impl fmt::Display for Report {
    /// The report for people: a finding a paragraph, and the conclusion last. Messages quote what
    /// stands in the image.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(
                f,
                "{:<8} {}: {}",
                finding.level,
                finding.id,
                printable(&finding.message)
            )?;
            if !finding.remedy.is_empty() {
                writeln!(f, "         to do: {}", finding.remedy)?;
            }
        }
        let generation = self.generation.number();
        let conclusion = match self.verdict() {
            Verdict::Ready => "ready for Azure",
            Verdict::NotReady => "not ready for Azure",
            Verdict::Undetermined => "no error found, but not everything could be checked",
        };
        let image = printable(&self.image);
        write!(f, "{image}: {conclusion} (generation {generation})")
    }
}
