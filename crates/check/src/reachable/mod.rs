//! The way in: an SSH server that runs, listens, and lets somebody in.

mod firewall;
mod guards;
mod pam;
mod sshd;

use crate::context::Context;
use crate::provisioning::CloudInit;
use crate::report::Stage;
use crate::rules::reachable as rules;
use crate::system::System;
use crate::system::units::{Load, Units};
use crate::unread::Unread;
use sshd::Config;

const SERVERS: [&str; 4] = [
    "/usr/sbin/sshd",
    "/usr/bin/sshd",
    "/usr/local/sbin/sshd",
    "/usr/sbin/dropbear",
];
/// Units of servers, with whether it is OpenSSH.
const UNITS: [(&str, bool); 6] = [
    ("ssh.service", true),
    ("sshd.service", true),
    ("ssh.socket", true),
    ("sshd.socket", true),
    ("dropbear.service", false),
    ("dropbear.socket", false),
];
/// Keeps everybody but root out.
const NOLOGIN: &str = "/etc/nologin";

/// Judges the way in.
pub(crate) fn judge(
    system: &System,
    units: &Units<'_>,
    cloud_init: &CloudInit,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let tree = &system.tree;
    if !tree.exists_any(&SERVERS)? {
        context.find(&rules::SSH_MISSING, "no SSH server is installed");
        return Ok(());
    }
    if tree.exists(NOLOGIN)? {
        context.find_in(
            &rules::NOLOGIN,
            NOLOGIN,
            format!("`{NOLOGIN}` keeps everybody but root out"),
        );
    }
    let Some((unit, is_openssh)) = started(system, units, context)? else {
        return Ok(());
    };
    context.evidence(Stage::Reachable, unit);
    let mut ports = vec![22];
    if is_openssh {
        let options = guards::options(unit, units, tree)?;
        let config = Config::read_with(tree, &options)?;
        ports = sshd::judge(&config, system, cloud_init, context)?;
        if unit.ends_with(".socket") {
            ports = judge_socket(unit, units, context)?;
        }
        sshd::judge_host_keys(&config, system, units, cloud_init, context)?;
        if !system.accounts.has_user("sshd") {
            context.find_in(
                &rules::SSHD_USER,
                "/etc/passwd",
                "there is no user `sshd`, without whom sshd does not start",
            );
        }
        guards::judge_separation(unit, system, units, context)?;
        if config.is_on("UsePAM", false) {
            pam::judge(tree, context)?;
        }
    }
    guards::judge(system, units, context)?;
    firewall::judge(system, units, &ports, context)
}

/// The unit that starts a server; where none does, that is the finding.
fn started(
    system: &System,
    units: &Units<'_>,
    context: &Context<'_>,
) -> Result<Option<(&'static str, bool)>, Unread> {
    let mut why = None;
    for (name, is_openssh) in UNITS {
        if !units.is_started(name)? {
            continue;
        }
        match units.obstacle(name, &system.accounts, 0)? {
            None => {
                // A socket starts its service with the first connection.
                let service = match name.strip_suffix(".socket") {
                    Some(stem) => socket_service(stem, units)?,
                    None => name.to_owned(),
                };
                match units.obstacle_of_administrator(&service, &system.accounts)? {
                    None => return Ok(Some((name, is_openssh))),
                    Some(found) => why = why.or(Some(found)),
                }
            }
            Some(found) => why = why.or(Some(found)),
        }
    }
    match why {
        Some(found) => {
            let rule = match found.is_unsure {
                true => &rules::SSH_UNKNOWN,
                false => &rules::SSH_UNIT,
            };
            context.find_at(
                rule,
                &found.path,
                found.line,
                format!("the SSH server does not run: {}", found.why),
            );
        }
        None => report_not_started(units, context)?,
    }
    Ok(None)
}

fn report_not_started(units: &Units<'_>, context: &Context<'_>) -> Result<(), Unread> {
    for (name, _) in UNITS {
        match units.load(name)? {
            Load::Masked(path) => {
                let message = format!("the SSH server is not started at boot: `{name}` is masked");
                context.find_in(&rules::SSH_DISABLED, &path, message);
                return Ok(());
            }
            Load::Dangling(path) => {
                let message =
                    format!("the SSH server is not started at boot: `{path}` is a link to nowhere");
                context.find_in(&rules::SSH_DISABLED, &path, message);
                return Ok(());
            }
            Load::Found(_) | Load::Missing => {}
        }
    }
    context.find(
        &rules::SSH_DISABLED,
        "the SSH server is not started at boot",
    );
    Ok(())
}

fn socket_service(stem: &str, units: &Units<'_>) -> Result<String, Unread> {
    if let Load::Found(unit) = units.load(&format!("{stem}.socket"))? {
        if unit
            .last("Socket", "Accept")
            .is_some_and(crate::system::units::is_yes)
        {
            return Ok(format!("{stem}@.service"));
        }
        if let Some(service) = unit.last("Socket", "Service") {
            return Ok(service.to_owned());
        }
    }
    Ok(format!("{stem}.service"))
}

/// The ports of a socket; one that listens to the machine itself only is a finding.
fn judge_socket(unit: &str, units: &Units<'_>, context: &Context<'_>) -> Result<Vec<u16>, Unread> {
    let Load::Found(socket) = units.load(unit)? else {
        return Ok(vec![22]);
    };
    let addresses: Vec<&str> = socket.words("Socket", "ListenStream").collect();
    let reachable: Vec<_> = addresses
        .iter()
        .filter(|address| !address.starts_with('/') && !sshd::is_loopback(address))
        .collect();
    if reachable.is_empty() {
        let message = format!("`{unit}` listens to the machine itself only");
        context.find_in(&rules::SSHD_LISTENS, &socket.path, message);
    }
    let port = |address: &&&str| {
        address
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
    };
    Ok(reachable.iter().filter_map(port).collect())
}
