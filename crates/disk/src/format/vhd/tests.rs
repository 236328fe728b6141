use proptest::prelude::*;
use proptest::sample::Index;

use super::writer::Writer;
use crate::Disk;
use crate::format::samples::{self, Written, blocks, bytes, requests};
use crate::format::testing::{check_runs, open_one, read_all, refusal};
use crate::format::{Damage, Defect};

/// The tail of the message about every damage of a part that must be read.
const REPAIR: &str = "; get the image again, or repair a copy of it with the program that made it";

fn image() -> impl Strategy<Value = Writer> {
    prop_oneof![Just(512_usize), Just(4096), Just(1 << 14)]
        .prop_flat_map(|size| {
            let count = if size == 512 { 150 } else { 8 };
            (
                blocks(size, count),
                Just(size),
                0..size as u64,
                (0..3_usize, 0..3_usize),
            )
        })
        .prop_map(|((blocks, order), size, cut, gaps)| {
            let image = Writer::new(size, blocks);
            Writer {
                current_size: image.current_size - cut / 512 * 512,
                order,
                gaps,
                ..image
            }
        })
}

fn want(image: &Writer) -> Vec<u8> {
    samples::disk(&image.blocks, image.block_size, image.current_size)
}

fn small() -> Writer {
    Writer::new(4096, vec![Some(bytes(1, 4096)), None, Some(bytes(2, 4096))])
}

/// A fixed disk of `size` bytes before its footer.
fn fixed(creator: &[u8; 4], geometry: (u16, u8, u8), size: usize) -> Writer {
    Writer {
        creator: *creator,
        geometry,
        kind: 2,
        ..Writer::new(size, vec![Some(bytes(3, size))])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 64 }))]

    #[test]
    fn reads_equal_the_model(image in image(), requests in requests()) {
        samples::check(&[("disk.vhd", image.dynamic().file)], &want(&image), &requests);
    }

    #[test]
    fn a_changed_byte_changes_nothing_else(image in image(), at: Index, flip in 1..=255_u8) {
        samples::check_flip("disk.vhd", &image.dynamic(), &want(&image), at, flip);
    }

    #[test]
    fn what_is_cut_off_is_never_zeros(image in image(), end: Index) {
        samples::check_cut("disk.vhd", &image.dynamic(), &want(&image), end);
    }
}

#[test]
fn the_first_footer_serves_where_the_last_is_damaged() {
    let image = small();
    let Written { mut file, .. } = image.dynamic();
    let end = file.len();
    for cut in [end - 1, end - 512] {
        let disk = open_one("disk.vhd", file[..cut].to_vec()).unwrap();
        assert_eq!(disk.details().format.name(), "dynamic_vhd");
        assert_eq!(read_all(&disk), want(&image));
    }
    file[end - 300] ^= 1;
    let disk = open_one("disk.vhd", file.clone()).unwrap();
    assert_eq!(read_all(&disk), want(&image));
    // And the last where the first is.
    file[end - 300] ^= 1;
    file[0] ^= 1;
    assert_eq!(
        read_all(&open_one("disk.vhd", file.clone()).unwrap()),
        want(&image)
    );
    file[end - 300] ^= 1;
    assert_eq!(
        refusal("disk.vhd", file),
        format!(
            "damaged: the footer at byte {} of disk.vhd has a wrong checksum{REPAIR}",
            end - 512
        )
    );
}

#[test]
fn some_creators_mean_the_geometry() {
    let size = 300 * 512;
    let geometry = (4, 4, 17);
    for (creator, geometry, sectors) in [
        (b"vpc ", geometry, 272),
        (b"qemu", geometry, 272),
        (b"win ", geometry, 300),
        (b"qem2", geometry, 300),
        (b"d2v ", geometry, 300),
        (b"tap\0", geometry, 300),
        (b"wa\0\0", geometry, 300),
        (b"vbox", geometry, 300),
        // It stands for everything larger as well.
        (b"vpc ", (65535, 16, 255), 300),
    ] {
        let image = fixed(creator, geometry, size);
        let disk = open_one("disk.vhd", image.fixed()).unwrap();
        assert_eq!(disk.size(), sectors * 512, "{creator:?}");
        assert_eq!(disk.details().format.name(), "fixed_vhd");
        let want = image.blocks[0].as_ref().unwrap();
        assert_eq!(read_all(&disk), want[..disk.size() as usize]);
        check_runs(&disk, &want[..disk.size() as usize]);

        let dynamic = Writer {
            creator: *creator,
            geometry,
            current_size: size as u64,
            ..Writer::new(1 << 18, vec![Some(bytes(1, 1 << 18))])
        };
        let disk = open_one("disk.vhd", dynamic.dynamic().file).unwrap();
        assert_eq!(disk.size(), sectors * 512, "{creator:?}");
    }
}

