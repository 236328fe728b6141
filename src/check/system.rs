//! What the guide asks of the Linux system in an image.

mod agent;
mod cmdline;
mod kernel;
mod loader;
mod remains;
mod services;
mod tree;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::content::Content;
use super::context::Context;
use super::partitions::{Layout, Partition};
use super::rules;
use tree::{Tree, Unread};

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
        Err(reason) => context.find(&rules::ROOT_UNKNOWN, reason),
    }
}

/// Runs a topic; where the file system cannot be read, that is its finding.
fn judge_topic(system: &System, name: &str, topic: Topic, context: &mut Context<'_>) {
    // The parser is another project's; a panic in it is as good as an error.
    let run = AssertUnwindSafe(|| topic(system, context));
    let reason = match catch_unwind(run) {
        Ok(Ok(())) => return,
        Ok(Err(Unread(reason))) => reason,
        Err(_) => "its structure is damaged".to_owned(),
    };
    context.find(
        &rules::ROOT_UNREADABLE,
        format!("the file system could not be read for the topic \"{name}\": {reason}"),
    );
}

/// Finds the root file system, and that of `/boot` where it has its own.
fn find(layout: &Layout, context: &Context<'_>) -> Result<System, String> {
    let mut reasons = Vec::new();
    let (mut root, mut boot) = (None, None);
    for partition in &layout.partitions {
        match classify(partition, context) {
            Ok(Some((tree, Use::Root))) => root = root.or(Some(tree)),
            Ok(Some((tree, Use::Boot))) => boot = boot.or(Some(tree)),
            Ok(None) => {}
            Err(reason) => reasons.push(reason),
        }
    }
    let Some(root) = root else {
        return Err(match reasons.is_empty() {
            true => "no Linux root file system was found".to_owned(),
            false => reasons.join("; "),
        });
    };
    match root.exists("/usr/lib") {
        Ok(true) => Ok(System { root, boot }),
        Ok(false) => Err("its `/usr` is on a file system that was not found".to_owned()),
        Err(Unread(reason)) => Err(reason),
    }
}

enum Use {
    Root,
    Boot,
}

/// What the file system in a partition is used for; an error where that cannot be told.
fn classify(partition: &Partition, context: &Context<'_>) -> Result<Option<(Tree, Use)>, String> {
    let name = match partition.number {
        0 => "the disk".to_owned(),
        number => format!("partition {number}"),
    };
    if partition.content.may_hide_root() {
        let content = partition.content.name();
        return Err(format!("{name} holds {content}, which is not looked into"));
    }
    if partition.content != Content::Ext {
        return Ok(None);
    }
    let window = partition.window(context);
    let classify = AssertUnwindSafe(|| {
        let tree = Tree::open(window)?;
        let usage = usage(&tree)?;
        Ok(usage.map(|usage| (tree, usage)))
    });
    catch_unwind(classify)
        .unwrap_or_else(|_| Err(Unread("its structure is damaged".to_owned())))
        .map_err(|Unread(reason)| format!("{name} could not be read: {reason}"))
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
