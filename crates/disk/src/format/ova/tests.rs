use proptest::prelude::*;
use proptest::sample::Index;

use super::envelope;
use super::writer::{Style, disk, end, member, ovf};
use crate::ByteRange;
use crate::format::samples::{self, Written, bytes};
use crate::format::testing::{ALL, open, open_one, read_all, refusal};
use crate::format::{Container, FormatError, Options, Origin, vhdx, vmdk};

/// A VMDK whose first grain is full of `seed`'s bytes.
fn vmdk(seed: u64) -> vmdk::writer::Writer {
    vmdk::writer::Writer::new(
        8,
        vec![Some(bytes(seed, 4096)), None, Some(bytes(seed + 1, 4096))],
    )
}

fn want(seed: u64) -> Vec<u8> {
    [bytes(seed, 4096), vec![0; 4096], bytes(seed + 1, 4096)].concat()
}

fn open_disk(file: &[u8], number: usize) -> Result<Container, FormatError> {
    let options = Options {
        disk: number,
        ..ALL
    };
    open(&[("vm.ova", file.to_vec())], options)
}

/// An archive of an OVF that lists one disk, and the given members.
fn archive(file: &str, disk: &str, members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    let ovf = ovf(&[file], &[disk]);
    member(&mut archive, "vm.ovf", ovf.as_bytes(), Style::Plain);
    for (name, data) in members {
        member(&mut archive, name, data, Style::Plain);
    }
    end(archive)
}

/// An OVA as ovftool writes it: OVF, manifest, certificate, disks.
fn ovftool(style: Style) -> (Vec<u8>, Vec<ByteRange>) {
    let disks: Vec<_> = (1..=3)
        .map(|n| disk(n, &format!("vm-disk{n}.vmdk")))
        .collect();
    let file = |n: usize| disks[n].each_ref().map(String::as_str);
    let blank = "ovf:capacity=\"16\" ovf:diskId=\"blank\"";
    let ovf = ovf(
        &[
            file(0)[0],
            "ovf:href=\"vm.nvram\" ovf:id=\"file9\"",
            file(1)[0],
            file(2)[0],
        ],
        // The order of disks is not that of files.
        &[file(1)[1], blank, file(0)[1], file(2)[1]],
    );
    let mut archive = Vec::new();
    member(&mut archive, "vm.ovf", ovf.as_bytes(), style);
    member(&mut archive, "vm.mf", b"SHA256(vm.ovf)= 0000\n", style);
    member(
        &mut archive,
        "vm.cert",
        b"-----BEGIN CERTIFICATE-----\n",
        style,
    );
    let first = member(
        &mut archive,
        "vm-disk1.vmdk",
        &vmdk(10).stream().file,
        style,
    );
    member(&mut archive, "vm.nvram", &[9; 700], style);
    let second = member(
        &mut archive,
        "vm-disk2.vmdk",
        &vmdk(20).stream().file,
        style,
    );
    let third = member(
        &mut archive,
        "vm-disk3.vmdk",
        &vmdk(30).sparse().file,
        style,
    );
    (end(archive), vec![first, second, third])
}

#[test]
fn the_disks_of_an_ova_come_in_the_order_of_its_ovf() {
    for style in [Style::Plain, Style::Binary, Style::Pax, Style::LongName] {
        let (file, places) = ovftool(style);
        for (number, seed) in [(0, 20), (1, 10), (2, 30)] {
            let disk = open_disk(&file, number).unwrap();
            let details = disk.details();
            assert_eq!((details.format.name(), details.disks), ("ova", 3));
            let inner = details.inner.as_ref().unwrap();
            assert_eq!(inner.format.name(), "vmdk");
            assert_eq!(read_all(&disk), want(seed), "{style:?}");
        }
        assert_eq!(
            open_disk(&file, 3).unwrap_err().to_string(),
            "there is no disk number 3 in it"
        );
        // What is not compressed lies in the archive as it is.
        let disk = open_disk(&file, 2).unwrap();
        let run = disk.runs(ByteRange::new(0, 4096)).next().unwrap().unwrap();
        let Origin::File { file: 0, offset } = run.origin else {
            panic!("{run:?}");
        };
        let in_archive = &file[offset as usize..offset as usize + 4096];
        assert!(places[2].contains(offset) && in_archive == bytes(30, 4096));
    }
}

