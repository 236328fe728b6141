//! The format of any head and tail is told without a panic, and only fixed VHDs pass for such.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vhd::footer::{FOOTER_SIZE, Footer};
use vhd::format::{Format, HEAD_SIZE, TAIL_SIZE};

fuzz_target!(|input: (&[u8], &[u8], u64)| {
    let (head, tail, file_size) = input;
    let head = &head[..head.len().min(HEAD_SIZE)];
    let tail = &tail[..tail.len().min(TAIL_SIZE)];
    let format = Format::detect(head, tail, file_size);
    assert!(!format.name().is_empty());
    assert_eq!(format.is_presentable(), format.remedy().is_empty());
    if format == Format::FixedVhd {
        let footer: [u8; FOOTER_SIZE] = tail.try_into().expect("a whole footer");
        Footer::decode_fixed(&footer, file_size).expect("a valid one");
    }
});
