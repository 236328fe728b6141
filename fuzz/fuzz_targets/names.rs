//! However entries are called, each view has a name of its own that leads back to its source.
#![no_main]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use libfuzzer_sys::fuzz_target;
use vhdfs::folder::names::{Claim, Siblings, source_of, spellings, view_name};

struct Folder(BTreeMap<OsString, Claim>);

impl Siblings for Folder {
    fn claim(&self, name: &OsStr) -> Option<Claim> {
        self.0.get(name).copied()
    }

    fn with_stem(&self, stem: &OsStr) -> Vec<OsString> {
        let names = spellings(stem, true).filter(|name| self.0.contains_key(name));
        names.collect()
    }
}

fuzz_target!(|data: &[u8]| {
    // One name a line; a leading slash, which no name has, marks what appears under its own, two
    // of them what holds several disks.
    let lines = data.split(|&byte| byte == b'\n').take(32);
    let entry = |line: &[u8]| {
        let (claim, name) = match line {
            [b'/', b'/', name @ ..] => (Claim::Several(2), name),
            [b'/', name @ ..] => (Claim::Own, name),
            name => (Claim::Derived, name),
        };
        let legal = !name.is_empty() && name.len() <= 255 && !name.contains(&b'/');
        legal.then(|| (OsString::from_vec(name.to_vec()), claim))
    };
    let folder = Folder(lines.filter_map(entry).collect());
    let mut seen = BTreeMap::new();
    for (name, claim) in &folder.0 {
        let disks: &[_] = match claim {
            Claim::Several(_) => &[Some(1), Some(2)],
            _ => &[None],
        };
        for &disk in disks {
            let Ok(view) = view_name(name, disk, *claim, &folder) else {
                continue;
            };
            assert!(view.len() <= 255 && !view.as_bytes().contains(&b'/'));
            let found = source_of(&view, &folder);
            assert_eq!(found, Some((name.clone(), disk, *claim)), "{view:?}");
            let other = seen.insert(view, name);
            assert_eq!(other, None, "two of one name");
        }
    }
});
