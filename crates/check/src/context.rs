//! What every step of a check works with.

use std::rc::Rc;

use super::Options;
use super::metered::Metered;
use super::report::Finding;
use super::rules::Rule;

/// How far a check has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// What is being looked at.
    pub step: &'static str,
    /// Bytes read from the image so far.
    pub bytes_read: u64,
}

/// The image, the options, and the findings so far.
pub(super) struct Context<'a> {
    pub(super) disk: Rc<Metered>,
    pub(super) options: &'a Options,
    findings: Vec<Finding>,
    progress: &'a mut dyn FnMut(Progress),
    step: &'static str,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        disk: Rc<Metered>,
        options: &'a Options,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Self {
        Self {
            disk,
            options,
            findings: Vec::new(),
            progress,
            step: "format",
        }
    }

    /// Adds a finding, in which `message` says what was found and what is required.
    pub(super) fn find(&mut self, rule: &Rule, message: impl Into<String>) {
        self.findings.push(Finding {
            id: rule.id,
            level: rule.level,
            message: message.into(),
            remedy: rule.remedy,
        });
    }

    /// Begins a step.
    pub(super) fn step(&mut self, step: &'static str) {
        self.step = step;
        self.tick();
    }

    /// Tells that the step goes on.
    pub(super) fn tick(&mut self) {
        let bytes_read = self.disk.bytes_read();
        (self.progress)(Progress {
            step: self.step,
            bytes_read,
        });
    }

    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}
