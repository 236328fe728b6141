//! What the guide asks of the Linux system in an image.

mod agent;
mod cmdline;
mod drivers;
mod kernel;
mod loader;
mod remains;
mod services;
mod tree;

use thiserror::Error;

use super::content::Content;
use super::context::Context;
use super::partitions::{Layout, Partition};
use super::rules;
use super::unread::{Unread, contained};
use tree::Tree;

/// The file systems of a Linux system.
pub(super) struct System {
    root: Tree,
    boot: Option<Tree>,
}

/// One topic: it looks at the system and adds findings.
type Topic = fn(&System, &mut Context<'_>) -> Result<(), Unread>;

const TOPICS: &[(&str, Topic)] = &[
    ("kernel", kernel::judge),
    ("provisioning agent", agent::judge),
    ("SSH server", services::judge_ssh),
    ("swap in /etc/fstab", services::judge_fstab),
    ("network rules", services::judge_network),
    ("remains of the machine", remains::judge),
];

/// Judges the system on the root file system of an image.
pub(super) fn judge(layout: &Layout, context: &mut Context<'_>) {
    context.step("root file system");
    if layout.partitions.is_empty() && !layout.is_divided() {
        return;
    }
    match find(layout, context) {
        Ok(system) => {
            for (name, topic) in TOPICS {
                context.step(name);
                judge_topic(&system, name, *topic, context);
            }
        }
        Err(reason) => context.find(&rules::ROOT_UNKNOWN, reason.to_string()),
    }
}

/// Runs a topic; where the file system cannot be read, that is its finding.
fn judge_topic(system: &System, name: &str, topic: Topic, context: &mut Context<'_>) {
    if let Err(reason) = contained(|| topic(system, context)) {
        context.find(
            &rules::ROOT_UNREADABLE,
            format!("the file system could not be read for the topic \"{name}\": {reason}"),
        );
    }
}

/// Why there is no root file system to look into.
#[derive(Debug, Error)]
enum NoRoot {
    /// No partition looks like one, and all could be looked into.
    #[error("no Linux root file system was found")]
    NotFound,
    /// It may be in one of these.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Obstacles(Vec<Obstacle>),
    /// It was found and is not complete.
    #[error("its `/usr` is on a file system that was not found")]
    NoUsr,
    /// It was found and cannot be read.
    #[error("it could not be read: {0}")]
    Unread(#[from] Unread),
}

/// Why a partition could not be looked into; the number is 0 for a whole disk.
#[derive(Debug, Error)]
enum Obstacle {
    /// What is in it is not looked into.
    #[error("{place} holds {1}, which is not looked into", place = place(*.0))]
    Content(u32, &'static str),
    /// Its file system cannot be read.
    #[error("{place} could not be read: {1}", place = place(*.0))]
    Unread(u32, Unread),
}

fn place(partition: u32) -> String {
    match partition {
        0 => "the disk".to_owned(),
        number => format!("partition {number}"),
    }
}

/// Finds the root file system, and that of `/boot` where it has its own.
fn find(layout: &Layout, context: &Context<'_>) -> Result<System, NoRoot> {
    let mut obstacles = Vec::new();
    let (mut root, mut boot) = (None, None);
    for partition in &layout.partitions {
        match classify(partition, context) {
            Ok(Some((tree, Use::Root))) => root = root.or(Some(tree)),
            Ok(Some((tree, Use::Boot))) => boot = boot.or(Some(tree)),
            Ok(None) => {}
            Err(obstacle) => obstacles.push(obstacle),
        }
    }
    match root {
        Some(root) if root.exists("/usr/lib")? => Ok(System { root, boot }),
        Some(_) => Err(NoRoot::NoUsr),
        None if obstacles.is_empty() => Err(NoRoot::NotFound),
        None => Err(NoRoot::Obstacles(obstacles)),
    }
}

/// What a file system is used for.
enum Use {
    Root,
    Boot,
}

/// The file system in a partition and what it is used for, where it is of use here.
fn classify(partition: &Partition, context: &Context<'_>) -> Result<Option<(Tree, Use)>, Obstacle> {
    let (number, content) = (partition.number, partition.content);
    if content.may_hide_root() {
        return Err(Obstacle::Content(number, content.name()));
    }
    if content != Content::Ext {
        return Ok(None);
    }
    let window = partition.window(context);
    let classified = contained(|| {
        let tree = Tree::open(window)?;
        let usage = usage(&tree)?;
        Ok(usage.map(|usage| (tree, usage)))
    });
    classified.map_err(|reason| Obstacle::Unread(number, reason))
}

fn usage(tree: &Tree) -> Result<Option<Use>, Unread> {
    if tree.exists("/etc")? && (tree.exists("/usr")? || tree.exists("/bin")?) {
        return Ok(Some(Use::Root));
    }
    let is_boot = |name: &String| {
        matches!(name.as_str(), "grub" | "grub2" | "loader") || name.starts_with("vmlinuz")
    };
    Ok(tree.list("/")?.iter().any(is_boot).then_some(Use::Boot))
}

impl System {
    /// The file system that a path is on, and the path there.
    fn locate<'p>(&self, path: &'p str) -> (&Tree, &'p str) {
        match (&self.boot, path.strip_prefix("/boot")) {
            (Some(boot), Some("")) => (boot, "/"),
            (Some(boot), Some(rest)) if rest.starts_with('/') => (boot, rest),
            _ => (&self.root, path),
        }
    }

    /// Whether something is at a path, links followed.
    fn exists(&self, path: &str) -> Result<bool, Unread> {
        let (tree, path) = self.locate(path);
        tree.exists(path)
    }

    /// Whether one of several paths exists.
    fn exists_any(&self, paths: &[&str]) -> Result<bool, Unread> {
        for path in paths {
            if self.exists(path)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The text of a file; nothing where there is none.
    fn text(&self, path: &str) -> Result<Option<String>, Unread> {
        let (tree, path) = self.locate(path);
        tree.text(path)
    }

    /// Names in a folder, sorted; none where there is no folder.
    fn list(&self, path: &str) -> Result<Vec<String>, Unread> {
        let (tree, path) = self.locate(path);
        tree.list(path)
    }

    /// The texts of all files in a folder whose names end so, with their paths, sorted.
    fn texts_in(&self, folder: &str, ending: &str) -> Result<Vec<(String, String)>, Unread> {
        let mut texts = Vec::new();
        for name in self.list(folder)? {
            let path = format!("{folder}/{name}");
            if !name.ends_with(ending) {
                continue;
            }
            if let Some(text) = self.text(&path)? {
                texts.push((path, text));
            }
        }
        Ok(texts)
    }
}
