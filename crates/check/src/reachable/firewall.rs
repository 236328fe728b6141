//! Firewalls that are started: whether they let SSH through.

use crate::context::Context;
use crate::files::Tree;
use crate::rules::reachable as rules;
use crate::system::System;
use crate::system::units::Units;
use crate::unread::Unread;

/// Judges the firewalls that are started.
pub(super) fn judge(
    system: &System,
    units: &Units<'_>,
    ports: &[u16],
    context: &Context<'_>,
) -> Result<(), Unread> {
    let tree = &system.tree;
    let runs = |names: &[&str]| -> Result<bool, Unread> {
        for name in names {
            if units.is_started(name)? && units.obstacle(name, &system.accounts, 0)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    };
    if runs(&["nftables.service"])? {
        for path in ["/etc/nftables.conf", "/etc/sysconfig/nftables.conf"] {
            if let Some(text) = tree.text(path)? {
                report(nftables(&text, ports), path, "nftables", context);
            }
        }
    }
    if runs(&[
        "netfilter-persistent.service",
        "iptables.service",
        "iptables-persistent.service",
    ])? {
        for path in [
            "/etc/iptables/rules.v4",
            "/etc/sysconfig/iptables",
            "/etc/iptables/iptables.rules",
        ] {
            if let Some(text) = tree.text(path)? {
                report(iptables(&text, ports), path, "iptables", context);
            }
        }
    }
    if runs(&["ufw.service"])? {
        report(ufw(tree, ports)?, "/etc/ufw/user.rules", "ufw", context);
    }
    if runs(&["firewalld.service"])? {
        firewalld(tree, ports, context)?;
    }
    judge_wrapper(tree, context)
}

/// What a firewall does with SSH.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Passage {
    Open,
    Closed,
    Unknown,
}

fn report(passage: Passage, path: &str, name: &str, context: &Context<'_>) {
    let (rule, what) = match passage {
        Passage::Open => return,
        Passage::Closed => (&rules::FIREWALL, "drops"),
        Passage::Unknown => (&rules::FIREWALL_UNKNOWN, "may drop"),
    };
    context.find_in(
        rule,
        path,
        format!("{name} is started, and {what} connections to the SSH server"),
    );
}

fn mentions(text: &str, ports: &[u16]) -> bool {
    ports.iter().all(|port| {
        let number = port.to_string();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        words
            .into_iter()
            .any(|word| word == number || (*port == 22 && word == "ssh"))
    })
}

/// A table in nft's language: input is dropped by a policy or a last rule.
fn nftables(text: &str, ports: &[u16]) -> Passage {
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .collect();
    if lines.iter().any(|line| line.starts_with("include")) {
        return Passage::Unknown;
    }
    let mut input = false;
    let mut depth = 0_i32;
    let (mut drops, mut opens, mut decided) = (false, false, None);
    for line in &lines {
        if line.contains("hook input") {
            input = true;
            depth = 0;
        }
        if input {
            depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
            let policy = line.contains("policy drop");
            drops |= policy;
            let is_ssh = line.contains("dport") && mentions(line, ports);
            if is_ssh && line.contains("accept") {
                opens = true;
                decided = decided.or(Some(Passage::Open));
            } else if is_ssh && (line.contains("drop") || line.contains("reject")) {
                decided = decided.or(Some(Passage::Closed));
            } else if matches!(
                line.trim_end_matches(';'),
                "drop" | "reject" | "counter drop"
            ) {
                drops = true;
            } else if matches!(line.trim_end_matches(';'), "accept" | "counter accept") {
                opens = true;
            } else if line.contains("jump") || line.contains("goto") || line.contains("vmap") {
                decided = decided.or(Some(Passage::Unknown));
            }
            if depth < 0 {
                input = false;
            }
        }
    }
    match decided {
        Some(passage) => passage,
        None if drops && !opens => Passage::Closed,
        None => Passage::Open,
    }
}

