//! The classics, by name.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};

use crate::harness::{Limits, Outcome, Sparse, alone, corpus, refused, seal_vhdx, survives, vhdx};

fn sector(at: u64) -> u32 {
    (at / 512) as u32
}

/// Number of bytes that a bomb claims to hold.
const BOMB: usize = 64 << 20;

fn deflated() -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; BOMB]).expect("compress zeros");
    encoder.finish().expect("compress zeros")
}

/// A qcow2 of version 3 with these entries in its only L2 table.
fn qcow2(bits: u32, size: u64, l2: &[u64]) -> Sparse {
    let cluster = 1_u64 << bits;
    let mut header = b"QFI\xfb\0\0\0\x03".to_vec();
    header.extend([0; 12]);
    header.extend(bits.to_be_bytes());
    header.extend(size.to_be_bytes());
    header.extend(0_u32.to_be_bytes());
    header.extend(1_u32.to_be_bytes());
    header.extend(cluster.to_be_bytes());
    header.resize(96, 0);
    header.extend(4_u32.to_be_bytes());
    header.extend(104_u32.to_be_bytes());
    let l2: Vec<u8> = l2.iter().flat_map(|entry| entry.to_be_bytes()).collect();
    Sparse::new(&header)
        .with(cluster, &(2 * cluster).to_be_bytes())
        .with(2 * cluster, &l2)
        .sized(4 * cluster)
}

#[test]
fn a_qcow2_whose_header_claims_the_impossible_is_refused() {
    let _alone = alone();
    let image = || Sparse::new(&corpus("qcow2/v3"));
    for (at, bytes, words) in [
        (40, (1_u64 << 45).to_be_bytes().as_slice(), "the L1 table"),
        (40, &(u64::MAX - 511).to_be_bytes(), "the L1 table"),
        (24, &((1_u64 << 63) - 512).to_be_bytes(), "L1 table's size"),
        (24, &u64::MAX.to_be_bytes(), "L1 table's size"),
        (36, &u32::MAX.to_be_bytes(), "L1 table's size"),
        (20, &31_u32.to_be_bytes(), "cluster size is 2147483648"),
        (20, &64_u32.to_be_bytes(), "cluster size"),
        (20, &u32::MAX.to_be_bytes(), "cluster size"),
        (20, &8_u32.to_be_bytes(), "the header"),
        (4, &u32::MAX.to_be_bytes(), "version"),
        (8, &[0xff; 12], "the header"),
        (100, &u32::MAX.to_be_bytes(), "the header"),
    ] {
        let text = refused("disk.qcow2", image().with(at, bytes));
        assert!(text.contains(words), "{at}: {text}");
    }
}

#[test]
fn a_table_far_behind_is_read_where_the_file_has_it() {
    let _alone = alone();
    let image = Sparse::new(&corpus("qcow2/v3"))
        .with(40, &(1_u64 << 45).to_be_bytes())
        .sized(1 << 46);
    let Outcome::Read { damaged: 0, .. } = survives("disk.qcow2", image) else {
        panic!("an L1 table of zeros is one of an empty disk");
    };
}

#[test]
fn tables_that_contain_themselves_are_damage() {
    let _alone = alone();
    let (bits, cluster) = (16, 1_u64 << 16);
    // An L2 table that is the L1 table; clusters that are the L2 table, the L1 table, the header.
    let l1_itself = qcow2(bits, 1 << 20, &[]).with(cluster, &cluster.to_be_bytes());
    let l2_itself = qcow2(bits, 1 << 20, &[2 * cluster; 16]);
    let l1_as_data = qcow2(bits, 1 << 20, &[cluster; 16]);
    for image in [l1_itself, l2_itself, l1_as_data] {
        let outcome = survives("disk.qcow2", image);
        assert!(
            matches!(outcome, Outcome::Read { good: 0, .. }),
            "{outcome:?}"
        );
    }
    // Every cluster is the same one: its content is there, as often as it is asked for.
    let shared = qcow2(bits, 512 << 20, &[3 * cluster; 8192]);
    let outcome = survives("disk.qcow2", shared);
    assert!(
        matches!(outcome, Outcome::Read { damaged: 0, .. }),
        "{outcome:?}"
    );
}

#[test]
fn a_cluster_that_decompresses_to_more_is_cut_at_its_end() {
    let _alone = alone();
    let (bits, cluster) = (16, 1_u64 << 16);
    let bomb = deflated();
    let sectors = (bomb.len() as u64).div_ceil(512);
    let entry = 1 << 62 | sectors << (70 - bits - 8 + 8) | (3 * cluster);
    let image = qcow2(bits, 512 << 20, &[entry; 8192]).with(3 * cluster, &bomb);
    let outcome = survives("disk.qcow2", image);
    assert!(
        matches!(outcome, Outcome::Read { damaged: 0, .. }),
        "{outcome:?}"
    );
}

