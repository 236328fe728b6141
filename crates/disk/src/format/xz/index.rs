//! Where the blocks of an xz file lie.

use std::io;

use super::super::{Defect, Extent, FormatError, Input, Map, Packed, Place};
use super::block::XzBlock;
use crate::cache::{Entries, Tables};
use crate::codec::Codec;
use crate::{ByteRange, Disk};

/// Length of the header of a stream, and of its footer, in bytes.
const HEADER: u64 = 12;
/// Size of all indexes of a file in bytes, at most.
const MAX_INDEX: u64 = 32 << 20;
/// Number of streams in a file, at most.
const MAX_STREAMS: usize = 1 << 16;
/// Bytes of padding behind all streams, at most.
const MAX_PADDING: u64 = 1 << 20;
/// Number of blocks between two places that are remembered.
const STEP: u64 = 128;
/// How much longer a block may be than its content, beside a sixteenth: its header, its check, its end.
const SLACK: u64 = 64 << 10;
const INDEX: &str = "the index";

/// Where the blocks of a file lie. Keeps one place of many; the rest stays in the file.
#[derive(Debug)]
pub(super) struct Index {
    input: Input,
    size: u64,
    blocks: u64,
    largest: u64,
    /// In ascending order.
    marks: Vec<Mark>,
}

/// The place of one block, and of its record in an index.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Offset in what the file holds.
    content: u64,
    /// Offset of its compressed bytes.
    packed: u64,
    /// The records from this one on.
    records: ByteRange,
    flags: [u8; 2],
}

/// One record of an index.
struct Record {
    unpadded: u64,
    length: u64,
}

/// One stream, its marks relative to its beginning.
struct Stream {
    start: u64,
    content: u64,
    marks: Vec<Mark>,
}

impl Index {
    /// Reads all indexes of a file, from its end.
    pub(super) fn read(input: &Input, tables: &Tables) -> Result<Self, FormatError> {
        let mut index = Self {
            input: input.clone(),
            size: 0,
            blocks: 0,
            largest: 0,
            marks: Vec::new(),
        };
        let mut streams = Vec::new();
        let mut end = input.size();
        let mut left = MAX_INDEX;
        let mut padding = MAX_PADDING;
        while end > 0 {
            if streams.len() == MAX_STREAMS {
                return Err(index.damage(end, Defect::Value));
            }
            end = index.skip_padding(tables, end, &mut padding)?;
            let stream = index.stream(tables, end, &mut left)?;
            end = stream.start;
            streams.push(stream);
        }
        for stream in streams.iter().rev() {
            for mark in &stream.marks {
                index.marks.push(Mark {
                    content: index.size + mark.content,
                    packed: stream.start + mark.packed,
                    ..*mark
                });
            }
            index.size = index
                .size
                .checked_add(stream.content)
                .ok_or_else(|| index.damage(0, Defect::Value))?;
        }
        Ok(index)
    }

    /// Number of blocks.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Size of the largest block in bytes.
    pub(super) fn largest(&self) -> u64 {
        self.largest
    }

    fn damage(&self, at: u64, defect: Defect) -> FormatError {
        self.input.damage(INDEX, at, defect).into()
    }

    /// Where the last stream before `end` ends: streams may be followed by zeros.
    fn skip_padding(&self, tables: &Tables, end: u64, left: &mut u64) -> Result<u64, FormatError> {
        let mut at = end;
        loop {
            let mut word = [0; 4];
            let start = at.checked_sub(4);
            let start = start.ok_or_else(|| self.damage(0, Defect::Value))?;
            tables.read(&self.input, INDEX, &mut word, start)?;
            if word != [0; 4] {
                return Ok(at);
            }
            at = start;
            let rest = left.checked_sub(4);
            *left = rest.ok_or_else(|| self.damage(at, Defect::Value))?;
        }
    }

    /// Reads the stream that ends at `end`.
    fn stream(&mut self, tables: &Tables, end: u64, left: &mut u64) -> Result<Stream, FormatError> {
        let input = self.input.clone();
        let cut = |at| FormatError::from(input.damage(INDEX, at, Defect::Value));
        let footer_at = end.checked_sub(HEADER).ok_or_else(|| cut(end))?;
        let mut footer = [0; HEADER as usize];
        tables.read(&self.input, INDEX, &mut footer, footer_at)?;
        let [sum, size]: [u32; 2] = [0, 4].map(|at| number(&footer[at..at + 4]));
        let flags = [footer[8], footer[9]];
        if &footer[10..] != b"YZ" || sum != crc32fast::hash(&footer[4..10]) {
            return Err(self.damage(footer_at, Defect::Checksum));
        }
        let size = (u64::from(size) + 1) * 4;
        *left = left.checked_sub(size).ok_or(FormatError::Limit {
            what: "index's size",
            value: size,
            limit: MAX_INDEX,
        })?;
        let index_at = footer_at.checked_sub(size).ok_or_else(|| cut(footer_at))?;
        let index = ByteRange::new(index_at, footer_at);
        self.check_sum(tables, index)?;
        let (packed, mut stream) = self.records(tables, index, flags)?;
        stream.start = index_at
            .checked_sub(HEADER)
            .and_then(|at| at.checked_sub(packed))
            .ok_or_else(|| cut(index_at))?;
        let mut header = [0; 8];
        tables.read(&self.input, "the stream header", &mut header, stream.start)?;
        if &header[..6] != b"\xfd7zXZ\0" || header[6..] != flags {
            return Err(self.damage(index_at, Defect::Value));
        }
        Ok(stream)
    }

