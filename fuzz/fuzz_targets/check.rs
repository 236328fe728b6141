//! Judging any bytes ends with findings, whatever file system they pretend to be.
#![no_main]

use std::io;
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use vhdfs::check::{Options, check};
use vhdfs::disk::Disk;

struct Bytes(Vec<u8>);

impl Disk for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.as_slice().read_exact_at(buffer, offset)
    }
}

fuzz_target!(|data: &[u8]| {
    if data.is_empty() {
        return;
    }
    let disk = Rc::new(Bytes(data.to_vec()));
    let report = check("disk.raw", disk, &Options::default(), &mut |_| {});
    let report = report.expect("the bytes can be read");
    assert!(report.verdict().exit_status() <= 2);
});
