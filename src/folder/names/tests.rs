use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

struct Folder(BTreeMap<OsString, Claim>);

impl Folder {
    fn of(entries: &[(&str, Claim)]) -> Self {
        let entries = entries.iter();
        Self(entries.map(|&(name, claim)| (name.into(), claim)).collect())
    }

    fn view(&self, name: &str) -> Result<String, NameError> {
        self.view_of(name, None)
    }

    fn view_of(&self, name: &str, disk: DiskNumber) -> Result<String, NameError> {
        let name = OsStr::new(name);
        let view = view_name(name, disk, self.0[name], self)?;
        Ok(view.into_string().unwrap())
    }

    fn source(&self, view: &str) -> Option<(String, DiskNumber)> {
        let (name, disk, claim) = source_of(OsStr::new(view), self)?;
        assert_eq!(claim, self.0[&name]);
        Some((name.into_string().unwrap(), disk))
    }

    /// Every disk of every entry.
    fn disks(&self) -> impl Iterator<Item = (&OsString, DiskNumber, Claim)> {
        self.0.iter().flat_map(|(name, &claim)| {
            let disks = match claim {
                Several(count) => (1..=count).map(Some).collect(),
                _ => vec![None],
            };
            disks.into_iter().map(move |disk| (name, disk, claim))
        })
    }
}

impl Siblings for Folder {
    fn claim(&self, name: &OsStr) -> Option<Claim> {
        self.0.get(name).copied()
    }

    fn with_stem(&self, stem: &OsStr) -> Vec<OsString> {
        let names = self.0.keys().filter(|name| super::stem(name) == stem);
        names.cloned().collect()
    }
}

/// A folder that ignores case.
struct IgnoringCase(Folder);

impl IgnoringCase {
    fn matching(&self, part: impl Fn(&OsStr) -> &OsStr, wanted: &OsStr) -> Vec<OsString> {
        let names = self.0.0.keys();
        let matching = names.filter(|name| part(name).eq_ignore_ascii_case(wanted));
        matching.cloned().collect()
    }
}

impl Siblings for IgnoringCase {
    fn claim(&self, name: &OsStr) -> Option<Claim> {
        self.0.claim(name)
    }

    fn with_stem(&self, stem: &OsStr) -> Vec<OsString> {
        self.matching(super::stem, stem)
    }

    fn called(&self, name: &OsStr) -> Vec<OsString> {
        self.matching(|name| name, name)
    }

    fn are_one(&self, name: &OsStr, other: &OsStr) -> bool {
        name.eq_ignore_ascii_case(other)
    }
}

use Claim::{Derived, Own, Several};

#[test]
fn a_source_alone_takes_its_short_name() {
    for (name, view) in [
        ("disk.raw", "disk.vhd"),
        ("b.IMG", "b.vhd"),
        ("c.bin", "c.bin.vhd"),
        ("d", "d.vhd"),
        ("e.qcow2", "e.vhd"),
        ("f.raw.xz", "f.vhd"),
        ("g.VMDK.Xz", "g.vhd"),
        ("h.xz", "h.xz.vhd"),
        ("i.tar.xz", "i.tar.xz.vhd"),
        ("odd.vhd", "odd.vhd"),
        ("odd.VHDX", "odd.vhd"),
    ] {
        let folder = Folder::of(&[(name, Derived)]);
        assert_eq!(folder.view(name).unwrap(), view);
        assert_eq!(folder.source(view), Some((name.to_owned(), None)));
    }
}

#[test]
fn two_that_want_one_name_get_their_full_names() {
    let folder = Folder::of(&[
        ("disk.raw", Derived),
        ("disk.img", Derived),
        ("Disk.raw", Derived),
    ]);
    assert_eq!(folder.view("disk.raw").unwrap(), "disk.raw.vhd");
    assert_eq!(folder.view("disk.img").unwrap(), "disk.img.vhd");
    assert_eq!(folder.view("Disk.raw").unwrap(), "Disk.vhd");
    assert_eq!(folder.source("disk.vhd"), None);
    let case = Folder::of(&[("disk.raw", Derived), ("disk.RAW", Derived)]);
    assert_eq!(case.view("disk.RAW").unwrap(), "disk.RAW.vhd");
    let formats = Folder::of(&[
        ("disk.raw", Derived),
        ("disk.raw.xz", Derived),
        ("disk.qcow2", Derived),
        ("disk.vhd", Derived),
    ]);
    for name in formats.0.keys() {
        let name = name.to_str().unwrap();
        assert_eq!(formats.view(name).unwrap(), format!("{name}.vhd"));
    }
    assert_eq!(formats.source("disk.vhd"), None);
}

