//! Whatever is changed in XFS, a check of it ends.
#![no_main]

mod sparse;

use libfuzzer_sys::fuzz_target;

/// Size of the disk, in bytes: that of the images in the corpus.
const SIZE: u64 = 16 << 20;

fuzz_target!(|data: &[u8]| sparse::judge(data, SIZE));
