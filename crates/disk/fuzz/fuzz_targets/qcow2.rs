//! No qcow2 makes the reader panic, loop or take memory, alone or with a backing file or an external data file.
#![no_main]

mod common;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let image = Arc::new(data.to_vec());
    common::read("disk.qcow2", image, Arc::new(vec![7; 70_000]));
});
