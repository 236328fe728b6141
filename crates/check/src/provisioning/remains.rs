//! What deprovisioning would have removed.

use crate::context::Context;
use crate::files::Tree;
use crate::rules::Rule;
use crate::rules::provisioning as rules;
use crate::unread::Unread;

/// Values of `/etc/machine-id` with which the first boot makes a new one.
const NO_MACHINE_ID: [&str; 2] = ["", "uninitialized"];
const HISTORIES: [&str; 3] = [".bash_history", ".zsh_history", ".ash_history"];
const AUTHORIZED_KEYS: [&str; 1] = [".ssh/authorized_keys"];

/// Looks for what belongs to the machine that the image was made from.
pub(super) fn judge(tree: &Tree, context: &Context<'_>) -> Result<(), Unread> {
    let keys = tree.list("/etc/ssh")?;
    let is_host_key = |name: &&String| name.starts_with("ssh_host_") && name.ends_with("_key");
    let count = keys.iter().filter(is_host_key).count();
    if count > 0 {
        context.find(
            &rules::REMAINS_HOST_KEYS,
            format!("`/etc/ssh` has {count} host keys, which every machine would share"),
        );
    }
    let machine_id = tree.text("/etc/machine-id")?.unwrap_or_default();
    if !NO_MACHINE_ID.contains(&machine_id.trim()) {
        context.find(
            &rules::REMAINS_MACHINE_ID,
            "`/etc/machine-id` is set, and every machine would share it",
        );
    }
    if tree.exists("/var/log/waagent.log")? {
        context.find(
            &rules::REMAINS_LOG,
            "`/var/log/waagent.log` is left from an earlier machine",
        );
    }
    judge_homes(tree, &rules::REMAINS_HISTORY, &HISTORIES, context)?;
    judge_homes(tree, &rules::REMAINS_KEYS, &AUTHORIZED_KEYS, context)
}

/// Looks for files with something in them in the home folders.
fn judge_homes(
    tree: &Tree,
    rule: &Rule,
    names: &[&str],
    context: &Context<'_>,
) -> Result<(), Unread> {
    let users = tree.list("/home")?;
    let homes = users.iter().map(|user| format!("/home/{user}"));
    let mut found = Vec::new();
    for home in homes.chain(["/root".to_owned()]) {
        for name in names {
            let path = format!("{home}/{name}");
            if tree
                .meta(&path)?
                .is_some_and(|meta| meta.is_file() && meta.size > 0)
            {
                found.push(path);
            }
        }
    }
    if !found.is_empty() {
        context.find(rule, format!("`{}` is there", found.join("`, `")));
    }
    Ok(())
}
