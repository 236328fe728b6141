//! No OVA makes the reader panic, loop or take memory. The checksums of an archive's headers are made right.
#![no_main]

mod common;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut file = data.to_vec();
    for block in file.chunks_exact_mut(512) {
        if block[257..].starts_with(b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    let file = Arc::new(file);
    common::read("vm.ova", file.clone(), file);
});
