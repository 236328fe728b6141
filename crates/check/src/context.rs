//! What every step of a check works with.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::Options;
use crate::family::Tools;
use crate::metered::Metered;
use crate::report::{Finding, Generation, Level, Stage};
use crate::rules::{self, Rule};

/// How far a check has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// What is being looked at.
    pub step: &'static str,
    /// Bytes read from the image so far.
    pub bytes_read: u64,
}

/// Most findings of one rule: a hostile image could have any number.
const MAX_OF_RULE: usize = 20;

/// The image, the options, and what was found so far.
pub(crate) struct Context<'a> {
    pub(crate) disk: Rc<Metered>,
    pub(crate) options: &'a Options,
    pub(crate) tools: Cell<Tools>,
    /// What it is judged for, once the partition table is read.
    pub(crate) generation: Cell<Generation>,
    /// Whether the firmware starts programs for Arm64.
    pub(crate) is_arm: Cell<bool>,
    findings: RefCell<Vec<Finding>>,
    followed: RefCell<Vec<Stage>>,
    evidence: RefCell<Vec<(Stage, String)>>,
    progress: RefCell<&'a mut dyn FnMut(Progress)>,
    step: Cell<&'static str>,
}

/// What a check comes to.
pub(crate) struct Found {
    pub(crate) findings: Vec<Finding>,
    pub(crate) followed: Vec<Stage>,
    pub(crate) evidence: Vec<(Stage, String)>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        disk: Rc<Metered>,
        options: &'a Options,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Self {
        Self {
            disk,
            options,
            tools: Cell::default(),
            generation: Cell::new(Generation::One),
            is_arm: Cell::new(false),
            findings: RefCell::default(),
            followed: RefCell::default(),
            evidence: RefCell::default(),
            progress: RefCell::new(progress),
            step: Cell::new("format"),
        }
    }

    /// Adds a finding, in which `message` says what was found and what is required.
    pub(crate) fn find(&self, rule: &Rule, message: impl Into<String>) {
        self.add(rule, None, None, message.into());
    }

    /// As [`Self::find`], about a file.
    pub(crate) fn find_in(&self, rule: &Rule, path: &str, message: impl Into<String>) {
        self.add(rule, Some(path), None, message.into());
    }

    /// As [`Self::find`], about a line of a file, from 1.
    pub(crate) fn find_at(&self, rule: &Rule, path: &str, line: u32, message: impl Into<String>) {
        self.add(rule, Some(path), (line > 0).then_some(line), message.into());
    }

    fn add(&self, rule: &Rule, path: Option<&str>, line: Option<u32>, message: String) {
        // What seems to be missing then was only not read.
        if rule.level == Level::Error && self.disk.was_cut().is_some() {
            return;
        }
        let mut findings = self.findings.borrow_mut();
        if findings
            .iter()
            .filter(|finding| finding.id == rule.id)
            .count()
            >= MAX_OF_RULE
        {
            return;
        }
        findings.push(Finding {
            id: rule.id,
            stage: rule.stage,
            level: rule.level,
            path: path.filter(|path| !path.is_empty()).map(str::to_owned),
            line,
            message,
            remedy: rule.remedy.to_owned(),
            source: Some(rule.source.url()).filter(|url| url.starts_with("https:")),
        });
    }

    /// Whether a finding of this level was added to a stage.
    pub(crate) fn has(&self, stage: Stage, level: Level) -> bool {
        let findings = self.findings.borrow();
        findings
            .iter()
            .any(|finding| finding.stage == stage && finding.level == level)
    }

    /// Notes that a stage was followed to its end; without it, the stage is unknown.
    pub(crate) fn followed(&self, stage: Stage) {
        if self.disk.was_cut().is_none() {
            self.followed.borrow_mut().push(stage);
        }
    }

    /// Notes what a stage leads to.
    pub(crate) fn evidence(&self, stage: Stage, text: impl Into<String>) {
        self.evidence.borrow_mut().push((stage, text.into()));
    }

    /// Begins a step.
    pub(crate) fn step(&self, step: &'static str) {
        self.step.set(step);
        self.tick();
    }

    /// Reports that the step goes on.
    pub(crate) fn tick(&self) {
        let bytes_read = self.disk.bytes_read();
        let step = self.step.get();
        (self.progress.borrow_mut())(Progress { step, bytes_read });
    }

    /// Adds that the check was cut short, where it was, to the first stage that was not followed.
    pub(crate) fn judge_cut(&self) {
        let Some(cut) = self.disk.was_cut() else {
            return;
        };
        let message = format!(
            "the check was cut short in the step \"{}\", as {cut}; {} MiB were read",
            self.step.get(),
            self.disk.bytes_read() >> 20
        );
        self.find(&rules::container::CUT, message);
        let followed = self.followed.borrow();
        let open = Stage::ALL.iter().find(|stage| !followed.contains(stage));
        if let (Some(last), Some(stage)) = (self.findings.borrow_mut().last_mut(), open) {
            last.stage = *stage;
        }
    }

    pub(crate) fn into_found(self) -> Found {
        let mut findings = self.findings.into_inner();
        // Only now is known which system is in the image.
        for finding in &mut findings {
            finding.remedy = self.tools.get().fill(&finding.remedy);
        }
        Found {
            findings,
            followed: self.followed.into_inner(),
            evidence: self.evidence.into_inner(),
        }
    }
}
