//! A small writer of qcow2 images for tests, after the specification and independent of the reader.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// What a cluster of the disk is.
#[derive(Clone, Debug)]
pub(crate) enum Cluster {
    Unallocated,
    /// Zero flag, with or without a host cluster behind it.
    Zero {
        allocated: bool,
    },
    Data(Vec<u8>),
    Compressed(Vec<u8>),
    /// Extended entries: data and the states of the 32 subclusters.
    Sub {
        data: Vec<u8>,
        allocated: u32,
        zero: u32,
    },
}

/// The image to be written.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) version: u32,
    pub(crate) bits: u32,
    pub(crate) size: u64,
    pub(crate) extended: bool,
    pub(crate) zstd: bool,
    pub(crate) backing: Option<(String, Option<&'static str>)>,
    pub(crate) data_file: Option<&'static str>,
    /// Put into the reserved bits of every entry.
    pub(crate) noise: bool,
    pub(crate) clusters: Vec<Cluster>,
}

impl Writer {
    pub(crate) fn new(bits: u32, clusters: Vec<Cluster>) -> Self {
        Self {
            version: 3,
            bits,
            size: (clusters.len() as u64) << bits,
            extended: false,
            zstd: false,
            backing: None,
            data_file: None,
            noise: false,
            clusters,
        }
    }

    fn cluster(&self) -> usize {
        1 << self.bits
    }

