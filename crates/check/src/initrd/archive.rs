//! The files of an initial RAM disk, unpacked into memory.
//!
//! Source: the kernel's documentation "initramfs buffer format" and "Early userspace support":
//! cpio archives in the "newc" format one after another, each packed or not, with zeros between
//! them.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};

use thiserror::Error;

use crate::decoders::{self, NoDecoder};
use crate::files::{Kind, Memory, Meta};

/// Most bytes that are unpacked.
const MAX_UNPACKED: u64 = 1 << 30;
/// Most bytes of contents that are kept, and of one file.
const MAX_KEPT: u64 = 256 << 20;
const MAX_KEPT_FILE: u64 = 32 << 20;
/// Most files.
const MAX_FILES: usize = 200_000;
/// Longest name in an archive, in bytes.
const MAX_NAME: u64 = 4096;
const MAGIC_SIZE: usize = 6;
/// The header after its magic: thirteen numbers of eight hexadecimal digits.
const CPIO_REST: usize = 13 * 8;
/// Places of some of these numbers.
const INODE: usize = 0;
const MODE: usize = 1;
const LINKS: usize = 4;
const FILE_SIZE: usize = 6;
const NAME_SIZE: usize = 11;
const LAST_NAME: &[u8] = b"TRAILER!!!";

/// Why an initial RAM disk could not be read.
#[derive(Debug, Error)]
pub(crate) enum InitrdError {
    /// It is damaged, or the file system in which it is.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Its packing is not known, or damaged.
    #[error("{0}")]
    Decoder(#[from] NoDecoder),
    /// An archive is damaged.
    #[error("its archive is damaged: {0}")]
    Cpio(&'static str),
    /// It is larger than what is looked at.
    #[error("it holds more than {MAX_UNPACKED} bytes")]
    Size,
    /// It has more files than what is looked at.
    #[error("it holds more than {MAX_FILES} files")]
    Files,
}

impl InitrdError {
    /// Whether the bytes are damaged, so that the kernel cannot read them either.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Io(error) | Self::Decoder(NoDecoder::Io(error)) => matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::Other
            ),
            Self::Decoder(NoDecoder::Format(_)) | Self::Cpio(_) => true,
            Self::Decoder(NoDecoder::Packing(_)) | Self::Size | Self::Files => false,
        }
    }
}

/// Unpacks initial RAM disks one after another into one set of files.
#[derive(Default)]
pub(crate) struct Unpacker {
    files: Memory,
    unpacked: u64,
    kept: u64,
    /// Contents of files with several names come with the last of them.
    linked: HashMap<u64, Vec<String>>,
}

impl Unpacker {
    /// The files so far.
    pub(crate) fn into_files(self) -> Memory {
        self.files
    }

    /// Reads an initial RAM disk to its end.
    pub(crate) fn read(&mut self, input: &mut dyn BufRead) -> Result<(), InitrdError> {
        self.archives(input, true)
    }

    /// Reads archives to the end of the input; packed ones only where they may be.
    fn archives(&mut self, input: &mut dyn BufRead, packed: bool) -> Result<(), InitrdError> {
        while self.skip_zeros(&mut *input)? {
            let mut magic = [0; MAGIC_SIZE];
            input.read_exact(&mut magic)?;
            match &magic {
                b"070701" | b"070702" => self.cpio(&mut *input)?,
                _ if packed => {
                    let mut input = (&magic[..]).chain(&mut *input);
                    let decoder = decoders::decoder(&mut input)?;
                    // Read to the end, so that the next archive begins behind it.
                    let mut inside = BufReader::with_capacity(64 << 10, decoder);
                    self.archives(&mut inside, false)?;
                }
                _ => return Err(NoDecoder::Format(magic).into()),
            }
        }
        Ok(())
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

    /// Reads one archive behind its first magic.
    fn cpio(&mut self, input: &mut dyn BufRead) -> Result<(), InitrdError> {
        self.linked.clear();
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
                return Ok(());
            }
            let content = self.content(input, size)?;
            self.skip(input, size.next_multiple_of(4) - size)?;
            self.add(name, &rest, size, content)?;
            let mut magic = [0; MAGIC_SIZE];
            input.read_exact(&mut magic)?;
            if !matches!(&magic, b"070701" | b"070702") {
                return Err(InitrdError::Cpio("a header is missing"));
            }
        }
    }

    /// The content of a file; `None` where it is not kept.
    fn content(
        &mut self,
        input: &mut dyn BufRead,
        size: u64,
    ) -> Result<Option<Vec<u8>>, InitrdError> {
        if size > MAX_KEPT_FILE || self.kept + size > MAX_KEPT {
            self.skip(input, size)?;
            return Ok(None);
        }
        self.count(size)?;
        self.kept += size;
        let mut bytes = Vec::new();
        input.take(size).read_to_end(&mut bytes)?;
        match bytes.len() as u64 == size {
            true => Ok(Some(bytes)),
            false => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }

    fn add(
        &mut self,
        name: &[u8],
        header: &[u8; CPIO_REST],
        size: u64,
        content: Option<Vec<u8>>,
    ) -> Result<(), InitrdError> {
        if self.files.len() > MAX_FILES {
            return Err(InitrdError::Files);
        }
        let name = String::from_utf8_lossy(name).into_owned();
        let (mode, links) = (hex(header, MODE)? as u32, hex(header, LINKS)?);
        let kind = match mode & 0o170_000 {
            0o100_000 => Kind::File,
            0o040_000 => Kind::Folder,
            0o120_000 => Kind::Link,
            _ => Kind::Other,
        };
        let meta = Meta {
            kind,
            size,
            mode: mode & 0o7777,
            uid: 0,
        };
        if kind == Kind::File && links > 1 {
            let names = self.linked.entry(hex(header, INODE)?).or_default();
            if size == 0 {
                names.push(name.clone());
            } else {
                for other in std::mem::take(names).into_iter().take(64) {
                    self.kept += size;
                    let copy = content.clone().filter(|_| self.kept < MAX_KEPT);
                    self.files.add(&other, meta, copy);
                }
            }
        }
        self.files.add(&name, meta, content);
        Ok(())
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
            numbers[MODE] = 0o100_755;
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

    /// The names of the modules in an initial RAM disk, sorted.
    fn modules(bytes: &[u8]) -> Result<Vec<String>, InitrdError> {
        let mut unpacker = Unpacker::default();
        unpacker.read(&mut &bytes[..])?;
        let files = unpacker.into_files();
        Ok(files
            .paths()
            .filter_map(crate::drivers::module_name)
            .collect())
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder =
            lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(0)).unwrap();
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
        assert_eq!(modules(&several).unwrap(), expected);
        assert!(matches!(
            modules(b"BZh91AY&SY"),
            Err(InitrdError::Decoder(NoDecoder::Packing("bzip2")))
        ));
        assert!(matches!(
            modules(b"\x89LZO\0\r\n"),
            Err(InitrdError::Decoder(NoDecoder::Packing("lzo")))
        ));
        assert!(matches!(
            modules(b"#!/bin/sh"),
            Err(InitrdError::Decoder(NoDecoder::Format(_)))
        ));
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

    /// A file of 4 GiB, as a bomb would hold, is not unpacked to its end.
    #[test]
    fn unpacking_is_bounded() {
        let mut bytes = cpio(&[("a", 0)]);
        bytes[6 + FILE_SIZE * 8..][..8].copy_from_slice(b"ffffffff");
        let endless = (&bytes[..]).chain(io::repeat(0));
        let result = Unpacker::default().read(&mut BufReader::new(endless));
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