#[test]
fn a_fixed_disk_that_its_file_does_not_hold_is_damaged() {
    let good = fixed(b"win ", (1, 1, 1), 1 << 16);
    let cut_off = "damaged: the disk at byte 0 of disk.vhd lies past the end of the file: the image is cut off";
    let larger = Writer {
        current_size: (1 << 16) + 512,
        ..good.clone()
    };
    assert_eq!(
        refusal("disk.vhd", larger.fixed()),
        format!("{cut_off}{REPAIR}")
    );
    let geometry = fixed(b"vpc ", (100, 16, 63), 1 << 16);
    assert_eq!(
        refusal("disk.vhd", geometry.fixed()),
        format!("{cut_off}{REPAIR}")
    );
    let mut changed = good.fixed();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(
        refusal("disk.vhd", changed),
        format!("damaged: the footer at byte 65536 of disk.vhd has a wrong checksum{REPAIR}")
    );
    // A footer of another kind, with a right checksum.
    let kind = Writer { kind: 6, ..good };
    assert!(
        refusal("disk.vhd", kind.fixed()).contains("holds a value that its format does not allow")
    );
}

#[test]
fn a_differencing_disk_is_refused_by_its_parents_name() {
    let image = Writer {
        kind: 4,
        parent: "grüße base.vhd",
        ..small()
    };
    assert_eq!(
        refusal("disk.vhd", image.dynamic().file),
        "holds only what was changed in its parent `grüße base.vhd`: \
         merge both with the program that made them"
    );
}

#[test]
fn tables_and_blocks_out_of_place_are_damage() {
    let image = small();
    let good = image.dynamic().file;
    let table = 1536;
    let damage = |sector: u32| {
        let mut file = good.clone();
        file[table..table + 4].copy_from_slice(&sector.to_be_bytes());
        let disk = open_one("disk.vhd", file).unwrap();
        let error = disk.read_exact_at(&mut [0; 512], 0).unwrap_err();
        let damage = Damage::of(&error).unwrap().clone();
        // The other blocks are as they were.
        let mut rest = vec![0; 8192];
        disk.read_exact_at(&mut rest, 4096).unwrap();
        assert_eq!(rest, want(&image)[4096..]);
        damage.defect
    };
    assert_eq!(damage(0), Defect::Overlap);
    assert_eq!(damage(2), Defect::Overlap);
    assert_eq!(damage((good.len() / 512) as u32 - 2), Defect::Overlap);
    assert_eq!(damage(u32::MAX - 1), Defect::PastEnd);

    let cut = good[..table + 4].to_vec();
    assert_eq!(
        refusal("disk.vhd", cut),
        format!(
            "damaged: the block allocation table at byte 1536 of disk.vhd lies past the end of the file: \
             the image is cut off{REPAIR}"
        )
    );
    // More blocks than the table has entries.
    let large = Writer {
        current_size: 1 << 40,
        ..image.clone()
    };
    assert!(refusal("disk.vhd", large.dynamic().file).contains("the dynamic header at byte 512"));
    let odd = Writer::new(1536, vec![Some(bytes(1, 1536))]);
    assert!(refusal("disk.vhd", odd.dynamic().file).contains("the dynamic header at byte 512"));
    let mut header = good.clone();
    header[1000] ^= 1;
    assert!(refusal("disk.vhd", header).contains("has a wrong checksum"));
    let mut header = good;
    header[512] ^= 1;
    assert!(refusal("disk.vhd", header).contains("holds a value"));
}

#[test]
fn what_a_guest_wrote_into_a_fixed_disk_is_not_looked_at() {
    let mut image = fixed(b"win ", (1, 1, 1), 4096);
    let block = image.blocks[0].as_mut().unwrap();
    block[..512].copy_from_slice(&small().footer());
    let disk = open_one("disk.vhd", image.fixed()).unwrap();
    assert_eq!(disk.details().format.name(), "fixed_vhd");
    assert_eq!(disk.size(), 4096);
}
