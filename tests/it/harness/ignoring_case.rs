//! A file system that keeps the case of names and ignores it when they are looked up, as Samba's shares, FAT
//! and folded folders of ext4 do.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry,
    Request,
};

use super::process::{run_ok, tool};

/// One folder of files that never change; unmounted with the value.
pub(crate) struct IgnoringCase {
    mountpoint: PathBuf,
    _session: BackgroundSession,
}

impl IgnoringCase {
    /// Mounts files of these names and contents on a folder.
    pub(crate) fn on(mountpoint: &Path, files: &[(&str, Vec<u8>)]) -> Self {
        let files = files.iter();
        let served = Files {
            files: files
                .map(|(name, content)| ((*name).to_owned(), content.clone()))
                .collect(),
            time: SystemTime::now(),
        };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::FSName("vhdfs-test".into())];
        let session = fuser::spawn_mount(served, mountpoint, &config);
        Self {
            mountpoint: mountpoint.to_owned(),
            _session: session.expect("a file system of ours"),
        }
    }
}

impl Drop for IgnoringCase {
    fn drop(&mut self) {
        run_ok(Command::new(tool("umount")).arg("-l").arg(&self.mountpoint));
    }
}

struct Files {
    files: Vec<(String, Vec<u8>)>,
    time: SystemTime,
}

const NEVER_CACHED: Duration = Duration::ZERO;

impl Files {
    fn find(&self, inode: INodeNo) -> Option<&(String, Vec<u8>)> {
        let place = u64::from(inode).checked_sub(2)?;
        self.files.get(usize::try_from(place).ok()?)
    }

    fn attributes(&self, inode: u64, size: Option<usize>) -> FileAttr {
        FileAttr {
            ino: INodeNo(inode),
            size: size.unwrap_or_default() as u64,
            blocks: size.unwrap_or_default().div_ceil(512) as u64,
            atime: self.time,
            mtime: self.time,
            ctime: self.time,
            crtime: self.time,
            kind: match size {
                Some(_) => FileType::RegularFile,
                None => FileType::Directory,
            },
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        }
    }
}

impl Filesystem for Files {
    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let place = self
            .files
            .iter()
            .position(|(known, _)| name.eq_ignore_ascii_case(known));
        match place {
            Some(place) => {
                let size = self.files[place].1.len();
                let attributes = self.attributes(place as u64 + 2, Some(size));
                reply.entry(&NEVER_CACHED, &attributes, Generation(0));
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let size = self.find(inode).map(|(_, content)| content.len());
        reply.attr(&NEVER_CACHED, &self.attributes(u64::from(inode), size));
    }

    fn read(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some((_, content)) = self.find(inode) else {
            return reply.error(Errno::ENOENT);
        };
        let start = content.len().min(offset as usize);
        let end = content.len().min(start + size as usize);
        reply.data(&content[start..end]);
    }

    fn readdir(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let files = self.files.iter().zip(2..);
        let files = files.map(|((name, _), inode)| (inode, FileType::RegularFile, name.as_str()));
        let dots = [".", ".."].map(|name| (1, FileType::Directory, name));
        let all = dots.into_iter().chain(files);
        for (place, (inode, kind, name)) in all.enumerate().skip(offset as usize) {
            if reply.add(INodeNo(inode), place as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
