//! PAM: what `sshd` asks when somebody logs in.

use std::collections::BTreeSet;

use crate::context::Context;
use crate::files::Tree;
use crate::rules::reachable as rules;
use crate::unread::Unread;

const SERVICE_FOLDERS: [&str; 3] = ["/etc/pam.d", "/usr/lib/pam.d", "/usr/etc/pam.d"];
const MODULE_FOLDERS: [&str; 7] = [
    "/usr/lib/x86_64-linux-gnu/security",
    "/usr/lib/aarch64-linux-gnu/security",
    "/lib/x86_64-linux-gnu/security",
    "/lib64/security",
    "/usr/lib64/security",
    "/lib/security",
    "/usr/lib/security",
];

/// Judges that the files and modules are there that must be.
pub(super) fn judge(tree: &Tree, context: &Context<'_>) -> Result<(), Unread> {
    // Where a program has no file of its own, `other` is what it gets: pam.conf(5).
    let first = match service(tree, "sshd")? {
        None if service(tree, "other")?.is_some() => "other",
        _ => "sshd",
    };
    let mut queue = vec![(first.to_owned(), String::new(), 0)];
    let mut known = BTreeSet::new();
    while let Some((name, from, line)) = queue.pop() {
        if known.len() > 64 || !known.insert(name.clone()) {
            continue;
        }
        let Some((path, text)) = service(tree, &name)? else {
            let message =
                format!("PAM's service `{name}` is not there, and without it nobody is let in");
            context.find_at(&rules::PAM, &from, line, message);
            continue;
        };
        for (number, line) in (1..).zip(text.lines()) {
            judge_line(tree, &path, number, line, &mut queue, context)?;
        }
    }
    Ok(())
}

fn service(tree: &Tree, name: &str) -> Result<Option<(String, String)>, Unread> {
    for folder in SERVICE_FOLDERS {
        let path = if name.starts_with('/') {
            name.to_owned()
        } else {
            format!("{folder}/{name}")
        };
        if let Some(text) = tree.text(&path)? {
            return Ok(Some((path, text)));
        }
    }
    Ok(None)
}

fn judge_line(
    tree: &Tree,
    path: &str,
    number: u32,
    line: &str,
    queue: &mut Vec<(String, String, u32)>,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let line = line.split('#').next().unwrap_or_default().trim();
    if let Some(name) = line.strip_prefix("@include") {
        queue.push((name.trim().to_owned(), path.to_owned(), number));
        return Ok(());
    }
    let (kind, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if !matches!(kind, "auth" | "account" | "session") {
        return Ok(());
    }
    let rest = rest.trim();
    let (control, rest) = match rest.strip_prefix('[') {
        Some(inside) => inside.split_once(']').unwrap_or((inside, "")),
        None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
    };
    let module = rest.split_whitespace().next().unwrap_or_default();
    if matches!(control, "include" | "substack") {
        queue.push((module.to_owned(), path.to_owned(), number));
        return Ok(());
    }
    let is_needed = matches!(control, "required" | "requisite")
        || control.contains("default=die")
        || control.contains("default=bad");
    if !is_needed || !module.ends_with(".so") {
        return Ok(());
    }
    let mut there = module.starts_with('/') && tree.is_file(module)?;
    for folder in MODULE_FOLDERS {
        there |= tree.is_file(&format!("{folder}/{module}"))?;
    }
    if !there {
        let message =
            format!("PAM's module `{module}` is not there, and without it nobody is let in");
        context.find_at(&rules::PAM, path, number, message);
    }
    let denies = module == "pam_deny.so" && kind == "account";
    if denies
        && control == "required"
        && !path.ends_with("common-account")
        && !path.ends_with("-auth")
    {
        context.find_at(&rules::PAM, path, number, "PAM denies every account");
    }
    Ok(())
}
