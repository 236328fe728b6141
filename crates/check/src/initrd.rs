//! The names of kernel modules in an initial RAM disk.
//!
//! Source: the kernel's documentation "initramfs buffer format" and "Early userspace support":
//! cpio archives in the "newc" format one after another, each packed or not, with zeros between
//! them. Contents are skipped, and nothing is kept but the name at hand.

use std::io::{self, BufRead, BufReader, Read};

use thiserror::Error;

/// Most bytes that are unpacked.
const MAX_UNPACKED: u64 = 1 << 30;
/// Longest name in an archive, in bytes.
const MAX_NAME: u64 = 4096;
/// Most memory that the decoders of xz and lzma may take, in bytes.
const MAX_MEMORY: u64 = 256 << 20;
const MAGIC_SIZE: usize = 6;
/// The header after its magic: thirteen numbers of eight hexadecimal digits.
const CPIO_REST: usize = 13 * 8;
/// Place of two of these numbers.
const FILE_SIZE: usize = 6;
const NAME_SIZE: usize = 11;
const LAST_NAME: &[u8] = b"TRAILER!!!";

/// Why an initial RAM disk could not be read.
#[derive(Debug, Error)]
pub(super) enum InitrdError {
    /// It is damaged, or the file system in which it is.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A packing that is not known here.
    #[error("it is packed with {0}, which is not looked into")]
    Packing(&'static str),
    /// Neither an archive nor a known packing.
    #[error("it has an unknown format (it begins with {0:02x?})")]
    Format([u8; MAGIC_SIZE]),
    /// An archive is damaged.
    #[error("its archive is damaged: {0}")]
    Cpio(&'static str),
    /// It is larger than what is looked at.
    #[error("it holds more than {MAX_UNPACKED} bytes")]
    Size,
}

/// Calls `visit` with the name of each kernel module, dashes as underscores, until it returns
/// false or the end is reached.
pub(super) fn visit_modules(
    input: &mut dyn BufRead,
    visit: &mut dyn FnMut(&str) -> bool,
) -> Result<(), InitrdError> {
    let mut scan = Scan { unpacked: 0, visit };
    scan.archives(input, true).map(|_| ())
}

/// The name of the module in a file: `hv_vmbus` of `kernel/drivers/hv/hv_vmbus.ko.xz`.
pub(super) fn module_name(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let stem = [".ko", ".ko.xz", ".ko.gz", ".ko.zst"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))?;
    Some(stem.replace('-', "_"))
}

/// Whether to go on.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Next {
    GoOn,
    Stop,
}

struct Scan<'a> {
    unpacked: u64,
    visit: &'a mut dyn FnMut(&str) -> bool,
}