#[test]
fn a_zstd_frame_that_claims_a_tebibyte_takes_no_memory() {
    let _alone = alone();
    let (bits, cluster) = (16, 1_u64 << 16);
    // RFC 8878, 3.1.1: magic, a descriptor of an eight-byte size and a window of its own, 2 GiB of window, 1 TiB.
    let mut frame = 0xfd2f_b528_u32.to_le_bytes().to_vec();
    frame.extend([0xc0, 21 << 3]);
    frame.extend((1_u64 << 40).to_le_bytes());
    // Blocks of 128 KiB that repeat one byte.
    for _ in 0..64 {
        frame.extend(&(((128_u32 << 10) << 3) | (1 << 1)).to_le_bytes()[..3]);
        frame.push(7);
    }
    let entry = 1 << 62 | 1 << (70 - bits) | (3 * cluster);
    let image = qcow2(bits, 512 << 20, &[entry; 8192])
        .with(72, &8_u64.to_be_bytes())
        .with(100, &112_u32.to_be_bytes())
        .with(104, &[1])
        .with(3 * cluster, &frame);
    let outcome = survives("disk.qcow2", image);
    assert!(
        matches!(outcome, Outcome::Read { good: 0, .. }),
        "{outcome:?}"
    );
}

/// A stream-optimized VMDK with grains of 16 MiB and these entries in its only grain table.
fn vmdk(sectors: u64, entries: &[u32], compressed: bool) -> Sparse {
    let text = b"# Disk DescriptorFile\ncreateType=\"streamOptimized\"\n";
    let mut header = b"KDMV".to_vec();
    let (flags, compression) = if compressed { (3 << 16, 1) } else { (0, 0) };
    header.extend(3_u32.to_le_bytes());
    header.extend((1_u32 | flags).to_le_bytes());
    for value in [sectors, 32_768, 1, 1] {
        header.extend(value.to_le_bytes());
    }
    header.extend(512_u32.to_le_bytes());
    for value in [0_u64, 2, 16] {
        header.extend(value.to_le_bytes());
    }
    header.push(0);
    header.extend(b"\n \r\n");
    header.extend(u16::to_le_bytes(compression));
    let table: Vec<u8> = entries.iter().flat_map(|e| e.to_le_bytes()).collect();
    Sparse::new(&header)
        .with(512, text)
        .with(1024, &4_u32.to_le_bytes())
        .with(2048, &table)
        .sized(64 << 10)
}

#[test]
fn a_grain_that_decompresses_to_more_is_cut_at_its_end() {
    let _alone = alone();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; BOMB]).expect("compress zeros");
    let bomb = encoder.finish().expect("compress zeros");
    let mut image = vmdk(4 * 32_768, &[128, 1024, 2048, 4096], true).sized(3 << 20);
    for (number, at) in [128_u64, 1024, 2048, 4096].into_iter().enumerate() {
        let mut marker = (number as u64 * 32_768).to_le_bytes().to_vec();
        marker.extend((bomb.len() as u32).to_le_bytes());
        image = image.with(at * 512, &[marker, bomb.clone()].concat());
    }
    let outcome = survives("disk.vmdk", image);
    assert!(
        matches!(outcome, Outcome::Read { damaged: 0, .. }),
        "{outcome:?}"
    );
}

