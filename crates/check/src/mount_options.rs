//! Options of a mount that the file system refuses, so that nothing is mounted.
//!
//! Source: the kernel's documentation of ext4, XFS, btrfs and vfat (each refuses what it does not
//! know), and the manual of mount(8) for those that all have.

use crate::content::Content;

/// Options of mount(8) and of the kernel that every file system has; those that begin with `x-`
/// are left to user space.
const COMMON: &str = "\
    _netdev async atime auto bind comment context defaults defcontext dev diratime dirsync exec \
    fscontext group helper iversion lazytime loop loud mand noatime noauto nodev nodiratime noexec \
    nofail noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow nouser offset \
    owner private rbind relatime remount ro rootcontext rprivate rshared rslave runbindable rw \
    seclabel shared silent sizelimit slave strictatime suid symfollow sync uhelper unbindable user \
    users";
const BTRFS: &str = "\
    acl autodefrag barrier clear_cache commit compress compress-force datacow datasum degraded \
    device discard enospc_debug fatal_errors flushoncommit fragment inode_cache max_inline \
    metadata_ratio noacl noautodefrag nobarrier nodatacow nodatasum nodiscard noenospc_debug \
    noflushoncommit nologreplay norecovery nospace_cache nossd nossd_spread notreelog recovery \
    ref_verify rescan_uuid_tree rescue skip_balance space_cache ssd ssd_spread subvol subvolid \
    subvolrootid thread_pool treelog usebackuproot user_subvol_rm_allowed";
const FAT: &str = "\
    allow_utime blocksize check codepage conv debug discard dmask dos1xfloppy dots errors fat \
    flush fmask gid iocharset nfs nodots nonumtail quiet rodir shortname showexec sys_immutable \
    time_offset tz uid umask uni_xlate usefree utf8";
const XFS: &str = "\
    allocsize attr2 bsdgroups dax discard filestreams gqnoenforce gquota grpid grpquota ikeep \
    inode32 inode64 largeio logbsize logbufs logdev noalign noattr2 nodiscard nogrpid noikeep \
    nolargeio noquota norecovery nouuid pqnoenforce pquota prjquota qnoenforce quota rtdev sunit \
    swalloc swidth sysvgroups uqnoenforce uquota usrquota wsync";
/// Those of ext2, ext3 and ext4.
const EXT: &str = "\
    abort acl auto_da_alloc barrier bh block_validity bsddf bsdgroups check commit data data_err \
    dax debug debug_want_extra_isize delalloc dioread_lock dioread_nolock discard errors grpid \
    grpjquota grpquota i_version init_itable inlinecrypt inode_readahead_blks journal \
    journal_async_commit journal_checksum journal_dev journal_ioprio journal_path jqfmt \
    max_batch_time max_dir_size_kb mb_optimize_scan mblk_io_submit min_batch_time minixdf noacl \
    noauto_da_alloc nobarrier nobh noblock_validity nocheck nodelalloc nodioread_nolock nodiscard \
    nogrpid noinit_itable nojournal_checksum noload nombcache nomblk_io_submit no_mbcache \
    no_prefetch_block_bitmaps noquota norecovery noreservation nouid32 nouser_xattr \
    nowarn_on_error oldalloc orlov prefetch_block_bitmaps prjquota quota reservation resgid \
    resize resuid sb stripe sysvgroups test_dummy_encryption user_xattr usrjquota usrquota \
    warn_on_error";

/// What a file system does with an option that it does not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// It is one of another file system.
    Sure,
    /// It is not known here; versions of the kernel differ.
    Unsure,
}

/// The first of some options that a file system of this kind does not have. `None` if it has all of
/// them, or if its options are not known here.
pub(crate) fn refused<'o>(
    content: Content,
    options: impl IntoIterator<Item = &'o str>,
) -> Option<(&'o str, Refusal)> {
    let own = match content {
        Content::Ext => EXT,
        Content::Xfs => XFS,
        Content::Btrfs => BTRFS,
        Content::Fat => FAT,
        _ => return None,
    };
    options.into_iter().find_map(|option| {
        let name = option.split('=').next().unwrap_or_default();
        let is_in = |list: &str| list.split_whitespace().any(|known| known == name);
        let is_for_users = name.is_empty() || name.starts_with("x-") || name.starts_with("X-");
        if is_for_users || is_in(COMMON) || is_in(own) {
            return None;
        }
        let is_others = [BTRFS, FAT, XFS, EXT].into_iter().any(is_in);
        Some((
            option,
            if is_others {
                Refusal::Sure
            } else {
                Refusal::Unsure
            },
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_other_file_systems_are_refused() {
        let refused = |content, options: &'static str| refused(content, options.split(','));
        assert_eq!(refused(Content::Ext, "defaults,errors=remount-ro"), None);
        assert_eq!(refused(Content::Ext, "rw,x-systemd.growfs,discard,"), None);
        let subvolume = refused(Content::Ext, "noatime,subvol=root");
        assert_eq!(subvolume, Some(("subvol=root", Refusal::Sure)));
        assert_eq!(refused(Content::Btrfs, "subvol=root,compress=zstd:1"), None);
        let errors = refused(Content::Xfs, "errors=remount-ro");
        assert_eq!(errors, Some(("errors=remount-ro", Refusal::Sure)));
        assert_eq!(
            refused(Content::Fat, "umask=0077,shortname=winnt,errors=remount-ro"),
            None
        );
        let unknown = refused(Content::Ext, "nonsense");
        assert_eq!(unknown, Some(("nonsense", Refusal::Unsure)));
        assert_eq!(refused(Content::F2fs, "nonsense"), None);
    }
}