impl Scan<'_> {
    /// Reads archives to the end of the input; packed ones only where they may be.
    fn archives(&mut self, input: &mut dyn BufRead, packed: bool) -> Result<Next, InitrdError> {
        while self.skip_zeros(&mut *input)? {
            let mut magic = [0; MAGIC_SIZE];
            input.read_exact(&mut magic)?;
            let next = match &magic {
                b"070701" | b"070702" => self.cpio(&mut *input)?,
                _ if packed => {
                    let mut input = (&magic[..]).chain(&mut *input);
                    self.packed(magic, &mut input)?
                }
                _ => return Err(InitrdError::Format(magic)),
            };
            if next == Next::Stop {
                return Ok(Next::Stop);
            }
        }
        Ok(Next::GoOn)
    }

    /// Skips zeros; false at the end of the input.
    fn skip_zeros(&mut self, input: &mut dyn BufRead) -> Result<bool, InitrdError> {
        loop {
            let bytes = input.fill_buf()?;
            if bytes.is_empty() {
                return Ok(false);
            }
            let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
            let is_end = zeros < bytes.len();
            input.consume(zeros);
            self.count(zeros as u64)?;
            if is_end {
                return Ok(true);
            }
        }
    }

    fn packed(
        &mut self,
        magic: [u8; MAGIC_SIZE],
        input: &mut dyn BufRead,
    ) -> Result<Next, InitrdError> {
        match magic {
            [0x1f, 0x8b, ..] => self.unpacked(flate2::bufread::GzDecoder::new(input)),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => {
                let stream = liblzma::stream::Stream::new_stream_decoder(MAX_MEMORY, 0);
                let stream = stream.map_err(io::Error::from)?;
                self.unpacked(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            [0x5d, 0, 0, ..] => {
                let stream = liblzma::stream::Stream::new_lzma_decoder(MAX_MEMORY);
                let stream = stream.map_err(io::Error::from)?;
                self.unpacked(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(input);
                self.unpacked(decoder.map_err(io::Error::other)?)
            }
            [0x02, 0x21, 0x4c, 0x18, ..] | [0x04, 0x22, 0x4d, 0x18, ..] => {
                self.unpacked(lz4_flex::frame::FrameDecoder::new(input))
            }
            [b'B', b'Z', b'h', ..] => Err(InitrdError::Packing("bzip2")),
            [0x89, b'L', b'Z', b'O', ..] => Err(InitrdError::Packing("lzo")),
            _ => Err(InitrdError::Format(magic)),
        }
    }

    /// Reads what a decoder yields, to its end, so that the next archive begins behind it.
    fn unpacked(&mut self, decoder: impl Read) -> Result<Next, InitrdError> {
        let mut input = BufReader::with_capacity(64 << 10, decoder);
        self.archives(&mut input, false)
    }

    /// Reads one archive behind its first magic.
    fn cpio(&mut self, input: &mut dyn BufRead) -> Result<Next, InitrdError> {
        loop {
            let mut rest = [0; CPIO_REST];
            input.read_exact(&mut rest)?;
            let (size, name_size) = (hex(&rest, FILE_SIZE)?, hex(&rest, NAME_SIZE)?);
            if name_size > MAX_NAME {
                return Err(InitrdError::Cpio("a name is too long"));
            }
            let mut name = vec![0; name_size as usize];
            input.read_exact(&mut name)?;
            let head = (MAGIC_SIZE + CPIO_REST) as u64 + name_size;
            self.skip(input, head.next_multiple_of(4) - head)?;
            self.count(head)?;
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            if name == LAST_NAME {
                return Ok(Next::GoOn);
            }
            let module = std::str::from_utf8(name).ok().and_then(module_name);
            if module.is_some_and(|module| !(self.visit)(&module)) {
                return Ok(Next::Stop);
            }
            self.skip(input, size.next_multiple_of(4))?;
            let mut magic = [0; MAGIC_SIZE];
            input.read_exact(&mut magic)?;
            if !matches!(&magic, b"070701" | b"070702") {
                return Err(InitrdError::Cpio("a header is missing"));
            }
        }
    }

    fn skip(&mut self, input: &mut dyn BufRead, count: u64) -> Result<(), InitrdError> {
        self.count(count)?;
        let skipped = io::copy(&mut input.take(count), &mut io::sink())?;
        match skipped == count {
            true => Ok(()),
            false => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }

    /// Counts bytes towards the limit.
    fn count(&mut self, bytes: u64) -> Result<(), InitrdError> {
        self.unpacked = self.unpacked.saturating_add(bytes);
        match self.unpacked > MAX_UNPACKED {
            true => Err(InitrdError::Size),
            false => Ok(()),
        }
    }
}

/// A number of a header.
fn hex(rest: &[u8; CPIO_REST], index: usize) -> Result<u64, InitrdError> {
    let digits = std::str::from_utf8(&rest[index * 8..][..8]).ok();
    digits
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .map(u64::from)
        .ok_or(InitrdError::Cpio("a number is not hexadecimal"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use proptest::prelude::*;

    fn cpio(files: &[(&str, usize)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, size) in files.iter().chain([&("TRAILER!!!", 0)]) {
            let mut numbers = [0; 13];
            numbers[FILE_SIZE] = *size;
            numbers[NAME_SIZE] = name.len() + 1;
            bytes.extend(b"070701");
            for number in numbers {
                bytes.extend(format!("{number:08x}").bytes());
            }
            bytes.extend(name.bytes());
            bytes.push(0);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.resize(bytes.len() + size, b'x');
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn modules(bytes: &[u8]) -> Result<Vec<String>, InitrdError> {
        let mut found = Vec::new();
        visit_modules(&mut &bytes[..], &mut |module| {
            found.push(module.to_owned());
            true
        })?;
        Ok(found)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        ruzstd::encoding::compress_to_vec(bytes, level)
    }

    fn lz4(bytes: &[u8], legacy: bool) -> Vec<u8> {
        let info = lz4_flex::frame::FrameInfo::new().legacy_frame(legacy);
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn sample() -> Vec<u8> {
        cpio(&[
            ("usr/lib/modules/6/kernel/drivers/hv/hv_vmbus.ko.xz", 70_001),
            ("init", 3),
            ("usr/lib/modules/6/kernel/drivers/scsi/hv-storvsc.ko", 5),
        ])
    }

    #[test]
    fn every_packing_of_the_kernel_but_two() {
        let sample = sample();
        let expected = ["hv_vmbus", "hv_storvsc"];
        for packed in [
            sample.clone(),
            gzip(&sample),
            xz(&sample),
            zstd(&sample),
            lz4(&sample, false),
            lz4(&sample, true),
        ] {
            assert_eq!(modules(&packed).unwrap(), expected);
            // As with microcode in front.
            let mut early = cpio(&[("kernel/x86/microcode/x.bin", 1000), ("a/early.ko", 1)]);
            early.resize(early.len().next_multiple_of(512), 0);
            early.extend(packed);
            assert_eq!(
                modules(&early).unwrap(),
                ["early", "hv_vmbus", "hv_storvsc"]
            );
        }
        let several = [gzip(&sample), xz(&sample), zstd(&sample), sample].concat();
        assert_eq!(modules(&several).unwrap().len(), 8);
        assert!(matches!(
            modules(b"BZh91AY&SY"),
            Err(InitrdError::Packing("bzip2"))
        ));
        assert!(matches!(
            modules(b"\x89LZO\0\r\n"),
            Err(InitrdError::Packing("lzo"))
        ));
        assert!(matches!(modules(b"#!/bin/sh"), Err(InitrdError::Format(_))));
        assert!(modules(b"").unwrap().is_empty());
    }

    #[test]
    fn damage_is_an_error() {
        let sample = sample();
        assert!(modules(&sample[..sample.len() - 200]).is_err());
        let packed = gzip(&sample);
        assert!(modules(&packed[..packed.len() / 2]).is_err());
        let mut long_name = sample.clone();
        long_name[6 + NAME_SIZE * 8..][..8].copy_from_slice(b"7fffffff");
        assert!(matches!(modules(&long_name), Err(InitrdError::Cpio(_))));
        let mut no_number = sample;
        no_number[6 + FILE_SIZE * 8] = b'x';
        assert!(matches!(modules(&no_number), Err(InitrdError::Cpio(_))));
    }

    #[test]
    fn reading_ends_where_nothing_more_is_wanted() {
        let mut bytes = sample();
        bytes.truncate(400);
        let mut count = 0;
        visit_modules(&mut &bytes[..], &mut |_| {
            count += 1;
            false
        })
        .unwrap();
        assert_eq!(count, 1);
    }

    /// A file of 4 GiB, as a bomb would hold, is not unpacked to its end.
    #[test]
    fn unpacking_is_bounded() {
        let mut bytes = cpio(&[("a", 0)]);
        bytes[6 + FILE_SIZE * 8..][..8].copy_from_slice(b"ffffffff");
        let endless = (&bytes[..]).chain(io::repeat(0));
        let result = visit_modules(&mut BufReader::new(endless), &mut |_| true);
        assert!(matches!(result, Err(InitrdError::Size)));
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_refused_or_read(
            which in 0..6_usize,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            tail: Vec<u8>,
        ) {
            let sample = cpio(&[("a/b.ko", 40), ("c", 1)]);
            let mut bytes = [sample.clone(), gzip(&sample), xz(&sample), zstd(&sample), lz4(&sample, false), lz4(&sample, true)][which].clone();
            for (index, value) in changes {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
            bytes.extend(tail);
            let _ = modules(&bytes);
        }
    }
}
