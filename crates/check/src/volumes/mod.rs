//! The file systems of an image with everything that they can be named by.

mod names;
mod superblock;
mod world;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::content::Content;
use crate::context::Context;
use crate::files::{Btrfs, Ext, Fat, Files, Mount, Subvolume, Tree, Xfs};
use crate::grub::{Place, World};
use crate::lvm::{self, Logical};
use crate::metered::Window;
use crate::partitions::{Layout, Partition, Role};
use crate::unread::{Unread, contained};

pub(crate) use names::Named;
pub(crate) use superblock::Space;
use superblock::names;

/// Numbers of logical volumes begin here, above those of all partitions.
const FIRST_LOGICAL: u32 = 1 << 16;

/// A partition, a logical volume, or a disk without a partition table, and what is known of it.
pub(crate) struct Volume {
    /// Number of the partition; 0 for a whole disk. Logical volumes have numbers of their own.
    pub(crate) number: u32,
    /// Names of the logical volume.
    logical: Option<LogicalNames>,
    /// What is in it.
    pub(crate) content: Content,
    /// What the partition table says that it is for.
    pub(crate) role: Role,
    /// Name of the device in GRUB, such as `hd0,gpt3`.
    pub(crate) grub: String,
    /// Identifier of the file system, as `blkid` shows it.
    pub(crate) fs_uuid: Option<String>,
    /// Label of the file system.
    pub(crate) label: Option<String>,
    /// Identifier of the partition.
    pub(crate) part_uuid: Option<String>,
    /// Name of the partition.
    pub(crate) part_label: Option<String>,
    /// Type of the partition in a GPT.
    pub(crate) part_type: Option<String>,
    /// Its files, where it has a file system that can be looked into.
    pub(crate) files: Option<Rc<dyn Files>>,
    /// Why it cannot be looked into.
    pub(crate) obstacle: Option<String>,
    /// What is left of its space.
    pub(crate) space: Option<Space>,
    window: Window,
}

/// How a logical volume is named.
struct LogicalNames {
    /// Below `/dev/mapper`.
    mapper: String,
    /// Group and volume with a slash between.
    path: String,
    /// Identifiers of both.
    id: String,
}

impl Volume {
    /// The partition or logical volume in words.
    pub(crate) fn place(&self) -> String {
        match (&self.logical, self.number) {
            (Some(names), _) => format!("the logical volume {}", names.path),
            (None, 0) => "the disk".to_owned(),
            (None, number) => format!("partition {number}"),
        }
    }

    /// Whether a byte of the disk is in it.
    pub(crate) fn contains(&self, at: u64) -> bool {
        self.window.contains(at)
    }

    /// Group and name with a slash between; `None` where it is no logical volume.
    pub(crate) fn logical(&self) -> Option<&str> {
        self.logical.as_ref().map(|names| names.path.as_str())
    }

    /// Whether there may be file systems in it that cannot be looked into.
    fn hides(&self) -> bool {
        let contains = matches!(self.content, Content::Lvm | Content::Luks | Content::Raid);
        contains && self.obstacle.is_some()
    }

    fn unreadable(&self) -> Unread {
        let place = self.place();
        match &self.obstacle {
            Some(why) => Unread::Script(format!("{place}: {why}")),
            None => Unread::Script(format!("{place} has no files")),
        }
    }

    fn tree(&self, subvolume: &Subvolume) -> Result<Tree, Unread> {
        Ok(Tree::of(self.files_of(subvolume)?))
    }

    /// Its files as a mount shows them. Other file systems than btrfs have no subvolumes.
    fn files_of(&self, subvolume: &Subvolume) -> Result<Rc<dyn Files>, Unread> {
        match &self.files {
            Some(_) if self.content == Content::Btrfs && *subvolume != Subvolume::Top => {
                Ok(Rc::new(Btrfs::open(self.window.clone(), subvolume)?) as Rc<dyn Files>)
            }
            Some(files) => Ok(Rc::clone(files)),
            None => Err(self.unreadable()),
        }
    }

    /// Its files as a mount on `folder` with these options shows them; the root's is empty.
    /// [`Unread::Missing`] where the options name a subvolume that is not there.
    pub(crate) fn mounted<'o>(
        &self,
        folder: &str,
        options: impl Iterator<Item = &'o str>,
    ) -> Result<Mount, Unread> {
        let subvolume = Subvolume::of_options(options);
        Ok(Mount {
            at: folder.to_owned(),
            files: contained(|| self.files_of(&subvolume))?,
        })
    }
}

/// All of them.
pub(crate) struct Volumes {
    all: Vec<Volume>,
    /// Files by device, and whether they are those of the default subvolume.
    trees: RefCell<HashMap<(String, bool), Rc<Tree>>>,
}

