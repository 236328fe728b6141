//! A small writer of VHDX files for tests, after the specification and independent of the reader.

use crate::ByteRange;
use crate::format::samples::Written;

pub(crate) const MIB: usize = 1 << 20;

/// What a block of the disk is.
#[derive(Clone, Debug)]
pub(crate) enum State {
    NotPresent,
    Undefined,
    Zero,
    /// Trimmed: the entry still names the place of bytes that are no longer those of the disk.
    Unmapped,
    Present(Vec<u8>),
}

/// The parts that lie anywhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Log,
    Bat,
    Metadata,
    /// Another region, which need not be known.
    Other,
}

/// The image to be written.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) size: u64,
    pub(crate) block_size: usize,
    pub(crate) sector_size: u32,
    /// Bits of the file parameters.
    pub(crate) flags: u32,
    pub(crate) blocks: Vec<State>,
    pub(crate) order: Vec<usize>,
    /// The order of the parts in the file, and of regions in their table.
    pub(crate) parts: Vec<Part>,
    /// The order of the metadata's items in their table.
    pub(crate) items: Vec<usize>,
    /// Sequence numbers of the two headers.
    pub(crate) sequence: [u64; 2],
    /// Identity of the log in the two headers.
    pub(crate) log: [u8; 2],
    /// A region or an item that nobody knows: its flags.
    pub(crate) unknown_region: u32,
    pub(crate) unknown_item: u32,
    /// Key and value of the parent locator.
    pub(crate) parent: Option<(&'static str, &'static str)>,
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// A GUID as it stands in files, from its text.
fn guid(text: &str) -> [u8; 16] {
    let hex: Vec<u8> = text
        .replace('-', "")
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    order.map(|at| hex[at])
}

/// CRC-32C bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// Writes the checksum behind the signature.
pub(crate) fn seal(bytes: &mut [u8]) {
    put(bytes, 4, &[0; 4]);
    let sum = crc(bytes);
    put(bytes, 4, &sum.to_le_bytes());
}

impl Writer {
    /// A disk as Hyper-V lays it out.
    pub(crate) fn new(block_size: usize, blocks: Vec<State>) -> Self {
        Self {
            size: (blocks.len() * block_size) as u64,
            block_size,
            sector_size: 512,
            flags: 0,
            order: (0..blocks.len()).collect(),
            blocks,
            parts: vec![Part::Log, Part::Metadata, Part::Bat],
            items: (0..6).collect(),
            sequence: [4, 5],
            log: [0; 2],
            unknown_region: 0,
            unknown_item: 0,
            parent: None,
        }
    }

    /// The disk that it describes.
    pub(crate) fn disk(&self) -> Vec<u8> {
        let mut disk = vec![0; self.blocks.len() * self.block_size];
        for (number, block) in self.blocks.iter().enumerate() {
            if let State::Present(data) = block {
                put(&mut disk, number * self.block_size, data);
            }
        }
        disk.truncate(self.size as usize);
        disk
    }

    fn place(&self, part: Part) -> u64 {
        let index = self.parts.iter().position(|known| *known == part);
        ((1 + 2 * index.unwrap()) * MIB) as u64
    }

    fn header(&self, number: usize) -> Vec<u8> {
        let mut header = vec![0; 4096];
        put(&mut header, 0, b"head");
        put(&mut header, 8, &self.sequence[number].to_le_bytes());
        put(&mut header, 16, &[1; 16]);
        put(&mut header, 48, &[self.log[number]; 16]);
        put(&mut header, 66, &[1, 0]);
        put(&mut header, 68, &(MIB as u32).to_le_bytes());
        put(&mut header, 72, &self.place(Part::Log).to_le_bytes());
        seal(&mut header);
        header
    }

    fn region_table(&self) -> Vec<u8> {
        let mut table = vec![0; 64 << 10];
        put(&mut table, 0, b"regi");
        let regions = self.parts.iter().filter(|part| **part != Part::Log);
        let mut count = 0;
        for part in regions {
            let (id, required) = match part {
                Part::Bat => ("2DC27766-F623-4200-9D64-115E9BFD4A08", 1),
                Part::Metadata => ("8B7CA206-4790-4B9A-B8FE-575F050F886E", 1),
                _ => ("11111111-2222-3333-4455-66778899AABB", self.unknown_region),
            };
            let at = 16 + 32 * count;
            put(&mut table, at, &guid(id));
            put(&mut table, at + 16, &self.place(*part).to_le_bytes());
            put(&mut table, at + 24, &(MIB as u32).to_le_bytes());
            put(&mut table, at + 28, &u32::to_le_bytes(required));
            count += 1;
        }
        put(&mut table, 8, &(count as u32).to_le_bytes());
        seal(&mut table);
        table
    }

