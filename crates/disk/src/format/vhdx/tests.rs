use proptest::prelude::*;
use proptest::sample::Index;

use super::writer::{MIB, Part, State, Writer, seal};
use crate::Disk;
use crate::format::samples::{self, bytes, requests};
use crate::format::testing::{open_one, read_all, refusal};
use crate::format::{Damage, Defect};

const HEADERS: [usize; 2] = [64 << 10, 128 << 10];
const REGION_TABLES: [usize; 2] = [192 << 10, 256 << 10];

fn state(size: usize) -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::NotPresent),
        Just(State::Undefined),
        Just(State::Zero),
        Just(State::Unmapped),
        any::<u64>().prop_map(move |seed| State::Present(bytes(seed, size))),
        any::<u64>().prop_map(move |seed| State::Present(bytes(seed, size))),
    ]
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let three = vec![Part::Log, Part::Bat, Part::Metadata];
    let four = vec![Part::Log, Part::Bat, Part::Metadata, Part::Other];
    prop_oneof![Just(three).prop_shuffle(), Just(four).prop_shuffle()]
}

fn image() -> impl Strategy<Value = Writer> {
    let size = prop_oneof![3 => Just(MIB), 1 => Just(2 * MIB)];
    let blocks =
        size.prop_flat_map(|size| (Just(size), proptest::collection::vec(state(size), 1..5)));
    blocks.prop_flat_map(|(size, blocks)| {
        let order: Vec<_> = (0..blocks.len()).collect();
        let items: Vec<_> = (0..6).collect();
        (
            Just(order).prop_shuffle(),
            Just(items).prop_shuffle(),
            parts(),
            any::<bool>(),
            any::<bool>(),
            0..256_u64,
        )
            .prop_map(
                move |(order, items, parts, large_sectors, newer_first, cut)| {
                    let image = Writer::new(size, blocks.clone());
                    Writer {
                        size: image.size - cut * 4096,
                        sector_size: if large_sectors { 4096 } else { 512 },
                        sequence: if newer_first { [9, 8] } else { [0, 1] },
                        order,
                        items,
                        parts,
                        ..image
                    }
                },
            )
    })
}

fn small() -> Writer {
    Writer::new(MIB, vec![State::Present(bytes(1, MIB)), State::Unmapped])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 12 }))]

    #[test]
    fn reads_equal_the_model(image in image(), requests in requests()) {
        samples::check(&[("disk.vhdx", image.write().file)], &image.disk(), &requests);
    }

    #[test]
    fn a_changed_byte_changes_nothing_else(image in image(), flips in proptest::collection::vec((any::<Index>(), 1..=255_u8), 6)) {
        let (written, want) = (image.write(), image.disk());
        for (at, flip) in flips {
            samples::check_flip("disk.vhdx", &written, &want, at, flip);
        }
    }

    #[test]
    fn what_is_cut_off_is_never_zeros(image in image(), end: Index) {
        samples::check_cut("disk.vhdx", &image.write(), &image.disk(), end);
    }

    #[test]
    fn changed_tables_do_no_harm(
        image in image(),
        table in 0..5_usize,
        flips in proptest::collection::vec((0..200_usize, 1..=255_u8), 1..4),
    ) {
        let metadata = (1 + 2 * image.parts.iter().position(|part| *part == Part::Metadata).unwrap()) * MIB;
        let places = [HEADERS[0], HEADERS[1], REGION_TABLES[0], metadata, metadata + (64 << 10)];
        let mut file = image.write().file;
        let at = places[table];
        for (offset, flip) in flips {
            file[at + offset] ^= flip;
        }
        // With right checksums, so that what they protect is looked at.
        if table < 2 {
            seal(&mut file[at..at + 4096]);
        } else if table == 2 {
            seal(&mut file[at..at + (64 << 10)]);
        }
        if let Ok(disk) = open_one("disk.vhdx", file) {
            samples::survives(&disk);
        }
    }
}