#[test]
fn a_vhd_or_a_folder_keeps_its_name() {
    let folder = Folder::of(&[
        ("disk.vhd", Own),
        ("disk.raw", Derived),
        ("disk.vhdx", Derived),
    ]);
    assert_eq!(folder.view("disk.vhd").unwrap(), "disk.vhd");
    assert_eq!(folder.view("disk.raw").unwrap(), "disk.raw.vhd");
    assert_eq!(folder.view("disk.vhdx").unwrap(), "disk.vhdx.vhd");
}

#[test]
fn a_displaced_source_displaces_in_turn() {
    let folder = Folder::of(&[
        ("a.raw", Derived),
        ("a.img", Derived),
        ("a.raw.raw", Derived),
        ("a.raw.raw.dd", Derived),
    ]);
    assert_eq!(folder.view("a.raw").unwrap(), "a.raw.vhd");
    assert_eq!(folder.view("a.raw.raw").unwrap(), "a.raw.raw.vhd");
    assert_eq!(folder.view("a.raw.raw.dd").unwrap(), "a.raw.raw.dd.vhd");
    let calm = Folder::of(&[("a.raw", Derived), ("a.raw.raw", Derived)]);
    assert_eq!(calm.view("a.raw.raw").unwrap(), "a.raw.vhd");
}

#[test]
fn several_disks_of_one_file_are_numbered() {
    let folder = Folder::of(&[("vm.ova", Several(2)), ("vm.raw", Derived)]);
    assert_eq!(folder.view_of("vm.ova", Some(1)).unwrap(), "vm-1.vhd");
    assert_eq!(folder.view_of("vm.ova", Some(2)).unwrap(), "vm-2.vhd");
    assert_eq!(folder.view("vm.raw").unwrap(), "vm.vhd");
    assert_eq!(folder.source("vm-2.vhd"), Some(("vm.ova".into(), Some(2))));
    for none in ["vm-0.vhd", "vm-3.vhd", "vm-02.vhd", "vm-+2.vhd", "vm-.vhd"] {
        assert_eq!(folder.source(none), None, "{none}");
    }
    let rival = Folder::of(&[("vm.ova", Several(2)), ("vm-1.raw", Derived)]);
    assert_eq!(rival.view_of("vm.ova", Some(1)).unwrap(), "vm.ova-1.vhd");
    assert_eq!(rival.view_of("vm.ova", Some(2)).unwrap(), "vm-2.vhd");
    assert_eq!(rival.view("vm-1.raw").unwrap(), "vm-1.raw.vhd");
    assert_eq!(rival.source("vm-1.vhd"), None);
    let full = rival.source("vm.ova-1.vhd");
    assert_eq!(full, Some(("vm.ova".into(), Some(1))));
}

#[test]
fn no_name_is_left() {
    let folder = Folder::of(&[
        ("a", Derived),
        ("a.raw", Derived),
        ("b.raw", Derived),
        ("b.vhd", Own),
        ("b.raw.vhd", Own),
    ]);
    assert_eq!(folder.view("a"), Err(NameError::Taken("a.vhd".into())));
    assert_eq!(folder.view("a.raw").unwrap(), "a.raw.vhd");
    let taken = NameError::Taken("b.raw.vhd".into());
    assert_eq!(folder.view("b.raw"), Err(taken));
    let long = "x".repeat(252);
    for (name, length) in [
        (format!("{long}.dd"), 256),
        (format!("{}.disk", &long[..250]), 254),
    ] {
        let folder = Folder::of(&[(&name, Derived)]);
        let want = if length > 255 {
            Err(NameError::TooLong(length))
        } else {
            Ok(format!("{}.vhd", &long[..250]))
        };
        assert_eq!(folder.view(&name), want);
    }
}

#[test]
fn spellings_are_all_names_of_a_stem() {
    let stem = OsStr::new("a.b");
    for xz in [false, true] {
        let names: Vec<_> = spellings(stem, xz).collect();
        assert!(names.iter().all(|name| super::stem(name) == stem));
        let has = |name: &str| names.iter().any(|known| known == name);
        assert!(has("a.b.raw") && has("a.b.QcoW2") && has("a.b.avhdx") && !has("a.b.iso"));
        assert_eq!(has("a.b.raw.xZ"), xz);
        let mut unique = names.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
    }
}