    fn check_sum(&self, tables: &Tables, index: ByteRange) -> Result<(), FormatError> {
        let body = ByteRange::new(index.start(), index.end() - 4);
        let mut sum = crc32fast::Hasher::new();
        let mut at = body.start();
        while at < body.end() {
            let bytes = tables.entries(&self.input, INDEX, at, 1, body.end() - at)?;
            sum.update(&bytes);
            at += bytes.len() as u64;
        }
        let mut stated = [0; 4];
        tables.read(&self.input, INDEX, &mut stated, body.end())?;
        if number(&stated) != sum.finalize() {
            return Err(self.damage(index.start(), Defect::Checksum));
        }
        Ok(())
    }

    /// Goes once through the records of an index: the length of all blocks, and marks for them.
    fn records(
        &mut self,
        tables: &Tables,
        index: ByteRange,
        flags: [u8; 2],
    ) -> Result<(u64, Stream), FormatError> {
        let input = self.input.clone();
        let value = || FormatError::from(input.damage(INDEX, index.start(), Defect::Value));
        // A byte of 0 begins an index, a checksum ends it.
        let mut reader = Records {
            input: &input,
            tables,
            at: index.start() + 1,
            end: index.end() - 4,
            piece: None,
        };
        let count = reader.number()?;
        let (mut packed, mut content) = (HEADER, 0_u64);
        let mut marks = Vec::new();
        for block in 0..count {
            if block % STEP == 0 {
                marks.push(Mark {
                    content,
                    packed,
                    records: ByteRange::new(reader.at, reader.end),
                    flags,
                });
            }
            let record = reader.next()?;
            // What does not become smaller is stored, with three bytes before each 64 KiB.
            let most = record.length.saturating_add(record.length / 16 + SLACK);
            if record.unpadded > most {
                return Err(value());
            }
            packed = packed.checked_add(record.padded()).ok_or_else(value)?;
            content = content.checked_add(record.length).ok_or_else(value)?;
            self.largest = self.largest.max(record.length);
        }
        self.blocks = self.blocks.saturating_add(count);
        let stream = Stream {
            start: 0,
            content,
            marks,
        };
        Ok((packed - HEADER, stream))
    }
}

impl Record {
    /// Length of the compressed block with its padding.
    fn padded(&self) -> u64 {
        self.unpadded.next_multiple_of(4)
    }
}

/// Reads records one after the other.
struct Records<'a> {
    input: &'a Input,
    tables: &'a Tables,
    at: u64,
    end: u64,
    /// Bytes that were read already, and where they stand.
    piece: Option<(u64, Entries)>,
}

impl Records<'_> {
    fn number(&mut self) -> io::Result<u64> {
        let length = self.end.saturating_sub(self.at).min(9) as usize;
        let mut copy = [0; 9];
        let bytes = match self.ahead(length)? {
            Some(bytes) => bytes,
            None => {
                let copy = &mut copy[..length];
                self.tables.read(self.input, INDEX, copy, self.at)?;
                copy
            }
        };
        let mut at = 0;
        let value = super::block::varint(bytes, &mut at)
            .ok_or_else(|| self.input.damage(INDEX, self.at, Defect::Value))?;
        self.at += at as u64;
        Ok(value)
    }

    /// The next `length` bytes, unless they lie on both sides of the end of a piece.
    fn ahead(&mut self, length: usize) -> io::Result<Option<&[u8]>> {
        let known = |piece: &Option<(u64, Entries)>, at: u64| -> Option<std::ops::Range<usize>> {
            let (start, bytes) = piece.as_ref()?;
            let start = usize::try_from(at.checked_sub(*start)?).ok()?;
            let end = start.checked_add(length)?;
            (end <= bytes.len()).then_some(start..end)
        };
        if known(&self.piece, self.at).is_none() {
            let count = self.end.saturating_sub(self.at);
            let bytes = self.tables.entries(self.input, INDEX, self.at, 1, count)?;
            self.piece = Some((self.at, bytes));
        }
        let range = known(&self.piece, self.at);
        let bytes = self.piece.as_ref().map(|(_, bytes)| bytes);
        Ok(range.and_then(|range| bytes?.get(range)))
    }

    fn next(&mut self) -> io::Result<Record> {
        let record = Record {
            unpadded: self.number()?,
            length: self.number()?,
        };
        // 4.3 of the format: no block is shorter, and none ends past the largest offset.
        if !(5..1 << 62).contains(&record.unpadded) {
            return Err(self.input.damage(INDEX, self.at, Defect::Value).into());
        }
        Ok(record)
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

impl Map for Index {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, tables: &Tables, range: ByteRange) -> io::Result<Extent> {
        let after = self
            .marks
            .partition_point(|mark| mark.content <= range.start());
        let damage = || self.input.damage(INDEX, 0, Defect::Value);
        let mark = after
            .checked_sub(1)
            .and_then(|number| self.marks.get(number))
            .ok_or_else(damage)?;
        let mut records = Records {
            input: &self.input,
            tables,
            at: mark.records.start(),
            end: mark.records.end(),
            piece: None,
        };
        let (mut content, mut packed) = (mark.content, mark.packed);
        for _ in 0..STEP {
            let record = records.next()?;
            let block = ByteRange::at(content, record.length);
            if block.contains(range.start()) {
                let place = Place::Packed(Packed {
                    input: 0,
                    data: ByteRange::at(packed, record.padded()),
                    block,
                    codec: Codec::Xz(XzBlock {
                        flags: mark.flags,
                        unpadded: record.unpadded,
                    }),
                });
                let length = block.end().min(range.end()) - range.start();
                return Ok(Extent { length, place });
            }
            content = block.end();
            packed = packed.saturating_add(record.padded());
        }
        Err(damage().into())
    }

    fn has_packed(&self) -> bool {
        true
    }
}