#[test]
fn blocks_behind_a_sector_bitmap_are_found() {
    // A chunk has 16 blocks where they are as large as can be, so that entry 16 is a sector bitmap's.
    let size = 256 * MIB;
    let mut image = Writer::new(size, vec![State::NotPresent; 40]);
    image.order.clear();
    let mut file = image.write().file;
    let bat = 5 * MIB;
    let place = file.len();
    file.extend(bytes(7, MIB));
    for number in [15, 16, 33] {
        let entry = bat + 8 * (number + number / 16);
        file[entry..entry + 8].copy_from_slice(&((place as u64) | 6).to_le_bytes());
    }
    // What stands in the entries of the bitmaps says nothing of blocks.
    for entry in [16, 33] {
        let at = bat + 8 * entry;
        file[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    }
    let disk = open_one("disk.vhdx", file).unwrap();
    assert_eq!(disk.details().block_size, Some(size as u64));
    for number in 0..40 {
        let mut found = vec![9; MIB];
        disk.read_exact_at(&mut found, (number * size) as u64)
            .unwrap();
        let present = [15, 16, 33].contains(&number);
        assert!(
            found == if present { bytes(7, MIB) } else { vec![0; MIB] },
            "{number}"
        );
        if present {
            // The file ends in the block: not zeros.
            let end = (number * size + MIB) as u64;
            let error = disk.read_exact_at(&mut [0; 512], end).unwrap_err();
            assert_eq!(Damage::of(&error).unwrap().defect, Defect::PastEnd);
        }
    }
}

#[test]
fn either_header_and_either_region_table_serves() {
    let image = small();
    let good = image.write().file;
    for at in HEADERS.into_iter().chain(REGION_TABLES) {
        let mut file = good.clone();
        file[at + 100] ^= 1;
        assert_eq!(
            read_all(&open_one("disk.vhdx", file).unwrap()),
            image.disk()
        );
    }
    for [one, other] in [HEADERS, REGION_TABLES] {
        let mut file = good.clone();
        file[one + 100] ^= 1;
        file[other + 100] ^= 1;
        assert!(refusal("disk.vhdx", file).contains("has a wrong checksum"));
    }
    // Disk2vhd writes the same header twice; two different ones of one age are damage.
    let twice = Writer {
        sequence: [3, 3],
        ..image
    };
    assert_eq!(
        read_all(&open_one("disk.vhdx", twice.write().file).unwrap()),
        twice.disk()
    );
    let two = Writer {
        log: [0, 1],
        ..twice
    };
    assert!(refusal("disk.vhdx", two.write().file).contains("the header at byte 65536"));
}

#[test]
fn a_log_that_is_not_empty_is_refused() {
    for (sequence, log) in [([4, 5], [0, 7]), ([5, 4], [7, 0]), ([5, 5], [7, 7])] {
        let image = Writer {
            sequence,
            log,
            ..small()
        };
        assert_eq!(
            refusal("disk.vhdx", image.write().file),
            "its log holds changes that are not in place yet, as after a power cut: \
             attach it once in Hyper-V, or `qemu-img check -r all`"
        );
    }
    // What the older header says does not count.
    let image = Writer {
        log: [7, 0],
        ..small()
    };
    assert_eq!(
        read_all(&open_one("disk.vhdx", image.write().file).unwrap()),
        image.disk()
    );
}

#[test]
fn a_differencing_disk_is_refused_by_its_parents_name() {
    let refused = |parent| {
        refusal(
            "disk.avhdx",
            Writer {
                flags: 2,
                parent,
                ..small()
            }
            .write()
            .file,
        )
    };
    assert_eq!(
        refused(Some(("relative_path", r".\base.vhdx"))),
        r"holds only what was changed in its parent `.\base.vhdx`: merge both with the program that made them"
    );
    assert_eq!(
        refused(None),
        "holds only what was changed in another image: merge both with the program that made them"
    );
}

#[test]
fn what_must_be_known_and_is_not_is_refused() {
    let region = Writer {
        parts: vec![Part::Log, Part::Other, Part::Bat, Part::Metadata],
        unknown_region: 1,
        ..small()
    };
    assert_eq!(
        refusal("disk.vhdx", region.write().file),
        "VHDX with a region that vhdfs does not know and must not ignore (11111111-2222-3333-4455-66778899AABB): \
         convert it with the program that made it"
    );
    let item = Writer {
        unknown_item: 4,
        ..small()
    };
    assert_eq!(
        refusal("disk.vhdx", item.write().file),
        "VHDX with a metadata item that vhdfs does not know and must not ignore (99999999-2222-3333-4455-66778899AABB): \
         convert it with the program that made it"
    );
}

#[test]
fn sizes_that_the_format_does_not_allow_are_refused() {
    let value = "the metadata table at byte 3145728 of disk.vhdx holds a value that its format does not allow";
    for image in [
        Writer {
            block_size: 3 * MIB,
            ..small()
        },
        Writer {
            block_size: MIB / 2,
            ..small()
        },
        Writer {
            block_size: 512 * MIB,
            ..small()
        },
        Writer {
            sector_size: 1024,
            ..small()
        },
        Writer {
            size: 4096 + 512,
            sector_size: 4096,
            ..small()
        },
    ] {
        let image = Writer {
            order: Vec::new(),
            ..image
        };
        assert!(refusal("disk.vhdx", image.write().file).contains(value));
    }
    let huge = Writer {
        size: u64::MAX - 511,
        ..small()
    };
    assert_eq!(
        refusal("disk.vhdx", huge.write().file),
        "its size is 18446744073709551104, more than vhdfs and `qemu-img` take (70368744177664)"
    );
    // The largest disk, whose table the region does not hold.
    let large = Writer {
        size: 64 << 40,
        ..small()
    };
    assert!(refusal("disk.vhdx", large.write().file).contains("the block allocation table"));
    let empty = Writer { size: 0, ..small() };
    assert_eq!(
        refusal("disk.vhdx", empty.write().file),
        "empty: there is no disk in it"
    );
}

#[test]
fn blocks_and_regions_out_of_place_are_damage() {
    let image = small();
    let good = image.write().file;
    let bat = 5 * MIB;
    let defect = |entry: u64| {
        let mut file = good.clone();
        file[bat..bat + 8].copy_from_slice(&entry.to_le_bytes());
        let disk = open_one("disk.vhdx", file).unwrap();
        let error = disk.read_exact_at(&mut [0; 512], 0).unwrap_err();
        Damage::of(&error).unwrap().defect
    };
    for (megabyte, expected) in [
        (0, Defect::Overlap),
        (1, Defect::Overlap),
        (3, Defect::Overlap),
        (5, Defect::Overlap),
        (8, Defect::PastEnd),
        ((1 << 44) - 1, Defect::PastEnd),
    ] {
        assert_eq!(defect(megabyte << 20 | 6), expected, "{megabyte}");
    }
    // Partially present, and a state that no version of the format has.
    assert_eq!(defect(7 << 20 | 7), Defect::Value);
    assert_eq!(defect(7 << 20 | 4), Defect::Value);

    let mut overlapping = good;
    for at in REGION_TABLES {
        overlapping[at + 32..at + 40].copy_from_slice(&(MIB as u64).to_le_bytes());
        seal(&mut overlapping[at..at + (64 << 10)]);
    }
    assert!(refusal("disk.vhdx", overlapping).contains("overlaps the image's own tables"));
}
