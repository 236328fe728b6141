//! Bounds of a check: its time, and what it reads.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use check::{Deadline, Level, Options, Subject, Verdict, check_subject};

use super::base::base;
use super::tools::{FileDisk, MIB, ids};

/// A deadline that passes when it was asked so often: the reads of a slow image.
struct After(Cell<u64>);

impl Deadline for After {
    fn has_passed(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left == 0
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// Wherever a check is cut short, it says so, and what it then did not find is not missing.
#[test]
fn what_is_cut_short_is_unknown() {
    let mut was_ready = false;
    let mut asked = 1;
    while !was_ready {
        let disk = Rc::new(FileDisk::open(&base().image));
        let deadline = Rc::new(After(Cell::new(asked)));
        let report = check_subject(
            &Subject::Image,
            "x.raw",
            disk,
            &Options::default(),
            deadline,
            &mut |_| {},
        );
        let report = report.unwrap();
        let errors = report.findings.iter().filter(|f| f.level == Level::Error);
        assert_eq!(errors.count(), 0, "after {asked} reads: {report}");
        let cut = report.findings.iter().find(|f| f.id == "check-cut");
        match report.verdict() {
            Verdict::Ready => assert!(cut.is_none(), "{report}"),
            _ => assert!(cut.unwrap().message.contains("10 s"), "{report}"),
        }
        was_ready = report.verdict() == Verdict::Ready;
        asked = asked * 3 / 2 + 1;
    }
}

/// Little is read of a system, whatever its size: mostly its kernel and initrd.
#[test]
fn what_is_read_of_a_system() {
    let disk = FileDisk::open(&base().image);
    let read = Rc::clone(&disk.read);
    let report = check::check("x.raw", Rc::new(disk), &Options::default(), &mut |_| {}).unwrap();
    assert!(!ids(&report).contains(&"check-cut"));
    assert!(read.get() < 128 * MIB, "{} bytes were read", read.get());
}
