//! No VHD makes the reader panic, loop or take memory. The checksums of footers and header are made right.
#![no_main]

mod common;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;

/// Makes a checksum right that stands at `at` of a structure.
fn seal(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
    bytes[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
}

fuzz_target!(|data: &[u8]| {
    let mut file = data.to_vec();
    let tail = file.len().saturating_sub(512);
    for at in [0, tail] {
        let Some(footer) = file.get_mut(at..at + 512) else {
            continue;
        };
        seal(footer, 64);
        let header = footer[16..24].try_into().map_or(0, u64::from_be_bytes);
        let header = usize::try_from(header).unwrap_or(usize::MAX);
        let header = header..header.saturating_add(1024);
        if let Some(header) = file.get_mut(header) {
            seal(header, 36);
        }
    }
    let file = Arc::new(file);
    common::read("disk.vhd", file.clone(), file);
});
