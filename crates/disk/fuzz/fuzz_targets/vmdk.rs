//! No VMDK makes the reader panic, loop or take memory: sparse, as a stream, or as a descriptor whose extents are
//! what follows it.
#![no_main]

mod common;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let image = Arc::new(data.to_vec());
    let extent = data
        .windows(4)
        .position(|bytes| bytes == b"KDMV")
        .map_or(data, |start| &data[start..]);
    common::read("disk.vmdk", image, Arc::new(extent.to_vec()));
});