#[test]
fn names_are_found_however_they_are_written() {
    let [file, disk] = disk(1, "my%20disk%2B&amp;1.vmdk");
    for name in [
        "my disk+&1.vmdk",
        "./my disk+&1.vmdk",
        "my%20disk%2B&1.vmdk",
    ] {
        let file = archive(&file, &disk, &[(name, &vmdk(1).stream().file)]);
        assert_eq!(read_all(&open_disk(&file, 0).unwrap()), want(1));
    }
    assert_eq!(envelope::decoded("a%2"), b"a%2");
    assert_eq!(envelope::decoded("%zz%41"), b"%zzA");
}

#[test]
fn an_ovf_behind_its_disks_is_found() {
    let [file, disk] = disk(1, "d.vmdk");
    let mut archive = Vec::new();
    member(&mut archive, "d.vmdk", &vmdk(1).stream().file, Style::Plain);
    member(
        &mut archive,
        "VM.OVF",
        ovf(&[&file], &[&disk]).as_bytes(),
        Style::Plain,
    );
    assert_eq!(read_all(&open_disk(&end(archive), 0).unwrap()), want(1));
}

#[test]
fn other_images_are_read_inside_of_an_ova() {
    let disk = "ovf:diskId=\"d\" ovf:fileRef=\"f\" ovf:format=\"raw\"";
    let raw = archive(
        "ovf:id=\"f\" ovf:href=\"d.img\"",
        disk,
        &[("d.img", &want(5))],
    );
    assert_eq!(read_all(&open_disk(&raw, 0).unwrap()), want(5));
    let block = vhdx::writer::State::Present(bytes(1, 1 << 20));
    let image = vhdx::writer::Writer::new(1 << 20, vec![block]);
    let vhdx = archive(
        "ovf:id=\"f\" ovf:href=\"d.vhdx\"",
        disk,
        &[("d.vhdx", &image.write().file)],
    );
    assert_eq!(read_all(&open_disk(&vhdx, 0).unwrap()), image.disk());
    // An image in an archive opens no other files.
    let flat = vmdk::writer::descriptor("monolithicFlat", "RW 8 FLAT \"d-flat.vmdk\" 0");
    let flat = archive(
        "ovf:id=\"f\" ovf:href=\"d.vmdk\"",
        disk,
        &[("d.vmdk", flat.as_bytes())],
    );
    assert_eq!(
        refusal("vm.ova", flat),
        "needs its extent d-flat.vmdk, which is not opened for an image inside of another file: extract it"
    );
}

#[test]
fn what_cannot_be_read_in_the_archive_is_refused() {
    let [file, disk] = disk(1, "d.vmdk");
    let image = vmdk(1).stream().file;
    let refused = |file: &str, disk: &str, members: &[(&str, &[u8])]| {
        refusal("vm.ova", archive(file, disk, members))
    };
    assert_eq!(
        refused(
            &format!("{file} ovf:compression=\"gzip\""),
            &disk,
            &[("d.vmdk", &image)]
        ),
        "its disk `d.vmdk` is compressed (gzip), so that it cannot be read in the archive: extract it with `tar -xf`"
    );
    assert_eq!(
        refused(
            &format!("{file} ovf:chunkSize=\"1000\""),
            &disk,
            &[("d.vmdk", &image)]
        ),
        "its disk `d.vmdk` is split into chunks, so that it cannot be read in the archive: extract it with `tar -xf`"
    );
    assert_eq!(
        refused(&file, &disk, &[("e.vmdk", &image)]),
        "its OVF lists the disk `d.vmdk`, which is not in the archive: get the archive again"
    );
    assert_eq!(
        refused(
            &file,
            &format!("{disk} ovf:parentRef=\"base\""),
            &[("d.vmdk", &image)]
        ),
        "holds only what was changed in its parent `base`: merge both with the program that made them"
    );
    assert_eq!(
        refused(&file, "ovf:capacity=\"16\" ovf:diskId=\"blank\"", &[]),
        "OVA: its OVF lists no disk that is in a file"
    );
    assert!(
        refused(&file, "ovf:fileRef=\"other\"", &[])
            .contains("the OVF at byte 512 of vm.ova holds a value")
    );
    assert!(
        refused(&file, &disk, &[("d.vmdk", &want(1))])
            .contains("the VMDK at byte 0 of d.vmdk in vm.ova holds a value")
    );
    assert!(
        refused(&file, &disk, &[("d.vmdk", b"")])
            .contains("the VMDK at byte 0 of d.vmdk in vm.ova holds a value")
    );
    // What says nothing of compression, and is.
    assert!(
        refused(&file, &disk, &[("d.vmdk", b"\x1f\x8b\x08\x08")]).contains("the VMDK at byte 0")
    );
    assert!(
        open_one(
            "vm.ova",
            archive(
                &format!("{file} ovf:compression=\"identity\""),
                &disk,
                &[("d.vmdk", &image)]
            )
        )
        .is_ok()
    );

    let mut notes = Vec::new();
    member(&mut notes, "notes.txt", b"no disk", Style::Plain);
    assert_eq!(
        refusal("notes.tar", end(notes)),
        "OVA: a tar archive without an OVF; extract the image with `tar -xf`"
    );
}

