use std::cell::Cell;
use std::io;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use vhd::footer::{DISK_TYPE_DYNAMIC, Footer, Identity, checksum};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// A disk of which only the beginning and the end are not zero, counting what is read.
struct Sparse {
    size: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
    read: Rc<Cell<u64>>,
    fails_at: u64,
}

impl Sparse {
    fn new(size: u64, head: Vec<u8>, tail: Vec<u8>) -> Self {
        Self {
            size,
            head,
            tail,
            read: Rc::default(),
            fails_at: u64::MAX,
        }
    }
}

impl Disk for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        assert!(end <= self.size, "a read beyond the end");
        if end > self.fails_at {
            return Err(io::Error::other("broken"));
        }
        self.read.set(self.read.get() + buffer.len() as u64);
        let tail_at = self.size - self.tail.len() as u64;
        for (at, byte) in (offset..).zip(buffer) {
            *byte = match at.checked_sub(tail_at) {
                Some(at) => self.tail[at as usize],
                None => self.head.get(at as usize).copied().unwrap_or(0),
            };
        }
        Ok(())
    }
}

fn judged(name: &str, disk: Sparse, options: &Options) -> Report {
    check(name, Rc::new(disk), options, &mut |_| {}).unwrap()
}

fn ids(report: &Report) -> Vec<&str> {
    let mut ids: Vec<_> = report.findings.iter().map(|finding| finding.id).collect();
    ids.sort_unstable();
    ids
}

const DATA: Options = Options {
    generation: None,
    data_disk: true,
    secure_boot: false,
};

fn data_ids(size: u64) -> Vec<String> {
    let report = judged("x.raw", Sparse::new(size, vec![], vec![]), &DATA);
    ids(&report).into_iter().map(str::to_owned).collect()
}

#[test]
fn every_limit_on_the_size() {
    let upload = "size-upload";
    let gib = 1 << 30;
    assert_eq!(data_ids(20 * MIB), [upload]);
    assert_eq!(data_ids(20 * MIB - 1), ["size-padding", upload]);
    assert_eq!(data_ids(19 * MIB), ["size-minimum", upload]);
    assert_eq!(data_ids(1_023 * gib), [upload]);
    assert_eq!(data_ids(1_024 * gib), ["size-guide", upload]);
    assert_eq!(data_ids(2 * TIB), ["size-guide", upload]);
    assert_eq!(
        data_ids(2 * TIB + 1),
        ["size-guide", "size-mbr", "size-padding", upload]
    );
    let all = ["size-guide", "size-mbr", "size-os-disk", upload];
    assert_eq!(data_ids(4_096 * gib), all);
    assert_eq!(data_ids(32_767 * gib), all);
    let too_large = [&["size-guide", "size-maximum"], &all[1..]].concat();
    assert_eq!(data_ids(32_768 * gib), too_large);
}

#[test]
fn a_disk_without_anything_is_not_ready() {
    let report = judged(
        "x.raw",
        Sparse::new(20 * MIB, vec![], vec![]),
        &Options::default(),
    );
    assert_eq!(ids(&report), ["size-upload", "table-missing"]);
    assert_eq!(report.verdict(), Verdict::NotReady);
}

fn vhd(virtual_size: u64, change: impl Fn(&mut Footer)) -> Sparse {
    let identity = Identity {
        base_name: b"x",
        source_size: virtual_size,
        mtime_seconds: 0,
    };
    let mut footer = Footer::fixed(identity, virtual_size);
    change(&mut footer);
    let sum = checksum(&footer.encode());
    if footer.checksum != 1 {
        footer.checksum = sum;
    }
    Sparse::new(virtual_size + 512, vec![], footer.encode().to_vec())
}

#[test]
fn the_footer_field_by_field() {
    let found = |disk: Sparse| {
        let report = judged("x.vhd", disk, &DATA);
        let ids = ids(&report).into_iter().filter(|id| *id != "size-upload");
        ids.map(str::to_owned).collect::<Vec<_>>()
    };
    let size = 20 * MIB;
    assert!(found(vhd(size, |_| {})).is_empty());
    assert_eq!(found(vhd(size, |f| f.checksum = 1)), ["vhd-checksum"]);
    assert_eq!(
        found(vhd(size, |f| f.disk_type = DISK_TYPE_DYNAMIC)),
        ["vhd-type"]
    );
    assert_eq!(found(vhd(size, |f| f.disk_type = 9)), ["vhd-type"]);
    assert_eq!(found(vhd(size, |f| f.features = 0)), ["vhd-field"]);
    assert_eq!(
        found(vhd(size, |f| f.file_format_version = 0)),
        ["vhd-field"]
    );
    assert_eq!(found(vhd(size, |f| f.data_offset = 512)), ["vhd-field"]);
    assert_eq!(found(vhd(size, |f| f.saved_state = 1)), ["vhd-field"]);
    assert_eq!(found(vhd(size, |f| f.original_size = MIB)), ["vhd-field"]);
    let wrong_size = found(vhd(size, |f| f.current_size = size - MIB));
    assert_eq!(wrong_size, ["vhd-current-size", "vhd-field"]);
    assert_eq!(found(vhd(size + 512, |_| {})), ["size-alignment"]);
    let rounded = vhd::Geometry::of(size).bytes();
    let by_qemu = vhd(rounded, |f| f.creator_application = *b"qemu");
    assert_eq!(found(by_qemu), ["size-minimum", "vhd-geometry-size"]);
    let mut reserved = vhd(size, |_| {});
    reserved.tail[200] = 1;
    let sum = checksum(&reserved.tail[..].try_into().unwrap());
    reserved.tail[64..68].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(found(reserved), ["vhd-field"]);
    assert_eq!(found(Sparse::new(size, vec![], vec![])), ["vhd-cookie"]);
}

