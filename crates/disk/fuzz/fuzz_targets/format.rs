//! The format of any file is recognised without a panic, by its first and last bytes and its size.
#![no_main]

use disk::Disk;
use disk::format::Format;
use libfuzzer_sys::fuzz_target;

/// The size of the file in between, at most: where a volume descriptor would stand.
const MIDDLE: u64 = 1 << 16;

fuzz_target!(|input: (&[u8], &[u8], u64)| {
    let (head, tail, size) = input;
    let mut file = head.to_vec();
    let middle = (size % MIDDLE) as usize;
    file.resize(file.len() + middle, 0);
    file.extend(tail);
    let format = Format::of(&file as &dyn Disk).expect("bytes in memory can be read");
    assert!(Format::all().any(|known| known == format));
    assert!(!format.to_string().is_empty());
});