    fn compress(&self, data: &[u8]) -> Vec<u8> {
        if self.zstd {
            return ruzstd::encoding::compress_to_vec(
                data,
                ruzstd::encoding::CompressionLevel::Fastest,
            );
        }
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn features(&self) -> u64 {
        u64::from(self.data_file.is_some()) << 2
            | u64::from(self.zstd) << 3
            | u64::from(self.extended) << 4
    }

    fn extension(file: &mut Vec<u8>, kind: u32, data: &[u8]) {
        file.extend(kind.to_be_bytes());
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(data);
        file.resize(file.len().next_multiple_of(8), 0);
    }

    fn header(&self, l1_size: u32, l1_at: u64) -> Vec<u8> {
        let mut file = b"QFI\xfb".to_vec();
        file.extend(self.version.to_be_bytes());
        file.extend([0; 12]);
        file.extend(self.bits.to_be_bytes());
        file.extend(self.size.to_be_bytes());
        file.extend(0_u32.to_be_bytes());
        file.extend(l1_size.to_be_bytes());
        file.extend(l1_at.to_be_bytes());
        file.extend([0; 24]);
        if self.version > 2 {
            file.extend(self.features().to_be_bytes());
            file.extend([0; 16]);
            file.extend(4_u32.to_be_bytes());
            file.extend(112_u32.to_be_bytes());
            file.extend([u8::from(self.zstd), 0, 0, 0, 0, 0, 0, 0]);
        }
        if let Some((_, Some(format))) = &self.backing {
            Self::extension(&mut file, 0xe279_2aca, format.as_bytes());
        }
        if let Some(name) = self.data_file {
            Self::extension(&mut file, 0x4441_5441, name.as_bytes());
        }
        file.extend([0; 8]);
        if let Some((name, _)) = &self.backing {
            let at = file.len() as u64;
            file[8..16].copy_from_slice(&at.to_be_bytes());
            file[16..20].copy_from_slice(&(name.len() as u32).to_be_bytes());
            file.extend(name.as_bytes());
        }
        assert!(file.len() <= self.cluster());
        file
    }

    /// The image, and the external data file.
    pub(crate) fn write(&self) -> (Vec<u8>, Vec<u8>) {
        let entry = if self.extended { 16 } else { 8 };
        let per_table = self.cluster() / entry;
        let tables = self.clusters.len().div_ceil(per_table).max(1);
        let l1_clusters = (tables * 8).div_ceil(self.cluster());
        let mut file = self.header(tables as u32, self.cluster() as u64);
        file.resize(self.cluster() * (1 + l1_clusters), 0);
        let mut data_file = Vec::new();
        for (number, clusters) in self.clusters.chunks(per_table).enumerate() {
            let unused = clusters
                .iter()
                .all(|cluster| matches!(cluster, Cluster::Unallocated));
            if unused {
                continue;
            }
            let l2_at = file.len().next_multiple_of(self.cluster());
            file.resize(l2_at + self.cluster(), 0);
            let noise = if self.noise { 0x7f00_0000_0000_01ff } else { 0 };
            let l1_entry = l2_at as u64 | 1 << 63 | noise;
            let at = self.cluster() + number * 8;
            file[at..at + 8].copy_from_slice(&l1_entry.to_be_bytes());
            for (index, cluster) in clusters.iter().enumerate() {
                let guest = (number * per_table + index) * self.cluster();
                let (descriptor, bitmap) = self.put(&mut file, &mut data_file, guest, cluster);
                let at = l2_at + index * entry;
                file[at..at + 8].copy_from_slice(&descriptor.to_be_bytes());
                if self.extended {
                    file[at + 8..at + 16].copy_from_slice(&bitmap.to_be_bytes());
                }
            }
        }
        (file, data_file)
    }

    fn put(
        &self,
        file: &mut Vec<u8>,
        data_file: &mut Vec<u8>,
        guest: usize,
        cluster: &Cluster,
    ) -> (u64, u64) {
        let noise = if self.noise { 0x3f00_0000_0000_01fe } else { 0 };
        match cluster {
            Cluster::Unallocated => (noise, 0),
            Cluster::Zero { allocated } if self.extended => {
                let at = if *allocated {
                    self.append(file, data_file, guest, &[0xdd])
                } else {
                    0
                };
                (at | noise, 0xffff_ffff_0000_0000)
            }
            Cluster::Zero { allocated } => {
                let at = if *allocated {
                    self.append(file, data_file, guest, &[0xdd])
                } else {
                    0
                };
                (at | 1 | noise, 0)
            }
            Cluster::Data(data) => (
                self.append(file, data_file, guest, data) | 1 << 63 | noise,
                0xffff_ffff,
            ),
            Cluster::Sub {
                data,
                allocated,
                zero,
            } => {
                let at = if *allocated == 0 {
                    0
                } else {
                    self.append(file, data_file, guest, data) | 1 << 63
                };
                (at | noise, u64::from(*zero) << 32 | u64::from(*allocated))
            }
            Cluster::Compressed(data) => {
                let packed = self.compress(data);
                // At any byte, as QEMU packs them.
                let at = file.len() as u64;
                file.extend(&packed);
                let sectors = (file.len() as u64 - 1) / 512 - at / 512;
                (1 << 62 | sectors << (70 - self.bits) | at, 0)
            }
        }
    }

    fn append(
        &self,
        file: &mut Vec<u8>,
        data_file: &mut Vec<u8>,
        guest: usize,
        data: &[u8],
    ) -> u64 {
        let (at, file) = match self.data_file {
            Some(_) => (guest, data_file),
            None => (file.len().next_multiple_of(self.cluster()), file),
        };
        let end = at + self.cluster();
        file.resize(file.len().max(end), 0);
        file[at..at + data.len()].copy_from_slice(data);
        at as u64
    }

    /// The disk as it should be read. `below` is what it is based on.
    pub(crate) fn disk(&self, below: &[u8]) -> Vec<u8> {
        let mut disk = below.to_vec();
        disk.resize(self.clusters.len() * self.cluster(), 0);
        disk.resize(
            (self.clusters.len() * self.cluster()).max(self.size as usize),
            0,
        );
        disk[below.len().min(self.size as usize)..].fill(0);
        for (number, cluster) in self.clusters.iter().enumerate() {
            let place = &mut disk[number * self.cluster()..][..self.cluster()];
            match cluster {
                Cluster::Unallocated => {}
                Cluster::Zero { .. } => place.fill(0),
                Cluster::Data(data) | Cluster::Compressed(data) => place.copy_from_slice(data),
                Cluster::Sub {
                    data,
                    allocated,
                    zero,
                } => {
                    let unit = self.cluster() / 32;
                    for sub in 0..32 {
                        let range = sub * unit..(sub + 1) * unit;
                        if allocated >> sub & 1 != 0 {
                            place[range.clone()].copy_from_slice(&data[range]);
                        } else if zero >> sub & 1 != 0 {
                            place[range].fill(0);
                        }
                    }
                }
            }
        }
        disk.truncate(self.size as usize);
        disk
    }
}