#[test]
fn grains_that_overlap_are_read_and_those_on_tables_are_damage() {
    let _alone = alone();
    let size = 32 << 20;
    let overlapping = vmdk(4 * 32_768, &[128, 129, 128, 130], false).sized(size);
    let outcome = survives("disk.vmdk", overlapping);
    assert!(
        matches!(outcome, Outcome::Read { damaged: 0, .. }),
        "{outcome:?}"
    );
    // The header, the descriptor, the grain directory, the grain table.
    for place in [1, 2, 4] {
        let image = vmdk(4 * 32_768, &[place; 4], false).sized(size);
        let outcome = survives("disk.vmdk", image);
        assert!(
            matches!(outcome, Outcome::Read { good: 0, .. }),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_vmdk_of_any_capacity_takes_no_more() {
    let _alone = alone();
    for sectors in [1 << 40, 1 << 53, (1 << 54) - 1, 1 << 54, 1 << 63, u64::MAX] {
        survives("disk.vmdk", vmdk(sectors, &[128], false));
        let sparse = vmdk(sectors, &[128], false).sized(1 << 62);
        survives("disk.vmdk", sparse);
    }
}

#[test]
fn a_descriptor_of_millions_of_extents_is_refused() {
    let _alone = alone();
    let head = b"# Disk DescriptorFile\nparentCID=ffffffff\ncreateType=\"twoGbMaxExtentFlat\"\n";
    for line in ["RW 1 ZERO\n", "RW 1 FLAT \"disk.vmdk\" 0\n"] {
        for count in [1_024, 1_025, 30_000, 3_000_000] {
            let text = [head, line.repeat(count).as_bytes()].concat();
            match survives("disk.vmdk", Sparse::new(&text)) {
                Outcome::Read { damaged: 0, .. } if count <= 1_024 => {}
                Outcome::Refused(text) if count > 1_024 => {
                    let words = ["number of extents", "descriptor's size"];
                    assert!(words.iter().any(|words| text.contains(words)), "{text}");
                }
                outcome => panic!("{count} of {line}: {outcome:?}"),
            }
        }
    }
}

#[test]
fn a_vhdx_of_sixty_tebibytes_takes_no_more_than_a_small_one() {
    let _alone = alone();
    let size = 60_u64 << 40;
    let mut file = vhdx(&corpus("vhdx/dynamic"));
    let find = |file: &[u8], bytes: &[u8]| {
        let at = file.windows(bytes.len()).position(|window| window == bytes);
        at.expect("it is there")
    };
    // The regions are the table's entries with these GUIDs: offset, length.
    let bat = [0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42];
    let metadata = [0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b];
    let number = |file: &[u8], at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    // Behind all that is there, and long enough.
    let (bat_at, bat_length) = (1_u64 << 30, 512_u32 << 20);
    for table in [192_usize << 10, 256 << 10] {
        let entry = table + find(&file[table..], &bat);
        file[entry + 16..entry + 24].copy_from_slice(&bat_at.to_le_bytes());
        file[entry + 24..entry + 28].copy_from_slice(&bat_length.to_le_bytes());
    }
    let region = number(&file, find(&file, &metadata) + 16) as usize;
    let item = |file: &[u8], id: [u8; 4]| {
        let entry = region + find(&file[region..], &id);
        region + u32::from_le_bytes(file[entry + 16..entry + 20].try_into().unwrap()) as usize
    };
    let parameters = item(&file, [0x37, 0x67, 0xa1, 0xca]);
    file[parameters..parameters + 4].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    let disk_size = item(&file, [0x24, 0x42, 0xa5, 0x2f]);
    file[disk_size..disk_size + 8].copy_from_slice(&size.to_le_bytes());
    seal_vhdx(&mut file);
    let empty = Sparse::new(&file).sized(bat_at + u64::from(bat_length));
    let outcome = survives("disk.vhdx", empty.clone());
    assert!(
        matches!(outcome, Outcome::Read { size: found, damaged: 0, .. } if found == size),
        "{outcome:?}"
    );
    // Every block is the same one, or lies on the table.
    for (place, damaged) in [(4_u64 << 30, false), (bat_at, true)] {
        let entries = (place | 6).to_le_bytes().repeat(1 << 20);
        let small = (1_u64 << 40).to_le_bytes();
        let image = empty.clone().with(disk_size as u64, &small);
        let image = image.with(bat_at, &entries).sized(8 << 30);
        match survives("disk.vhdx", image) {
            Outcome::Read { damaged: found, .. } => assert_eq!(found > 0, damaged),
            outcome => panic!("{outcome:?}"),
        }
    }
}

#[test]
fn tables_of_any_size_are_read_in_pieces() {
    let _alone = alone();
    // A VDI of 2^32 − 2 blocks of 1 MiB, and the table for that.
    let vdi = |blocks: u32, block: u32, disk: u64| {
        Sparse::new(&corpus("vdi/dynamic"))
            .with(340, &512_u32.to_le_bytes())
            .with(368, &disk.to_le_bytes())
            .with(376, &block.to_le_bytes())
            .with(384, &blocks.to_le_bytes())
    };
    let blocks = u32::MAX - 1;
    let large = vdi(blocks, 1 << 20, u64::from(blocks) << 20).sized(64 << 30);
    let outcome = survives("disk.vdi", large);
    assert!(matches!(outcome, Outcome::Read { .. }), "{outcome:?}");
    for (blocks, block, disk) in [
        (u32::MAX, 1 << 31, u64::MAX),
        (u32::MAX, 1 << 20, u64::MAX),
        (1, 0, 1 << 20),
        (0, 1 << 20, 1 << 40),
    ] {
        refused("disk.vdi", vdi(blocks, block, disk));
    }
}

#[test]
fn memory_is_counted() {
    let _alone = alone();
    let limits = Limits::begin();
    let caught = std::panic::catch_unwind(|| {
        let taken = vec![1_u8; 80 << 20];
        assert_ne!(taken[sector(512) as usize], 0);
        limits.check("80 MiB");
    });
    assert!(caught.is_err());
}