/// Rules as `iptables-save` writes them.
fn iptables(text: &str, ports: &[u16]) -> Passage {
    let mut in_filter = false;
    let mut drops = false;
    for line in text.lines().map(str::trim) {
        match line {
            _ if line.starts_with('*') => in_filter = line == "*filter",
            _ if !in_filter => {}
            _ if line.starts_with(":INPUT") => drops = line.contains("DROP"),
            _ if line.starts_with("-A INPUT") => {
                let jump = line
                    .split("-j ")
                    .nth(1)
                    .and_then(|rest| rest.split_whitespace().next());
                let is_ssh = line.contains("--dport") && mentions(line, ports);
                let is_all = !line.contains("--")
                    && !line.contains(" -i ")
                    && !line.contains(" -s ")
                    && !line.contains(" -p ");
                let is_plain = is_all
                    || line.contains("--reject-with")
                        && line.matches("--").count() == 1
                        && !line.contains(" -p ");
                match jump {
                    Some("ACCEPT")
                        if is_ssh && !line.contains(" -s ") || is_all && jump == Some("ACCEPT") =>
                    {
                        return Passage::Open;
                    }
                    Some("ACCEPT") if is_ssh => return Passage::Unknown,
                    Some("DROP" | "REJECT") if is_ssh || is_plain => return Passage::Closed,
                    Some("ACCEPT" | "DROP" | "REJECT" | "LOG" | "RETURN") => {}
                    Some(_) if is_all || is_ssh => return Passage::Unknown,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if drops {
        Passage::Closed
    } else {
        Passage::Open
    }
}

fn ufw(tree: &Tree, ports: &[u16]) -> Result<Passage, Unread> {
    let conf = tree.text("/etc/ufw/ufw.conf")?.unwrap_or_default();
    let is_on = conf
        .lines()
        .any(|line| line.trim().to_ascii_lowercase().replace(' ', "") == "enabled=yes");
    let defaults = tree.text("/etc/default/ufw")?.unwrap_or_default();
    let policy = defaults
        .lines()
        .find_map(|line| line.trim().strip_prefix("DEFAULT_INPUT_POLICY="));
    if !is_on || policy.is_some_and(|policy| policy.contains("ACCEPT")) {
        return Ok(Passage::Open);
    }
    let mut rules = tree.text("/etc/ufw/user.rules")?.unwrap_or_default();
    rules.push_str(&tree.text("/lib/ufw/user.rules")?.unwrap_or_default());
    for line in rules
        .lines()
        .filter(|line| line.starts_with("-A ufw-user-input"))
    {
        let is_ssh =
            (line.contains("--dport") || line.contains("--dports")) && mentions(line, ports);
        if is_ssh && (line.contains("ACCEPT") || line.contains("ufw-user-limit")) {
            return Ok(Passage::Open);
        }
        if is_ssh && (line.contains("DROP") || line.contains("REJECT")) {
            return Ok(Passage::Closed);
        }
    }
    Ok(Passage::Closed)
}

fn firewalld(tree: &Tree, ports: &[u16], context: &Context<'_>) -> Result<(), Unread> {
    let conf = tree
        .text("/etc/firewalld/firewalld.conf")?
        .unwrap_or_default();
    let zone = conf
        .lines()
        .find_map(|line| line.trim().strip_prefix("DefaultZone="));
    let zone = zone.unwrap_or("public").trim();
    for folder in ["/etc/firewalld/zones", "/usr/lib/firewalld/zones"] {
        let path = format!("{folder}/{zone}.xml");
        if let Some(text) = tree.text(&path)? {
            let has_ssh = text.contains("<service name=\"ssh\"") && ports == [22];
            let has_port = text.contains("<port ") && mentions(&text, ports);
            let passage = match () {
                () if has_ssh || has_port || text.contains("target=\"ACCEPT\"") => Passage::Open,
                () => Passage::Closed,
            };
            report(passage, &path, "firewalld", context);
            return Ok(());
        }
    }
    report(
        Passage::Unknown,
        "/etc/firewalld/firewalld.conf",
        "firewalld",
        context,
    );
    Ok(())
}

/// `hosts.deny` counts for servers that are built with TCP wrappers, as Debian's.
fn judge_wrapper(tree: &Tree, context: &Context<'_>) -> Result<(), Unread> {
    let path = "/etc/hosts.deny";
    let denied = tree.text(path)?.unwrap_or_default();
    let allowed = tree.text("/etc/hosts.allow")?.unwrap_or_default();
    let names = |text: &str| {
        text.lines().map(str::trim).any(|line| {
            let daemon = line.split(':').next().unwrap_or_default().trim();
            !line.starts_with('#')
                && daemon
                    .split([',', ' '])
                    .any(|name| matches!(name, "ALL" | "sshd"))
        })
    };
    if names(&denied) && !names(&allowed) {
        context.find_in(
            &rules::FIREWALL_UNKNOWN,
            path,
            "`/etc/hosts.deny` keeps out whom an SSH server with TCP wrappers would let in",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nft() {
        let with = |inside: &str| {
            format!(
                "table inet filter {{\n chain input {{\n  type filter hook input priority 0; policy drop;\n{inside}\n }}\n}}\n"
            )
        };
        assert_eq!(nftables(&with(""), &[22]), Passage::Closed);
        assert_eq!(nftables(&with("tcp dport 22 accept"), &[22]), Passage::Open);
        assert_eq!(
            nftables(&with("tcp dport { ssh, 80 } accept"), &[22]),
            Passage::Open
        );
        assert_eq!(
            nftables(&with("tcp dport 80 accept"), &[22]),
            Passage::Closed
        );
        assert_eq!(
            nftables(&with("").replace("drop", "accept"), &[22]),
            Passage::Open
        );
    }

    #[test]
    fn tables() {
        let with = |rules: &str| format!("*filter\n:INPUT DROP [0:0]\n{rules}\nCOMMIT\n");
        assert_eq!(iptables(&with(""), &[22]), Passage::Closed);
        assert_eq!(
            iptables(&with("-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"), &[22]),
            Passage::Open
        );
        assert_eq!(
            iptables(&with("-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT"), &[22]),
            Passage::Closed
        );
        assert_eq!(
            iptables(&with("").replace("DROP", "ACCEPT"), &[22]),
            Passage::Open
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            let _ = (nftables(&text, &[22]), iptables(&text, &[22]));
        }
    }
}