impl Volumes {
    /// Opens the file systems of an image.
    pub(crate) fn open(layout: &Layout, context: &Context<'_>) -> Self {
        let kind = if layout.is_gpt() { "gpt" } else { "msdos" };
        let mut all: Vec<Volume> = layout
            .partitions
            .iter()
            .map(|partition| of_partition(partition, kind, context))
            .collect();
        let mut physical: Vec<&mut Volume> = all
            .iter_mut()
            .filter(|volume| volume.content == Content::Lvm)
            .collect();
        let windows: Vec<Window> = physical.iter().map(|v| v.window.clone()).collect();
        let (logical, obstacles) = lvm::read(&windows.iter().collect::<Vec<_>>());
        for (volume, obstacle) in physical.iter_mut().zip(obstacles) {
            volume.obstacle = obstacle.map(|reason| reason.to_string());
        }
        for (number, logical) in (FIRST_LOGICAL..).zip(logical) {
            all.push(of_logical(number, logical, context));
        }
        let trees = RefCell::default();
        Self { all, trees }
    }

    /// All of them, in the order of the partition table, and logical volumes behind them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Volume> {
        self.all.iter()
    }

    /// The one that GRUB names so.
    pub(crate) fn by_grub(&self, name: &str) -> Option<&Volume> {
        let name = self.device(name)?;
        self.all.iter().find(|volume| volume.grub == name)
    }

    /// The files of the one that GRUB names so; `None` where there is no such device.
    pub(crate) fn tree(&self, device: &str) -> Result<Option<Rc<Tree>>, Unread> {
        self.tree_of(device, false)
    }

    /// The files among which a place is; `None` where there is no such device.
    pub(crate) fn tree_at(&self, place: &Place) -> Result<Option<Rc<Tree>>, Unread> {
        self.tree_of(&place.device, place.is_relative)
    }

    fn tree_of(&self, device: &str, is_relative: bool) -> Result<Option<Rc<Tree>>, Unread> {
        let Some(volume) = self.by_grub(device) else {
            return Ok(None);
        };
        let key = (volume.grub.clone(), is_relative);
        if let Some(tree) = self.trees.borrow().get(&key) {
            return Ok(Some(Rc::clone(tree)));
        }
        let subvolume = match is_relative {
            true => Subvolume::Default,
            false => Subvolume::Top,
        };
        let tree = Rc::new(volume.tree(&subvolume)?);
        self.trees.borrow_mut().insert(key, Rc::clone(&tree));
        Ok(Some(tree))
    }
}

fn of_partition(partition: &Partition, kind: &str, context: &Context<'_>) -> Volume {
    let volume = of_window(partition.content, partition.window(context));
    Volume {
        number: partition.number,
        role: partition.role,
        grub: match partition.number {
            0 => "hd0".to_owned(),
            number => format!("hd0,{kind}{number}"),
        },
        part_uuid: partition.uuid.clone(),
        part_label: partition.label.clone(),
        part_type: partition.kind.clone(),
        ..volume
    }
}

fn of_logical(number: u32, logical: Logical, context: &Context<'_>) -> Volume {
    let names = LogicalNames {
        mapper: logical.mapper_name(),
        path: format!("{}/{}", logical.group, logical.name),
        id: logical.id,
    };
    let volume = match logical.mapping {
        Ok(mapping) => {
            let window = Window::mapped(&context.disk, mapping);
            let content = contained(|| Ok(Content::probe(&window)?));
            of_window(content.unwrap_or(Content::Unknown), window)
        }
        // What is in it is as unknown as what is in the group.
        Err(why) => Volume {
            obstacle: Some(why),
            ..of_window(Content::Lvm, Window::new(&context.disk, 0, 0))
        },
    };
    Volume {
        number,
        grub: format!("lvm/{}", names.mapper),
        logical: Some(names),
        ..volume
    }
}

fn of_window(content: Content, window: Window) -> Volume {
    let names = contained(|| Ok(names(content, &window)?)).unwrap_or_default();
    let (files, obstacle) = match contained(|| open(content, window.clone())) {
        Ok(files) => (files, content.obstacle()),
        Err(reason) => (None, Some(reason.to_string())),
    };
    Volume {
        number: 0,
        logical: None,
        content,
        role: Role::Other,
        grub: String::new(),
        fs_uuid: names.uuid,
        label: names.label,
        part_uuid: None,
        part_label: None,
        part_type: None,
        files,
        obstacle,
        space: names.space,
        window,
    }
}

fn open(content: Content, window: Window) -> Result<Option<Rc<dyn Files>>, Unread> {
    Ok(match content {
        Content::Ext => Some(Rc::new(Ext::open(window)?)),
        Content::Fat => Some(Rc::new(Fat::open(window)?)),
        Content::Xfs => Some(Rc::new(Xfs::open(window)?)),
        Content::Btrfs => Some(Rc::new(Btrfs::open(window, &Subvolume::Top)?)),
        _ => None,
    })
}
