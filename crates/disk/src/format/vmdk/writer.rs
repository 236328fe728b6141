//! A small writer of VMDKs for tests, after the specification and independent of the reader.

use std::io::Write;

use flate2::write::ZlibEncoder;

use crate::ByteRange;
use crate::format::samples::{Blocks, Claim, Written};

/// The image to be written, or one of its extents.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    /// Number of sectors of the disk.
    pub(crate) capacity: u64,
    pub(crate) version: u32,
    /// Number of sectors of a grain.
    pub(crate) grain: usize,
    pub(crate) table_entries: usize,
    pub(crate) grains: Blocks,
    pub(crate) order: Vec<usize>,
    /// Grains of zeros have an entry that says so, where not even a table leads to those that are not there.
    pub(crate) zero_grains: bool,
    pub(crate) second_directory: bool,
    pub(crate) descriptor: String,
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn sector(offset: usize) -> [u8; 4] {
    assert_eq!(offset % 512, 0);
    ((offset / 512) as u32).to_le_bytes()
}

fn marker(value: usize, kind: u32) -> Vec<u8> {
    let mut marker = vec![0; 512];
    put(&mut marker, 0, &(value as u64).to_le_bytes());
    put(&mut marker, 12, &kind.to_le_bytes());
    marker
}

/// A descriptor as VMware writes it.
pub(crate) fn descriptor(create_type: &str, extents: &str) -> String {
    format!(
        "# Disk DescriptorFile\r\nversion=1\r\nencoding=\"UTF-8\"\r\nCID=fffffffe\r\nparentCID=ffffffff\r\n\
         isNativeSnapshot=\"no\"\r\ncreateType=\"{create_type}\"\r\n\r\n# Extent description\r\n{extents}\r\n\
         \r\n# The Disk Data Base\r\n#DDB\r\n\r\nddb.adapterType = \"lsilogic\"\r\nddb.virtualHWVersion = \"14\"\r\n"
    )
}

impl Writer {
    /// A disk in one sparse extent.
    pub(crate) fn new(grain: usize, grains: Blocks) -> Self {
        let capacity = (grain * grains.len()) as u64;
        let extent = format!("RW {capacity} SPARSE \"disk.vmdk\"");
        Self {
            capacity,
            version: 1,
            grain,
            table_entries: 512,
            order: (0..grains.len()).collect(),
            grains,
            zero_grains: false,
            second_directory: true,
            descriptor: descriptor("monolithicSparse", &extent),
        }
    }

    fn grain_size(&self) -> usize {
        self.grain * 512
    }

    fn tables(&self) -> usize {
        self.grains.len().div_ceil(self.table_entries)
    }

    fn header(&self, flags: u32, directories: [u64; 2], overhead: usize) -> Vec<u8> {
        let mut header = vec![0; 512];
        put(&mut header, 0, b"KDMV");
        put(&mut header, 4, &self.version.to_le_bytes());
        put(&mut header, 8, &flags.to_le_bytes());
        put(&mut header, 12, &self.capacity.to_le_bytes());
        put(&mut header, 20, &(self.grain as u64).to_le_bytes());
        if !self.descriptor.is_empty() {
            put(&mut header, 28, &[1]);
            put(&mut header, 36, &[20]);
        }
        put(&mut header, 44, &(self.table_entries as u32).to_le_bytes());
        put(&mut header, 48, &directories[1].to_le_bytes());
        put(&mut header, 56, &directories[0].to_le_bytes());
        put(&mut header, 64, &(overhead as u64 / 512).to_le_bytes());
        put(&mut header, 73, b"\n \r\n");
        put(&mut header, 77, &[(flags >> 16 & 1) as u8]);
        header
    }

    /// The part of the disk that grain `number` holds.
    fn part(&self, number: usize) -> ByteRange {
        ByteRange::at(
            (number * self.grain_size()) as u64,
            self.grain_size() as u64,
        )
    }

