//! Any 512 bytes decode to fields that encode back to them, or are refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vhd::footer::{FOOTER_SIZE, Footer, checksum};

const CHECKSUM: std::ops::Range<usize> = 64..68;
const RESERVED: usize = 85;

fuzz_target!(|input: (&[u8], u64, bool)| {
    let (data, file_size, mend) = input;
    let mut bytes = [0; FOOTER_SIZE];
    let length = data.len().min(FOOTER_SIZE);
    bytes[..length].copy_from_slice(&data[..length]);
    if mend {
        let right = checksum(&bytes);
        bytes[CHECKSUM].copy_from_slice(&right.to_be_bytes());
    }
    if let Ok(footer) = Footer::decode(&bytes) {
        assert_eq!(footer.encode()[..RESERVED], bytes[..RESERVED]);
    }
    if let Ok(footer) = Footer::decode_fixed(&bytes, file_size) {
        assert_eq!(footer.current_size, file_size.saturating_sub(FOOTER_SIZE as u64));
        assert_eq!(checksum(&bytes), footer.checksum);
    }
});
