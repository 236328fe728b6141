//! What deprovisioning would have removed.

use super::super::context::Context;
use super::super::rules::{self, Rule};
use super::super::unread::Unread;
use super::System;

/// Values of `/etc/machine-id` with which the first boot makes a new one.
const NO_MACHINE_ID: [&str; 2] = ["", "uninitialized"];
const HISTORIES: [&str; 3] = [".bash_history", ".zsh_history", ".ash_history"];
const AUTHORIZED_KEYS: [&str; 1] = [".ssh/authorized_keys"];

/// Looks for what belongs to the machine that the image was made from.
pub(super) fn judge(system: &System, context: &mut Context<'_>) -> Result<(), Unread> {
    let keys = system.list("/etc/ssh")?;
    let is_host_key = |name: &&String| name.starts_with("ssh_host_") && name.ends_with("_key");
    let count = keys.iter().filter(is_host_key).count();
    if count > 0 {
        context.find(
            &rules::REMAINS_HOST_KEYS,
            format!("`/etc/ssh` has {count} host keys, which every machine would share"),
        );
    }
    let machine_id = system.text("/etc/machine-id")?.unwrap_or_default();
    if !NO_MACHINE_ID.contains(&machine_id.trim()) {
        context.find(
            &rules::REMAINS_MACHINE_ID,
            "`/etc/machine-id` is set, and every machine would share it",
        );
    }
    if system.exists("/var/log/waagent.log")? {
        context.find(
            &rules::REMAINS_LOG,
            "`/var/log/waagent.log` is left from an earlier machine",
        );
    }
    judge_homes(system, &rules::REMAINS_HISTORY, &HISTORIES, context)?;
    judge_homes(system, &rules::REMAINS_KEYS, &AUTHORIZED_KEYS, context)
}

/// Looks for files with something in them in the home folders.
fn judge_homes(
    system: &System,
    rule: &Rule,
    names: &[&str],
    context: &mut Context<'_>,
) -> Result<(), Unread> {
    let users = system.list("/home")?;
    let homes = users.iter().map(|user| format!("/home/{user}"));
    let mut found = Vec::new();
    for home in homes.chain(["/root".to_owned()]) {
        for name in names {
            let path = format!("{home}/{name}");
            if system.root.size(&path)?.is_some_and(|size| size > 0) {
                found.push(path);
            }
        }
    }
    if !found.is_empty() {
        context.find(rule, format!("`{}` is there", found.join("`, `")));
    }
    Ok(())
}
