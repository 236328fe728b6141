//! What is left of a mode's bits where an access control list, or a folder on the way, withholds
//! some.
//!
//! The group bits of a file with a list are the list's mask, which may be more than its group has,
//! and users and groups named in the list may have less than everybody else. A mode that is shown
//! without the list must grant nobody more than the file itself does.

use crate::folder::metadata::Metadata;

/// Name of the attribute that holds the list, after xattr(7).
pub const ATTRIBUTE: &str = "system.posix_acl_access";

const VERSION: [u8; 4] = 2_u32.to_le_bytes();

const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;

/// How far a class's bits of a mode are from the lowest.
const OWNER_CLASS: u32 = 6;
const GROUP_CLASS: u32 = 3;
const OTHER_CLASS: u32 = 0;

/// All a permission has: read, write, execute.
const ALL: u32 = 7;

/// The bits of `mode` that grant nobody more than a file of that mode and this list does; without
/// any for group and others where the list makes no sense.
pub fn restrict(mode: u32, list: &[u8]) -> u32 {
    let owner = mode & !0o077;
    let Some(entries) = entries(list) else {
        return owner;
    };
    let all_of = |tag, limit| {
        let of_tag = entries.iter().filter(|(found, _)| *found == tag);
        of_tag.fold(ALL, |all, (_, permission)| all & permission & limit)
    };
    let mask = all_of(MASK, ALL);
    // Who is named is judged by that entry alone, also if it is in the file's group.
    let named_users = all_of(USER, mask);
    let named_groups = all_of(GROUP, mask);
    let group = all_of(GROUP_OBJ, mask) & (mode >> 3) & named_users;
    let others = mode & named_users & named_groups & ALL;
    owner | group << 3 | others
}

/// The bits of the mode of `file` that are left to those who may pass `folder`, which is on the way
/// to it: a mount that shows the file elsewhere does not make them pass there.
pub fn behind(file: &Metadata, folder: &Metadata) -> u32 {
    let passes = |class: u32| folder.mode >> class & 1 != 0;
    // Members of one group may be of the other, or of none.
    let strangers_pass = passes(GROUP_CLASS) && passes(OTHER_CLASS);
    let is_left = [
        (0o700, file.uid == 0),
        (0o700, file.uid == folder.uid && passes(OWNER_CLASS)),
        (0o700, file.uid != folder.uid && strangers_pass),
        (
            0o070,
            file.gid == folder.gid && passes(OWNER_CLASS) && passes(GROUP_CLASS),
        ),
        (0o070, passes(OWNER_CLASS) && strangers_pass),
        (0o007, passes(OWNER_CLASS) && strangers_pass),
    ];
    let left = is_left.iter().filter(|(_, is_left)| *is_left);
    file.mode & left.fold(!0o777, |left, (bits, _)| left | bits)
}

/// Tag and permission of each entry; `None` if the list is of another version or cut off.
fn entries(list: &[u8]) -> Option<Vec<(u16, u32)>> {
    let (entries, rest) = list.strip_prefix(&VERSION)?.as_chunks::<8>();
    let entry = |entry: &[u8; 8]| {
        let [tag_low, tag_high, low, high, ..] = *entry;
        let permission = u16::from_le_bytes([low, high]);
        (
            u16::from_le_bytes([tag_low, tag_high]),
            u32::from(permission) & ALL,
        )
    };
    rest.is_empty().then(|| entries.iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut list = VERSION.to_vec();
        for (tag, permission) in entries {
            list.extend(tag.to_le_bytes());
            list.extend(permission.to_le_bytes());
            list.extend(12_345_u32.to_le_bytes());
        }
        list
    }

    #[test]
    fn nobody_gets_more_than_the_list_grants() {
        let (owner, other) = ((0x01, 6), (0x20, 4));
        for (mode, entries, expected) in [
            // The mask shows as group bits, and the group has nothing.
            (0o640, vec![(USER, 4), (GROUP_OBJ, 0), (MASK, 4)], 0o600),
            // The group has it, the mask takes it.
            (0o604, vec![(GROUP_OBJ, 4), (MASK, 0)], 0o604),
            (0o644, vec![(USER, 4), (GROUP_OBJ, 4), (MASK, 4)], 0o644),
            // Somebody of the group, or of the others, is denied.
            (0o644, vec![(USER, 0), (GROUP_OBJ, 4), (MASK, 4)], 0o600),
            (0o644, vec![(GROUP, 0), (GROUP_OBJ, 4), (MASK, 4)], 0o640),
            (0o604, vec![(USER, 4), (GROUP_OBJ, 4), (MASK, 0)], 0o600),
            (0o1755, vec![(GROUP, 4), (GROUP_OBJ, 5), (MASK, 5)], 0o1754),
        ] {
            let list = list(&[&[owner], &entries[..], &[other]].concat());
            assert_eq!(restrict(mode, &list), expected, "{mode:o} {entries:?}");
        }
    }

    #[test]
    fn a_closed_folder_on_the_way_is_closed_to_the_same() {
        let owned = |mode, uid, gid| Metadata {
            mode,
            uid,
            gid,
            ..metadata()
        };
        for (file, folder, expected) in [
            (owned(0o644, 1, 1), owned(0o755, 0, 0), 0o644),
            (owned(0o644, 1, 1), owned(0o711, 0, 0), 0o644),
            (owned(0o644, 1, 1), owned(0o700, 0, 0), 0o000),
            (owned(0o644, 0, 0), owned(0o700, 0, 0), 0o600),
            (owned(0o644, 1, 1), owned(0o700, 1, 1), 0o600),
            (owned(0o644, 1, 1), owned(0o750, 0, 1), 0o040),
            (owned(0o644, 1, 1), owned(0o701, 0, 0), 0o000),
            (owned(0o1777, 1, 1), owned(0o700, 1, 2), 0o1700),
        ] {
            let left = behind(&file, &folder);
            assert_eq!(left, expected, "{:o} behind {:o}", file.mode, folder.mode);
        }
    }

    fn metadata() -> Metadata {
        use std::os::fd::AsFd;
        Metadata::of(tempfile::tempfile().unwrap().as_fd()).unwrap()
    }

    #[test]
    fn a_list_that_makes_no_sense_grants_nothing() {
        let cut = &list(&[(GROUP_OBJ, 4)])[..11];
        for list in [&b""[..], &[1, 0, 0, 0], cut] {
            assert_eq!(restrict(0o755, list), 0o700);
        }
    }
}