#[test]
fn other_containers_are_not_looked_into() {
    let report = judged(
        "x",
        Sparse::new(MIB, b"QFI\xfb\0\0\0\x03".to_vec(), vec![]),
        &Options::default(),
    );
    assert_eq!(ids(&report), ["container"]);
    assert_eq!(report.verdict(), Verdict::NotReady);
    assert_eq!(report.format, "qcow2");
}

#[test]
fn errors_of_the_image_are_no_findings() {
    let mut disk = Sparse::new(20 * MIB, vec![], vec![]);
    disk.fails_at = 100;
    let result = check("x", Rc::new(disk), &DATA, &mut |_| {});
    assert!(matches!(result, Err(CheckError::Io(_))));
    let mut head = vec![0; 4096];
    head[450] = 0x83;
    head[454] = 1;
    head[458] = 255;
    head[510..512].copy_from_slice(&[0x55, 0xaa]);
    head[0x200 + 0x438..][..2].copy_from_slice(&[0x53, 0xef]);
    let mut disk = Sparse::new(20 * MIB, head, vec![0; 512]);
    disk.fails_at = 4096;
    let result = check("x", Rc::new(disk), &Options::default(), &mut |_| {});
    assert!(matches!(result, Err(CheckError::Io(_))));
    let empty = check(
        "x",
        Rc::new(Sparse::new(0, vec![], vec![])),
        &DATA,
        &mut |_| {},
    );
    assert!(matches!(empty, Err(CheckError::Empty)));
}

#[test]
fn the_json_has_the_agreed_shape() {
    let report = judged("a.raw", Sparse::new(MIB, vec![], vec![]), &DATA);
    let json = serde_json::to_value(&report).unwrap();
    let keys = |value: &serde_json::Value| {
        let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(
        keys(&json),
        [
            "findings",
            "format",
            "generation",
            "image",
            "ready",
            "schema",
            "stages",
            "verdict"
        ]
    );
    assert_eq!(json["schema"], 2);
    assert_eq!(json["image"], "a.raw");
    assert_eq!(json["ready"], false);
    assert_eq!(json["verdict"], "not_ready");
    assert_eq!(json["generation"], 1);
    assert_eq!(json["stages"][0]["name"], "container");
    assert_eq!(json["stages"][0]["verdict"], "broken");
    let finding = &json["findings"][0];
    let expected = [
        "id", "level", "line", "message", "path", "remedy", "source", "stage",
    ];
    assert_eq!(keys(finding), expected);
    assert_eq!(finding["id"], "size-minimum");
    assert_eq!(finding["stage"], "container");
    assert_eq!(finding["level"], "error");
    assert!(finding["message"].as_str().unwrap().contains("1048576"));
    assert!(finding["remedy"].is_string());
    assert!(finding["source"].as_str().unwrap().starts_with("https://"));
    let text = report.to_string();
    assert!(text.starts_with("\u{2717} container"), "{text}");
    assert!(text.contains("\n  error    size-minimum: "), "{text}");
    assert!(
        text.ends_with("a.raw: not ready for Azure (generation 1)"),
        "{text}"
    );
}

fn finding(level: Level, stage: Stage) -> Finding {
    Finding {
        id: "x",
        stage,
        level,
        path: None,
        line: None,
        message: String::new(),
        remedy: String::new(),
        source: None,
    }
}

fn report_of(findings: Vec<Finding>, followed: &[Stage]) -> Report {
    let found = context::Found {
        findings,
        followed: followed.to_vec(),
        evidence: Vec::new(),
    };
    Report::new("a\r", Format::RAW, Generation::One, &Stage::ALL, found)
}

/// Whoever made the image must not write to the terminal of whoever checks it.
#[test]
fn the_text_holds_no_control_characters_of_an_image() {
    let message = "the folders \u{1b}]0;x\u{7}, \u{9b}2J\nb: ready for Azure".to_owned();
    let path = Some("/\u{1b}a".to_owned());
    let finding = Finding {
        message,
        path,
        line: Some(3),
        ..finding(Level::Error, Stage::Firmware)
    };
    let text = report_of(vec![finding], &Stage::ALL).to_string();
    let want = "firmware\n  error    x: the folders ?]0;x?, ?2J?b: ready for Azure\n\
                \x20          at /?a:3\n\n\
                a?: not ready for Azure (generation 1)";
    assert!(text.ends_with(want), "{text}");
}

/// What was not followed to its end is unknown, and ready is only what was.
#[test]
fn verdicts() {
    let all = &Stage::ALL[..];
    assert_eq!(report_of(vec![], all).verdict(), Verdict::Ready);
    assert!(report_of(vec![], all).ready);
    let info = finding(Level::Info, Stage::Kernel);
    let warning = finding(Level::Warning, Stage::Kernel);
    assert_eq!(
        report_of(vec![info, warning], all).verdict(),
        Verdict::Ready
    );
    for left_out in Stage::ALL {
        let followed: Vec<_> = Stage::ALL
            .into_iter()
            .filter(|stage| *stage != left_out)
            .collect();
        let report = report_of(vec![], &followed);
        assert_eq!(report.verdict(), Verdict::Unknown);
        assert!(!report.ready);
        assert_eq!(report.verdict().exit_status(), 3);
        let error = finding(Level::Error, Stage::Initrd);
        assert_eq!(
            report_of(vec![error], &followed).verdict(),
            Verdict::NotReady
        );
    }
    let unknown = finding(Level::Unknown, Stage::Network);
    let report = report_of(vec![unknown], all);
    assert_eq!(report.verdict(), Verdict::Unknown);
    assert_eq!(report.stages[8].verdict, StageVerdict::Unknown);
    assert_eq!(report.stages[7].verdict, StageVerdict::Ok);
}

#[test]
fn a_root_that_cannot_be_looked_into_is_unknown() {
    let mut head = vec![0; 512];
    head[..4].copy_from_slice(b"XFSB");
    head.resize(1 << 17, 0);
    let report = judged(
        "x",
        Sparse::new(20 * MIB, head, vec![]),
        &Options::default(),
    );
    let found = ids(&report);
    assert!(found.contains(&"root-unknown"), "{found:?}");
    assert!(!report.ready);
}

/// Where the document has the table of rules; `BLESS=1` writes it.
#[test]
fn the_document_has_the_rules() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CHECK.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mark =
        "<!-- From here on made from the rules: BLESS=1 cargo test -p vhdfs-check document -->\n";
    let (before, found) = text.split_once(mark).expect("the mark");
    let wanted = document();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, format!("{before}{mark}{wanted}")).unwrap();
        return;
    }
    assert!(
        found == wanted,
        "docs/CHECK.md is not what the rules say: run with BLESS=1"
    );
}

