//! No VDI makes the reader panic, loop or take memory.
#![no_main]

mod common;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let file = Arc::new(data.to_vec());
    common::read("disk.vdi", file.clone(), file);
});