    /// An extent whose tables are in front: one directory, then perhaps a second one, each with its tables.
    pub(crate) fn sparse(&self) -> Written {
        let directory = |start: usize| {
            (
                start,
                start + usize::next_multiple_of(4 * self.tables(), 512),
            )
        };
        let table_size = usize::next_multiple_of(4 * self.table_entries, 512);
        let second = directory(21 * 512);
        let end = second.1 + self.tables() * table_size;
        let first = if self.second_directory {
            directory(end)
        } else {
            second
        };
        let end = first.1 + self.tables() * table_size;
        let overhead = end.next_multiple_of(self.grain_size());
        let mut flags = 1 | u32::from(self.zero_grains) << 2;
        let mut directories = [(first.0 / 512) as u64, 0];
        if self.second_directory {
            flags |= 2;
            directories[1] = (second.0 / 512) as u64;
        }
        let mut file = self.header(flags, directories, overhead);
        file.resize(overhead, 0);
        put(&mut file, 512, self.descriptor.as_bytes());
        let mut claims: Vec<Claim> = Vec::new();
        for (directory, tables) in [first, second] {
            for table in 0..self.tables() {
                put(
                    &mut file,
                    directory + 4 * table,
                    &sector(tables + table * table_size),
                );
            }
        }
        for &number in &self.order {
            let (table, index) = (number / self.table_entries, number % self.table_entries);
            let entry = |tables: usize| tables + table * table_size + 4 * index;
            claims.push((ByteRange::at(entry(first.1) as u64, 4), self.part(number)));
            let value = match &self.grains[number] {
                Some(data) => {
                    claims.push((
                        ByteRange::at(file.len() as u64, data.len() as u64),
                        self.part(number),
                    ));
                    let value = sector(file.len());
                    file.extend(data);
                    value
                }
                None => u32::from(self.zero_grains && number % 2 == 0).to_le_bytes(),
            };
            put(&mut file, entry(second.1), &value);
            put(&mut file, entry(first.1), &value);
        }
        Written { file, claims }
    }

    /// A stream: compressed grains, each table behind its grains, then directory and footer.
    pub(crate) fn stream(&self) -> Written {
        let flags = 1 | 3 << 16 | u32::from(self.zero_grains) << 2;
        let overhead = 128 * 512;
        let mut file = self.header(flags, [u64::MAX, 0], overhead);
        file.resize(overhead, 0);
        put(&mut file, 512, self.descriptor.as_bytes());
        let mut claims: Vec<Claim> = Vec::new();
        let mut directory = vec![0; usize::next_multiple_of(4 * self.tables(), 512)];
        let table_size = usize::next_multiple_of(4 * self.table_entries, 512);
        for row in 0..self.tables() {
            let mut table = vec![0; table_size];
            let first = row * self.table_entries;
            let last = self.grains.len().min(first + self.table_entries);
            for number in first..last {
                let entry = 4 * (number - first);
                match &self.grains[number] {
                    Some(data) => {
                        put(&mut table, entry, &sector(file.len()));
                        let start = file.len();
                        self.compress(&mut file, number, data);
                        let place = ByteRange::new(start as u64, file.len() as u64);
                        claims.push((place, self.part(number)));
                    }
                    None => put(
                        &mut table,
                        entry,
                        &[u8::from(self.zero_grains && number % 2 == 0)],
                    ),
                }
            }
            // No table where there is nothing to lead to.
            if table.iter().any(|byte| *byte != 0) {
                file.extend(marker(table_size / 512, 1));
                put(&mut directory, 4 * row, &sector(file.len()));
                for number in first..last {
                    let entry = ByteRange::at((file.len() + 4 * (number - first)) as u64, 4);
                    claims.push((entry, self.part(number)));
                }
                file.extend(table);
            }
        }
        file.extend(marker(directory.len() / 512, 2));
        let place = (file.len() / 512) as u64;
        file.extend(directory);
        file.extend(marker(1, 3));
        file.extend(self.header(flags, [place, 0], overhead));
        file.extend(marker(0, 0));
        Written { file, claims }
    }

    fn compress(&self, file: &mut Vec<u8>, number: usize, data: &[u8]) {
        let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        let packed = encoder.finish().unwrap();
        file.extend(((number * self.grain) as u64).to_le_bytes());
        file.extend((packed.len() as u32).to_le_bytes());
        file.extend(packed);
        file.resize(file.len().next_multiple_of(512), 0);
    }
}
