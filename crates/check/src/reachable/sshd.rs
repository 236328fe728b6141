//! OpenSSH's server: its configuration by its own grammar.
//!
//! Source: the manual sshd_config(5). Of each keyword the first value counts, and those in a
//! `Match` block whose conditions hold come before them.

mod algorithms;
mod config;
mod host_keys;

use crate::context::Context;
use crate::provisioning::CloudInit;
use crate::rules::Rule;
use crate::rules::reachable as rules;
use crate::system::System;
use crate::unread::Unread;

pub(super) use config::{Config, Options};
use config::{PATHS, Setting};
pub(super) use host_keys::judge_host_keys;

/// Whether an address, with or without a port, is the machine's own.
pub(super) fn is_loopback(address: &str) -> bool {
    let address = address.trim_start_matches('[');
    address.starts_with("127.") || address.starts_with("::1") || address.starts_with("localhost")
}

/// Judges the configuration; returns the ports on which the server listens.
pub(super) fn judge(
    config: &Config,
    system: &System,
    cloud_init: &CloudInit,
    context: &Context<'_>,
) -> Result<Vec<u16>, Unread> {
    for (setting, why, sure) in &config.faults {
        let rule = if *sure {
            &rules::SSHD_CONFIG
        } else {
            &rules::SSH_UNKNOWN
        };
        let message = format!("the line `{}` of sshd's configuration {why}", setting.key);
        context.find_at(rule, &setting.path, setting.line, message);
    }
    if !config.is_there {
        let path = match config.path.as_str() {
            "" => PATHS[0],
            path => path,
        };
        let message = format!("sshd does not start without `{path}`");
        context.find_in(&rules::SSHD_CONFIG, path, message);
    }
    judge_listening(config, context);
    algorithms::judge(config, &system.tree, context)?;
    judge_authentication(config, system, cloud_init, context)?;
    judge_users(config, context);
    let ports: Vec<u16> = config
        .all("Port")
        .iter()
        .filter_map(|setting| setting.values.first()?.parse().ok())
        .collect();
    Ok(if ports.is_empty() { vec![22] } else { ports })
}

fn judge_listening(config: &Config, context: &Context<'_>) {
    let find = |rule: &Rule, setting: &Setting, message: String| {
        context.find_at(rule, &setting.path, setting.line, message);
    };
    let addresses = config.all("ListenAddress");
    let value = |setting: &&Setting| setting.values.first().cloned().unwrap_or_default();
    let outside: Vec<_> = addresses
        .iter()
        .filter(|s| !is_loopback(&value(s)))
        .collect();
    if let (Some(first), true) = (addresses.first(), outside.is_empty()) {
        let message = format!("sshd listens on `{}` only", value(first));
        find(&rules::SSHD_LISTENS, first, message);
    }
    let is_any = |address: &str| {
        let address = address.trim_start_matches('[');
        address.starts_with("0.0.0.0")
            || address.starts_with("::") && !address.starts_with("::1")
            || address.starts_with('*')
    };
    if let Some(fixed) = outside
        .first()
        .filter(|_| !outside.iter().any(|s| is_any(&value(s))))
    {
        let message = format!(
            "sshd listens on `{}` only, which may not be the machine's",
            value(fixed)
        );
        find(&rules::SSH_UNKNOWN, fixed, message);
    }
    if let Some(setting) = config
        .first("AddressFamily")
        .filter(|s| value(s) == "inet6")
    {
        find(
            &rules::SSHD_LISTENS,
            setting,
            "sshd listens by IPv6 only".to_owned(),
        );
    }
}

