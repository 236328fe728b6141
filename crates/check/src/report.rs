//! What a check found.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::context::Found;
use crate::printable::printable;
use disk::format::Format;

/// Version of the shape of a report in JSON.
pub const SCHEMA: u32 = 2;

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

/// A stage of the way from the file to a machine that can be reached.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// The file, its size and its partition table.
    Container,
    /// What the firmware starts.
    Firmware,
    /// The boot loader's configuration.
    Loader,
    /// The kernel that it starts.
    Kernel,
    /// The kernel's command line.
    Cmdline,
    /// The initial RAM disk.
    Initrd,
    /// The system on the root file system, up to its services.
    System,
    /// The agent that prepares the machine.
    Provisioning,
    /// What brings up the network.
    Network,
    /// The way in.
    Reachable,
}

impl Stage {
    /// All stages, in the order in which a machine takes them.
    pub const ALL: [Self; 10] = [
        Self::Container,
        Self::Firmware,
        Self::Loader,
        Self::Kernel,
        Self::Cmdline,
        Self::Initrd,
        Self::System,
        Self::Provisioning,
        Self::Network,
        Self::Reachable,
    ];

    /// Name of the stage, as it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Firmware => "firmware",
            Self::Loader => "loader",
            Self::Kernel => "kernel",
            Self::Cmdline => "cmdline",
            Self::Initrd => "initrd",
            Self::System => "system",
            Self::Provisioning => "provisioning",
            Self::Network => "network",
            Self::Reachable => "reachable",
        }
    }

    /// What the stage is about.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Container => {
                "The file that would be uploaded, its size, and its partition table."
            }
            Self::Firmware => "What the firmware of the machine finds to start.",
            Self::Loader => {
                "The boot loader's configuration, and the entry that it starts by itself."
            }
            Self::Kernel => "The kernel of that entry.",
            Self::Cmdline => {
                "The command line of that entry, and the root file system that it names."
            }
            Self::Initrd => "The initial RAM disk of that entry, for that kernel and that root.",
            Self::System => "The root file system: mounts, init, and the units that are started.",
            Self::Provisioning => "The agent that makes the user and reports to Azure.",
            Self::Network => "What configures `eth0`.",
            Self::Reachable => "The SSH server: that it runs, listens, and lets somebody in.",
        }
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One thing to know about an image.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// Name of the rule, which keeps its meaning.
    pub id: &'static str,
    /// Where on the way it matters.
    pub stage: Stage,
    /// How much it matters.
    pub level: Level,
    /// The file in the image that it is about.
    pub path: Option<String>,
    /// The line in that file, from 1.
    pub line: Option<u32>,
    /// What was found and what is required.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Address of the page that the rule comes from.
    pub source: Option<&'static str>,
}

/// What to conclude about a stage.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StageVerdict {
    /// It was followed to its end, and nothing in it keeps a machine from going on.
    Ok,
    /// A machine ends here.
    Broken,
    /// It could not be followed.
    Unknown,
}

/// A stage and its verdict.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct StageReport {
    /// The stage.
    pub name: Stage,
    /// What to conclude.
    pub verdict: StageVerdict,
    /// What the stage leads to, such as the kernel that is started.
    pub evidence: Option<String>,
}

/// What to conclude from a report.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A stage is broken.
    NotReady,
    /// No stage is broken, but at least one could not be followed.
    Unknown,
    /// Every stage is right.
    Ready,
}

impl Verdict {
    /// Exit status of `vhdfs check`: 0 ready, 1 not ready, 3 could not be told.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::NotReady => 1,
            Self::Unknown => 3,
        }
    }

    /// The verdict in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Ready => "ready for Azure",
            Self::NotReady => "not ready for Azure",
            Self::Unknown => "no error found, but not everything could be checked",
        }
    }
}

/// The findings about an image; its serialized form is the output of `vhdfs check --json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Report {
    /// Version of this form.
    pub schema: u32,
    /// The image's name as it was given.
    pub image: String,
    /// The image's format, by its name in the output of `vhdfs list --json`.
    pub format: &'static str,
    /// What to conclude.
    pub verdict: Verdict,
    /// Whether every stage is right.
    pub ready: bool,
    /// The generation that it was judged for.
    pub generation: Generation,
    /// The stages in the order in which a machine takes them; of a data disk, the first.
    pub stages: Vec<StageReport>,
    /// The findings, the gravest first, and in the order of the stages.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Puts a report together from what was found about `stages`.
    pub(crate) fn new(
        image: &str,
        format: Format,
        generation: Generation,
        stages: &[Stage],
        found: Found,
    ) -> Self {
        let Found {
            mut findings,
            followed,
            evidence,
        } = found;
        findings.sort_by_key(|finding| (finding.level, finding.stage));
        let has = |stage: Stage, level: Level| {
            findings
                .iter()
                .any(|finding| finding.stage == stage && finding.level == level)
        };
        let verdict_of = |stage: Stage| match () {
            () if has(stage, Level::Error) => StageVerdict::Broken,
            () if has(stage, Level::Unknown) || !followed.contains(&stage) => StageVerdict::Unknown,
            () => StageVerdict::Ok,
        };
        let evidence_of = |stage: Stage| {
            let last = evidence.iter().rfind(|(of, _)| *of == stage);
            last.map(|(_, text)| text.clone())
        };
        let stages: Vec<_> = stages
            .iter()
            .map(|&name| StageReport {
                name,
                verdict: verdict_of(name),
                evidence: evidence_of(name),
            })
            .collect();
        let any = |verdict| stages.iter().any(|stage| stage.verdict == verdict);
        let verdict = match () {
            () if any(StageVerdict::Broken) => Verdict::NotReady,
            () if any(StageVerdict::Unknown) => Verdict::Unknown,
            () => Verdict::Ready,
        };
        Self {
            schema: SCHEMA,
            image: image.to_owned(),
            format: format.name(),
            verdict,
            ready: verdict == Verdict::Ready,
            generation,
            stages,
            findings,
        }
    }

    /// What to conclude.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }
}

impl fmt::Display for Report {
    /// The report for people: the chain, the findings by stage, and the conclusion last. Messages
    /// quote what stands in the image.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stage in &self.stages {
            let mark = match stage.verdict {
                StageVerdict::Ok => '\u{2713}',
                StageVerdict::Broken => '\u{2717}',
                StageVerdict::Unknown => '?',
            };
            let evidence = stage.evidence.as_deref().map(printable).unwrap_or_default();
            let line = format!("{mark} {:<12} {evidence}", stage.name.name());
            writeln!(f, "{}", line.trim_end())?;
        }
        for stage in &self.stages {
            let of_stage = |finding: &&Finding| finding.stage == stage.name;
            let mut findings = self.findings.iter().filter(of_stage).peekable();
            if findings.peek().is_some() {
                writeln!(f, "\n{}", stage.name.name())?;
            }
            for finding in findings {
                write_finding(f, finding)?;
            }
        }
        let (generation, words) = (self.generation.number(), self.verdict.words());
        let image = printable(&self.image);
        write!(f, "\n{image}: {words} (generation {generation})")
    }
}

fn write_finding(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    let message = printable(&finding.message);
    writeln!(f, "  {:<8} {}: {message}", finding.level, finding.id)?;
    match (&finding.path, finding.line) {
        (Some(path), Some(line)) => writeln!(f, "           at {}:{line}", printable(path))?,
        (Some(path), None) => writeln!(f, "           at {}", printable(path))?,
        (None, _) => {}
    }
    match finding.remedy.is_empty() {
        true => Ok(()),
        false => writeln!(f, "           to do: {}", finding.remedy),
    }
}