#[test]
fn every_rule_has_one_name_and_is_explained() {
    let mut names: Vec<_> = ids_of_rules().collect();
    let count = names.len();
    for name in &names {
        let text = explain(name).unwrap();
        assert!(text.starts_with(name) && text.contains("to do: "), "{text}");
        // A bound of the check itself has no other source.
        assert!(text.contains("https://") || *name == "check-cut", "{text}");
        assert!(!text.contains('{'), "{text}");
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert_eq!(explain("nonsense"), None);
}

fn ids_of_rules() -> impl Iterator<Item = &'static str> {
    crate::ids()
}

/// Boot record, GPT header or superblock with hostile bytes in and around them.
fn hostile_head() -> impl Strategy<Value = Vec<u8>> {
    let changes = proptest::collection::vec((0..8192_usize, any::<u8>()), 0..200);
    (0..6_usize, changes).prop_map(|(kind, changes)| {
        let mut head = vec![0; 8192];
        for (at, value) in changes {
            head[at] = value;
        }
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        put(510, &[0x55, 0xaa]);
        match kind {
            0 => put(0x438, &[0x53, 0xef]),
            1 => put(0, b"\xeb\x3c\x90MSDOS5.0\x00\x02"),
            2 => put(450, &[0x05]),
            3 => {
                put(446, &[0, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 0, 16, 0, 0]);
                put(0x200 + 0x438, &[0x53, 0xef]);
            }
            4 => put(450, &[0xee]),
            _ => {}
        }
        head
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 64 }))]

    #[test]
    fn hostile_images_are_judged_within_bounds(
        head in hostile_head(),
        tail in proptest::collection::vec(any::<u8>(), 512),
        with_footer: bool,
        mib in 1..2000_u64,
        more in 0..3000_u64,
        generation in proptest::option::of(prop_oneof![Just(Generation::One), Just(Generation::Two)]),
        data_disk: bool,
    ) {
        let mut tail = tail;
        if with_footer {
            tail[..8].copy_from_slice(b"conectix");
        }
        let disk = Sparse::new(mib * MIB + more, head, tail);
        let read = Rc::clone(&disk.read);
        let options = Options { generation, data_disk, secure_boot: false };
        let _ = check("x.vhd", Rc::new(disk), &options, &mut |_| {});
        prop_assert!(read.get() < 128 * MIB, "{} bytes were read", read.get());
    }
}
