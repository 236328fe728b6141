//! Sizes and ranges of bytes as users write them.

use std::fmt;

use disk::ByteRange;
use vhd::layout::MAX_VIRTUAL_SIZE;

/// Letters of the binary units, from 1 KiB on.
const UNITS: &str = "KMGTP";

/// Largest granularity of a map.
const MAX_GRANULARITY: u64 = 64 << 20;

/// A number of bytes: digits, and K, M, G, T or P, also as KiB or kib, for powers of 1,024.
///
/// # Errors
///
/// What is wrong with the text, for the user.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let shift = match unit_shift(unit) {
        Some(shift) if !digits.is_empty() => shift,
        _ => {
            return Err(
                "not a size; write bytes, or a number and K, M, G, T or P (1G = 1GiB = 1,073,741,824)"
                    .into(),
            );
        }
    };
    let number = digits.parse::<u64>().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|size| *size <= i64::MAX as u64)
        .ok_or_else(|| "larger than a file can be".into())
}

/// A virtual size in bytes, at least 1.
///
/// # Errors
///
/// What is wrong with the text, for the user.
pub(super) fn virtual_size(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        0 => Err("a disk holds at least one byte".into()),
        size if size > MAX_VIRTUAL_SIZE => Err("larger than the disk in a file can be".into()),
        size => Ok(size),
    }
}

/// A size of a cache in bytes.
///
/// # Errors
///
/// What is wrong with the text, for the user.
pub(super) fn cache_size(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        size if size < 1 << 20 => Err("at least 1M is needed".into()),
        size => Ok(size),
    }
}

/// The granularity of a map, in bytes.
///
/// # Errors
///
/// What is wrong with the text, for the user.
pub(super) fn granularity(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        size @ 512..=MAX_GRANULARITY if size.is_multiple_of(512) => Ok(size),
        _ => Err("not a multiple of 512 bytes up to 64M".into()),
    }
}

/// A range of bytes, `START-END` or `START-`.
///
/// # Errors
///
/// What is wrong with the text, for the user.
pub(super) fn span(text: &str) -> Result<Span, String> {
    let (start, end) = text
        .split_once('-')
        .ok_or("not a range; write START-END, or START- for all that follows")?;
    let start = bytes(start)?;
    let end = (!end.is_empty()).then(|| bytes(end)).transpose()?;
    match end {
        Some(end) if end <= start => Err("its end is not behind its start".into()),
        end => Ok(Span { start, end }),
    }
}

/// A range of bytes of a view whose size is not known yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    start: u64,
    /// Without it, all that follows.
    end: Option<u64>,
}

impl Span {
    /// The bytes of a view of `size` bytes.
    ///
    /// # Errors
    ///
    /// If it does not lie inside of the view, in words for the user.
    pub fn within(self, size: u64) -> Result<ByteRange, String> {
        let end = self.end.unwrap_or(size);
        match end > size || self.start >= end {
            true => Err(format!(
                "the range {self} is not inside of the view, which has {size} bytes"
            )),
            false => Ok(ByteRange::new(self.start, end)),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.start)?;
        self.end.map_or(Ok(()), |end| write!(f, "{end}"))
    }
}

/// What a unit multiplies with, as a power of 2; `None` if it is none.
fn unit_shift(unit: &str) -> Option<u32> {
    let mut letters = unit.chars();
    let Some(letter) = letters.next() else {
        return Some(0);
    };
    let place = UNITS.find(letter.to_ascii_uppercase())?;
    let rest = letters.as_str();
    (rest.is_empty() || rest.eq_ignore_ascii_case("ib")).then_some(10 * (place as u32 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, size) in [
            ("0", 0),
            ("512", 512),
            ("1k", 1 << 10),
            ("30G", 30 << 30),
            ("32GiB", 32 << 30),
            ("4tib", 4 << 40),
            ("8191P", 8191 << 50),
            ("9223372036854775807", i64::MAX as u64),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
    }

    #[test]
    fn ranges_lie_inside_of_what_there_is() {
        let range = |text: &str, size| span(text)?.within(size);
        assert_eq!(range("0-512", 512), Ok(ByteRange::new(0, 512)));
        assert_eq!(range("1K-", 4096), Ok(ByteRange::new(1024, 4096)));
        assert_eq!(
            range("4M-8MiB", 8 << 20),
            Ok(ByteRange::new(4 << 20, 8 << 20))
        );
        assert!(range("0-513", 512).unwrap_err().contains("512 bytes"));
        assert!(range("512-", 512).unwrap_err().contains("inside"));
        for text in ["", "5", "-", "-5", "5-5", "6-5", "a-b", "1-2-3", "1 - 2"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn blocks_are_whole_sectors() {
        assert_eq!(
            (granularity("512"), granularity("64M")),
            (Ok(512), Ok(64 << 20))
        );
        for text in ["0", "511", "513", "65M", "x"] {
            assert!(granularity(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_in_words() {
        for text in [
            "", "G", "30X", "-1", "+1", "1.5G", "1GB", "1 G", "0x10", "1Gi", "1KiBs", "é",
        ] {
            assert!(bytes(text).unwrap_err().starts_with("not a size"), "{text}");
        }
        for text in [
            "9223372036854775808",
            "8192P",
            "99999999999999999999",
            "18446744073709551616P",
        ] {
            assert!(
                bytes(text).unwrap_err().contains("larger than a file"),
                "{text}"
            );
        }
        assert!(virtual_size("0").unwrap_err().contains("at least one byte"));
        assert!(
            virtual_size("9223372036854775807")
                .unwrap_err()
                .contains("larger than")
        );
        assert_eq!(virtual_size("1"), Ok(1));
    }
}