#[test]
fn an_archive_that_is_cut_off_is_damaged() {
    let (file, places) = ovftool(Style::Plain);
    let cut = file[..places[0].end() as usize - 1].to_vec();
    for number in 0..3 {
        assert_eq!(
            open_disk(&cut, number).unwrap_err().to_string(),
            format!(
                "damaged: the archive's member at byte {} of vm.ova lies past the end of the file: the image is cut off; \
                 get the image again, or repair a copy of it with the program that made it",
                places[0].start()
            )
        );
    }
    // Cut off between two members.
    let cut = file[..places[0].end() as usize].to_vec();
    let error = open_disk(&cut, 0).unwrap_err().to_string();
    assert!(
        error.starts_with("its OVF lists the disk `vm-disk2.vmdk`, which is not in the archive"),
        "{error}"
    );
}

#[test]
#[cfg_attr(miri, ignore = "megabytes of text take it many minutes")]
fn hostile_archives_take_bounded_memory_and_time() {
    let [file, disk] = disk(1, "d.vmdk");
    let mut many = Vec::new();
    for _ in 0..4097 {
        member(&mut many, "x", b"", Style::Plain);
    }
    assert_eq!(
        refusal("vm.ova", end(many)),
        "its number of members is 4097, more than vhdfs and `qemu-img` take (4096)"
    );
    // A name that claims to be as long as the archive.
    let mut long = Vec::new();
    member(&mut long, &"n".repeat(8 << 20), b"", Style::LongName);
    assert!(refusal("vm.ova", end(long)).contains("the archive's member"));
    // Deep nesting, and entities in entities.
    let deep = "<a>".repeat(100_000);
    let bomb = "<!DOCTYPE x [<!ENTITY a \"&b;&b;\"><!ENTITY b \"&a;\">]><References><File ovf:href=\"&a;\"/></References>";
    for text in [
        deep.as_str(),
        bomb,
        "<x",
        "<References><File ovf:href=\"a\" ovf:href=\"a\"/>",
    ] {
        let mut archive = Vec::new();
        member(&mut archive, "vm.ovf", text.as_bytes(), Style::Plain);
        let text = refusal("vm.ova", end(archive));
        assert!(
            text.contains("the OVF at byte 512") || text.contains("lists no disk"),
            "{text}"
        );
    }
    let files = vec![file.as_str(); 1025];
    assert_eq!(envelope::disks(ovf(&files, &[&disk]).as_bytes()), None);
    let mut large = Vec::new();
    member(
        &mut large,
        "vm.ovf",
        &vec![b' '; (4 << 20) + 1],
        Style::Plain,
    );
    assert!(refusal("vm.ova", end(large)).starts_with("its OVF's size is 4194305, more than"));
}

#[test]
fn a_disk_that_begins_like_an_archive_needs_its_checksum() {
    let (mut file, _) = ovftool(Style::Plain);
    file[0] ^= 1;
    let disk = open_one("disk.img", file).unwrap();
    assert_eq!(disk.details().format.name(), "raw");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 48 }))]

    #[test]
    fn a_changed_byte_changes_nothing_else(at: Index, flip in 1..=255_u8) {
        let (file, places) = ovftool(Style::Pax);
        // The disk that opens first is the second member, the others are nothing to it.
        let claims = [places[0], places[2]].map(|place| (place, ByteRange::new(0, 0)));
        let inner = vmdk(20).stream().claims;
        let shifted = inner.into_iter().map(|(file, disk)| {
            (ByteRange::at(places[1].start() + file.start(), file.len()), disk)
        });
        let written = Written { claims: claims.into_iter().chain(shifted).collect(), file };
        samples::check_flip("vm.ova", &written, &want(20), at, flip);
    }

    #[test]
    fn any_text_is_an_envelope_or_refused(text in "(<[/a-zA-Z: ]{0,20}>|<File ovf:id=\"[a-c]\"/>|<Disk ovf:fileRef=\"[a-c]\"/>|</?References>|</?DiskSection>|.){0,30}") {
        let _ = envelope::disks(text.as_bytes());
    }
}
