use proptest::prelude::*;
use proptest::sample::Index;

use super::writer::Writer;
use crate::Disk;
use crate::format::samples::{self, blocks, bytes, requests};
use crate::format::testing::{open_one, read_all, refusal};
use crate::format::{Damage, Defect};

const MIB: usize = 1 << 20;

fn image() -> impl Strategy<Value = Writer> {
    prop_oneof![Just(512_usize), Just(4096), Just(1 << 14)]
        .prop_flat_map(|size| {
            let count = if size == 512 { 150 } else { 8 };
            let blocks = blocks(size, count);
            (blocks, Just(size), 0..size as u64, any::<[bool; 3]>())
        })
        .prop_map(|((blocks, order), size, cut, [fixed, extra, aligned])| {
            let image = Writer::new(size, blocks);
            Writer {
                kind: if fixed { 2 } else { 1 },
                size: image.size - cut / 512 * 512,
                block_extra: if extra { 512 } else { 0 },
                alignment: if aligned { 4096 } else { 512 },
                order,
                ..image
            }
        })
}

fn want(image: &Writer) -> Vec<u8> {
    samples::disk(&image.blocks, image.block_size, image.size)
}

fn small() -> Writer {
    Writer::new(4096, vec![Some(bytes(1, 4096)), None, Some(bytes(2, 4096))])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 48 }))]

    #[test]
    fn reads_equal_the_model(image in image(), requests in requests()) {
        samples::check(&[("disk.vdi", image.write().file)], &want(&image), &requests);
    }

    #[test]
    fn a_changed_byte_changes_nothing_else(image in image(), at: Index, flip in 1..=255_u8) {
        samples::check_flip("disk.vdi", &image.write(), &want(&image), at, flip);
    }

    #[test]
    fn what_is_cut_off_is_never_zeros(image in image(), end: Index) {
        samples::check_cut("disk.vdi", &image.write(), &want(&image), end);
    }
}

#[test]
fn virtualbox_aligns_blocks_of_a_mebibyte() {
    let image = Writer {
        alignment: MIB,
        order: vec![4, 0, 3, 1, 2],
        ..Writer::new(
            MIB,
            vec![
                Some(bytes(1, MIB)),
                None,
                None,
                Some(bytes(2, MIB)),
                Some(bytes(3, MIB)),
            ],
        )
    };
    let disk = open_one("disk.vdi", image.write().file).unwrap();
    assert_eq!(disk.details().block_size, Some(MIB as u64));
    assert_eq!(disk.details().variant.as_deref(), Some("dynamic"));
    assert!(read_all(&disk) == want(&image));
    assert_eq!(
        disk.next_data(MIB as u64).unwrap().unwrap().start(),
        3 * MIB as u64
    );
}

#[test]
fn odd_sizes_are_rounded_up_to_a_sector() {
    let image = Writer {
        size: 8193,
        ..small()
    };
    let disk = open_one("disk.vdi", image.write().file).unwrap();
    assert_eq!(read_all(&disk), want(&small())[..8704]);
}

#[test]
fn the_last_block_may_be_as_short_as_the_disk() {
    let image = Writer {
        size: 8192 + 512,
        ..small()
    };
    let mut file = image.write().file;
    file.truncate(file.len() - 4096 + 512);
    let disk = open_one("disk.vdi", file.clone()).unwrap();
    assert_eq!(read_all(&disk), want(&image));
    file.truncate(file.len() - 1);
    let disk = open_one("disk.vdi", file).unwrap();
    let error = disk.read_exact_at(&mut [0; 512], 8192).unwrap_err();
    assert_eq!(Damage::of(&error).unwrap().defect, Defect::PastEnd);
}

#[test]
fn images_that_are_based_on_others_are_refused() {
    for (kind, parent) in [(3, [0; 16]), (4, [7; 16]), (1, [7; 16])] {
        let image = Writer {
            kind,
            parent,
            ..small()
        };
        assert_eq!(
            refusal("disk.vdi", image.write().file),
            "holds only what was changed in another image: merge both with the program that made them"
        );
    }
}

#[test]
fn headers_that_nobody_writes_are_refused() {
    let old = Writer {
        version: 1,
        ..small()
    };
    assert_eq!(
        refusal("disk.vdi", old.write().file),
        "VDI of version 1, which vhdfs cannot read: convert it with `qemu-img convert`"
    );
    let header = |at: usize, value: &[u8]| {
        let mut file = small().write().file;
        file[at..at + value.len()].copy_from_slice(value);
        refusal("disk.vdi", file)
    };
    let value = "the header at byte 0 of disk.vdi holds a value that its format does not allow";
    assert!(header(76, &[9]).contains(value));
    assert!(header(376, &[1]).contains(value));
    assert!(header(376, &[0, 0, 0, 0x80]).contains(value));
    assert!(header(376, &[0, 0, 0, 0]).contains(value));
    assert!(header(380, &[0xff; 4]).contains(value));
    assert!(header(368, &u64::MAX.to_le_bytes()).contains(value));
    assert!(header(368, &16_384_u64.to_le_bytes()).contains(value));
    assert!(header(384, &u32::MAX.to_le_bytes()).contains("the block map at byte 512"));
    assert!(header(340, &[0, 0, 0, 0x40]).contains("lies past the end of the file"));
    assert!(header(340, &[0, 0]).contains("overlaps the image's own tables"));
    assert!(
        refusal("disk.vdi", small().write().file[..400].to_vec()).contains("the header at byte 0")
    );
}

#[test]
fn blocks_out_of_place_are_damage() {
    let image = small();
    let good = image.write().file;
    let defect = |at: usize, value: u32| {
        let mut file = good.clone();
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let disk = open_one("disk.vdi", file).unwrap();
        let error = disk.read_exact_at(&mut [0; 512], 0).unwrap_err();
        Damage::of(&error).unwrap().defect
    };
    assert_eq!(defect(512, 0xffff_fffd), Defect::PastEnd);
    assert_eq!(defect(512, 2), Defect::PastEnd);
    // Data that begins where the header is.
    assert_eq!(defect(344, 0), Defect::Overlap);
}