fn judge_authentication(
    config: &Config,
    system: &System,
    cloud_init: &CloudInit,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let pam = config.is_on("UsePAM", false);
    let password = config.is_on("PasswordAuthentication", true);
    let keys_file = config.first("AuthorizedKeysFile");
    let no_file = keys_file.is_some_and(|setting| {
        setting
            .values
            .first()
            .is_some_and(|v| v.eq_ignore_ascii_case("none"))
    });
    let has_command = config
        .first("AuthorizedKeysCommand")
        .is_some_and(|setting| {
            setting
                .values
                .first()
                .is_some_and(|v| !v.eq_ignore_ascii_case("none"))
        });
    // cloud-init writes keys where sshd looks for them, and the agent into the user's home.
    let is_found = cloud_init.works
        || keys_file.is_none_or(|setting| {
            let at_home =
                |value: &String| value.trim_start_matches("%h/") == ".ssh/authorized_keys";
            setting.values.iter().any(at_home)
        });
    let finds_keys = !no_file && is_found || has_command;
    let key = config.is_on("PubkeyAuthentication", true) && finds_keys;
    let interactive = match config.first("KbdInteractiveAuthentication") {
        Some(_) => config.is_on("KbdInteractiveAuthentication", true),
        None => config.is_on("ChallengeResponseAuthentication", true),
    } && pam;
    let at = [
        "PubkeyAuthentication",
        "PasswordAuthentication",
        "AuthorizedKeysFile",
    ]
    .iter()
    .find_map(|key| config.first(key));
    let (path, line) = at.map_or((config.path.as_str(), 0), |s| (s.path.as_str(), s.line));
    if !password && !key && !interactive {
        context.find_at(
            &rules::SSHD_AUTHENTICATION,
            path,
            line,
            "sshd takes neither keys nor passwords, and lets nobody in",
        );
    } else if !key {
        context.find_at(
            &rules::SSHD_KEYS,
            path,
            line,
            "sshd takes no keys; only a machine that is made with a password lets somebody in",
        );
    }
    if let Some(methods) = config.first("AuthenticationMethods") {
        let possible = |method: &str| match method.split(':').next() {
            Some("publickey") => key,
            Some("password") => password,
            Some("keyboard-interactive") => interactive,
            Some("any") => true,
            _ => false,
        };
        let any = methods
            .values
            .iter()
            .any(|list| list.split(',').all(possible));
        if !any {
            let message = format!("no method of `{}` is possible", methods.values.join(" "));
            context.find_at(
                &rules::SSHD_AUTHENTICATION,
                &methods.path,
                methods.line,
                message,
            );
        }
    }
    if let Some(force) = config
        .first("ForceCommand")
        .filter(|s| s.values.first().is_some_and(|v| v != "none"))
    {
        let command = force.values.join(" ");
        let ends = ["/bin/false", "/bin/true", "/nologin"];
        let rule = match ends.iter().any(|end| command.ends_with(end)) {
            true => &rules::SSHD_AUTHENTICATION,
            false => &rules::SSH_UNKNOWN,
        };
        let message = format!("sshd runs `{command}` in place of a shell");
        context.find_at(rule, &force.path, force.line, message);
    }
    judge_sessions(config, system, context)
}

/// Judges whether who is let in comes to a shell.
fn judge_sessions(config: &Config, system: &System, context: &Context<'_>) -> Result<(), Unread> {
    let first = |key| {
        let setting = config.first(key)?;
        Some((setting, setting.values.first()?.as_str()))
    };
    if let Some((setting, "0")) = first("MaxSessions") {
        let message = "`MaxSessions 0` lets nobody have a shell";
        context.find_at(
            &rules::SSHD_AUTHENTICATION,
            &setting.path,
            setting.line,
            message,
        );
    }
    if let Some((setting, folder)) = first("ChrootDirectory").filter(|(_, v)| *v != "none") {
        let is_there = folder.contains('%') || system.tree.exists(folder)?;
        let (rule, message) = match is_there {
            true => (
                &rules::SSH_UNKNOWN,
                format!(
                    "sshd shuts everybody in `{folder}`; whether a shell is there is not known"
                ),
            ),
            false => (
                &rules::SSHD_AUTHENTICATION,
                format!("sshd shuts everybody in `{folder}`, which is not there"),
            ),
        };
        context.find_at(rule, &setting.path, setting.line, message);
    }
    Ok(())
}

fn judge_users(config: &Config, context: &Context<'_>) {
    for key in ["DenyUsers", "DenyGroups"] {
        for setting in config.all(key) {
            if setting
                .values
                .iter()
                .any(|value| value == "*" || value == "*@*")
            {
                let message = format!("`{key} *` lets nobody in");
                context.find_at(
                    &rules::SSHD_AUTHENTICATION,
                    &setting.path,
                    setting.line,
                    message,
                );
            }
        }
    }
    for key in ["AllowUsers", "AllowGroups"] {
        let settings = config.all(key);
        let any = settings
            .iter()
            .any(|s| s.values.iter().any(|value| value == "*" || value == "*@*"));
        if let (Some(first), false) = (settings.first(), any) {
            let message = format!(
                "`{key} {}` lets in these only; the user that Azure makes must be one of them",
                first.values.join(" ")
            );
            context.find_at(&rules::SSHD_ALLOW, &first.path, first.line, message);
        }
    }
}
