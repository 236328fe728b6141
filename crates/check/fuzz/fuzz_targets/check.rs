//! Judging any bytes ends with findings, whatever file system they pretend to be.
#![no_main]

use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use check::{Options, check};

fuzz_target!(|data: &[u8]| {
    if data.is_empty() {
        return;
    }
    let disk = Rc::new(data.to_vec());
    let report = check("disk.raw", disk, &Options::default(), &mut |_| {});
    let report = report.expect("the bytes can be read");
    assert!(report.verdict().exit_status() <= 3);
});