    fn locator(&self) -> Vec<u8> {
        let Some((key, value)) = self.parent else {
            return vec![0; 4];
        };
        let text =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let (key, value) = (text(key), text(value));
        let mut locator = guid("B04AEFB7-D19E-4A81-B789-25B8E9445913").to_vec();
        locator.extend([0, 0, 1, 0]);
        locator.extend(32_u32.to_le_bytes());
        locator.extend((32 + key.len() as u32).to_le_bytes());
        locator.extend((key.len() as u16).to_le_bytes());
        locator.extend((value.len() as u16).to_le_bytes());
        locator.extend(key);
        locator.extend(value);
        locator
    }

    fn metadata(&self) -> Vec<u8> {
        let mut parameters = (self.block_size as u32).to_le_bytes().to_vec();
        parameters.extend(self.flags.to_le_bytes());
        let items: [(&str, u32, Vec<u8>); 7] = [
            ("CAA16737-FA36-4D43-B3B6-33F0AA44E76B", 4, parameters),
            (
                "2FA54224-CD1B-4876-B211-5DBED83BF4B8",
                6,
                self.size.to_le_bytes().to_vec(),
            ),
            ("BECA12AB-B2E6-4523-93EF-C309E000C746", 6, vec![9; 16]),
            (
                "8141BF1D-A96F-4709-BA47-F233A8FAAB5F",
                6,
                self.sector_size.to_le_bytes().to_vec(),
            ),
            (
                "CDA348C7-445D-4471-9CC9-E9885251C556",
                6,
                4096_u32.to_le_bytes().to_vec(),
            ),
            (
                "99999999-2222-3333-4455-66778899AABB",
                self.unknown_item,
                vec![5; 3],
            ),
            ("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C", 4, self.locator()),
        ];
        let mut metadata = vec![0; MIB];
        put(&mut metadata, 0, b"metadata");
        let order = self.items.iter().copied().chain(self.parent.map(|_| 6));
        let order: Vec<_> = order.collect();
        put(&mut metadata, 10, &(order.len() as u16).to_le_bytes());
        let mut at = 64 << 10;
        for (row, &item) in order.iter().enumerate() {
            let (id, flags, value) = &items[item];
            let row = 32 + 32 * row;
            put(&mut metadata, row, &guid(id));
            put(&mut metadata, row + 16, &(at as u32).to_le_bytes());
            put(&mut metadata, row + 20, &(value.len() as u32).to_le_bytes());
            put(&mut metadata, row + 24, &flags.to_le_bytes());
            put(&mut metadata, at, value);
            at += value.len() + 5;
        }
        metadata
    }

    /// The file.
    pub(crate) fn write(&self) -> Written {
        let mut file = vec![0; (1 + 2 * self.parts.len()) * MIB];
        put(&mut file, 0, b"vhdxfile");
        put(&mut file, 64 << 10, &self.header(0));
        put(&mut file, 128 << 10, &self.header(1));
        let regions = self.region_table();
        put(&mut file, 192 << 10, &regions);
        put(&mut file, 256 << 10, &regions);
        put(
            &mut file,
            self.place(Part::Metadata) as usize,
            &self.metadata(),
        );
        let bat = self.place(Part::Bat) as usize;
        let ratio = (self.sector_size as usize) * (1 << 23) / self.block_size;
        let mut claims = Vec::new();
        for &number in &self.order {
            let entry = bat + 8 * (number + number / ratio);
            let disk = ByteRange::at((number * self.block_size) as u64, self.block_size as u64);
            claims.push((ByteRange::at(entry as u64, 8), disk));
            let place = (file.len() / MIB) as u64;
            let (state, place) = match &self.blocks[number] {
                State::NotPresent => (0, 0),
                State::Undefined => (1, 0),
                State::Zero => (2, 0),
                State::Unmapped => (3, 1),
                State::Present(data) => {
                    claims.push((ByteRange::at(file.len() as u64, data.len() as u64), disk));
                    file.extend(data);
                    (6, place)
                }
            };
            put(&mut file, entry, &(place << 20 | state).to_le_bytes());
        }
        Written { file, claims }
    }
}