#[test]
fn where_case_is_ignored_names_that_differ_in_it_alone_are_one() {
    let folder = IgnoringCase(Folder::of(&[
        ("Disk.RAW", Derived),
        ("disk.qcow2", Derived),
        ("Own.VHD", Own),
        ("own.raw", Derived),
        ("alone.raw", Derived),
    ]));
    let view = |name: &str| {
        let name = OsStr::new(name);
        let view = view_name(name, None, folder.0.0[name], &folder).unwrap();
        view.into_string().unwrap()
    };
    assert_eq!(view("Disk.RAW"), "Disk.RAW.vhd");
    assert_eq!(view("disk.qcow2"), "disk.qcow2.vhd");
    assert_eq!(view("Own.VHD"), "Own.VHD");
    assert_eq!(view("own.raw"), "own.raw.vhd");
    assert_eq!(view("alone.raw"), "alone.vhd");
    for none in [
        "disk.vhd",
        "Disk.vhd",
        "disk.raw.vhd",
        "own.vhd",
        "Alone.vhd",
        "alone.VHD",
    ] {
        assert_eq!(source_of(OsStr::new(none), &folder), None, "{none}");
    }
}

/// Names of few parts, which meet often, and now and then what else a file system may hold.
fn names() -> impl Strategy<Value = OsString> {
    let byte = any::<u8>().prop_filter("never in a name", |byte| !matches!(byte, 0 | b'/'));
    let any_bytes = proptest::collection::vec(byte, 1..=255).prop_map(OsString::from_vec);
    prop_oneof![
        9 => names_of_parts().prop_map(OsString::from),
        1 => any_bytes,
    ]
}

fn names_of_parts() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["raw", "RAW", "img", "vhd", "ova", "xz", "x", "1-1"]);
    let end = prop::sample::select(vec!["", "-1", "-2"]);
    let parts = proptest::collection::vec(part, 1..5);
    (parts, end).prop_map(|(parts, end)| format!("a.{}{end}", parts.join(".")))
}

fn claims() -> impl Strategy<Value = Claim> {
    prop_oneof![
        4 => Just(Derived),
        1 => Just(Own),
        2 => (2_u32..4).prop_map(Several),
    ]
}

proptest! {
    #[test]
    fn names_are_unique_found_again_and_stable(
        entries in proptest::collection::btree_map(names(), claims(), 1..12),
    ) {
        let folder = Folder(entries.into_iter().map(|(name, claim)| {
            let own = claim == Own && !name.as_bytes().ends_with(b"vhd");
            (name, if own { Derived } else { claim })
        }).collect());
        let mut seen = BTreeMap::new();
        for (name, disk, claim) in folder.disks() {
            let Ok(view) = view_name(name, disk, claim, &folder) else { continue };
            prop_assert!(view.len() <= 255 && !view.as_bytes().contains(&b'/'));
            prop_assert_eq!(seen.insert(view.clone(), (name, disk)), None, "{:?} twice", view);
            prop_assert_eq!(source_of(&view, &folder), Some((name.clone(), disk, claim)));
            if claim != Own {
                let me = Candidate::new(name, disk);
                let rivals = folder.disks().filter(|&(name, disk, claim)| {
                    let other = Candidate::new(name, disk);
                    claim != Own && other != me && other.short_name() == me.short_name()
                }).count();
                prop_assert!(rivals == 0 || view == me.full_name());
            }
        }
        for view in ["a.vhd", "a.raw.vhd", ".vhd", "vhd", "a-1.vhd", "a.ova-2.vhd", "-1.vhd"] {
            let view = OsStr::new(view);
            let found = source_of(view, &folder).map(|(name, disk, _)| (name, disk));
            let want = seen.get(view).map(|&(name, disk)| (name.clone(), disk));
            prop_assert_eq!(found, want);
        }
    }
    #[test]
    fn where_case_is_ignored_views_are_unique_without_it_and_found_again(
        entries in proptest::collection::btree_map(names(), claims(), 1..12),
    ) {
        let mut alone = BTreeMap::new();
        for (name, claim) in entries {
            alone.entry(name.to_ascii_lowercase()).or_insert((name, claim));
        }
        let folder = IgnoringCase(Folder(alone.into_values().map(|(name, claim)| {
            let own = claim == Own && !name.as_bytes().ends_with(b"vhd");
            (name, if own { Derived } else { claim })
        }).collect()));
        let mut seen = BTreeMap::new();
        for (name, disk, claim) in folder.0.disks() {
            let Ok(view) = view_name(name, disk, claim, &folder) else { continue };
            let folded = view.to_ascii_lowercase();
            prop_assert_eq!(seen.insert(folded, (name, disk)), None, "{:?} twice", view);
            prop_assert_eq!(source_of(&view, &folder), Some((name.clone(), disk, claim)));
            let turned = view.to_ascii_uppercase();
            if turned != view {
                prop_assert_eq!(source_of(&turned, &folder), None);
            }
        }
    }
}
