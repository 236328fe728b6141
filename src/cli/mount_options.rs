//! `-o name[=value],…` as mount(8), fstab and FUSE tools write it.
//!
//! Every long option of `vhdfs mount` is known here by its name, read from the one definition.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use fuser::MountOption;
use thiserror::Error;

use super::{Cli, Command, MountArgs};

/// Options of mount(8) and fstab that say nothing to a file system: when and by whom it is mounted.
const IGNORED: [&str; 22] = [
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "rw",
    "ro",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "diratime",
    "nodiratime",
    "default_permissions",
    "quiet",
];

/// Options of ours that make no difference to what is mounted.
const INDIFFERENT: [&str; 7] = [
    "foreground",
    "verbose",
    "sloppy",
    "fake",
    "mkdir",
    "strict",
    "options",
];

/// What is wrong with an option.
#[derive(Debug, Error)]
pub enum OptionError {
    /// It is unknown.
    #[error(
        "the mount option {0:?} is unknown{hint}; `vhdfs mount --help` lists those of vhdfs [option-unknown]",
        hint = hint(.0)
    )]
    Unknown(String),
    /// It cannot be changed while mounted.
    #[error("the mount option \"remount\" is not supported; unmount and mount again [remount]")]
    Remount,
    /// Its value is missing, superfluous or wrong.
    #[error("{}; `vhdfs mount --help` tells what is possible [option-value]", first_paragraph(.0))]
    Value(#[from] clap::Error),
}

/// The option that was probably meant, as the parser suggests it.
fn hint(name: &str) -> String {
    let long = format!("--{}", name.replace('_', "-"));
    let parsed = Cli::command().try_get_matches_from(["vhdfs", "mount", &long]);
    match parsed
        .err()
        .as_ref()
        .and_then(|error| error.get(ContextKind::SuggestedArg))
    {
        Some(ContextValue::String(meant)) => {
            let meant = meant.trim_start_matches('-').replace('-', "_");
            format!(", and {meant:?} is known")
        }
        _ => String::new(),
    }
}

/// The parser's message in one line, without its usage.
fn first_paragraph(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.trim_start_matches("error: ").lines();
    let lines: Vec<_> = lines
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    lines.join(" ")
}

impl MountArgs {
    /// Takes the `-o` options as if they had been given by their long names.
    ///
    /// # Errors
    ///
    /// The first option that is unknown or has a wrong value.
    pub fn with_options_applied(self, arguments: Vec<OsString>) -> Result<Self, OptionError> {
        let mut named = Vec::new();
        for (name, value) in self.options.iter().flat_map(|list| split(list)) {
            match long_option(&name, value) {
                Err(OptionError::Unknown(_)) if self.sloppy => {}
                option => named.extend(option?.map(OsString::from)),
            }
        }
        let mut arguments = arguments;
        // Behind the name of the command, so that a `--` further on does not hide them.
        let place = arguments.len().min(2);
        arguments.splice(place..place, named);
        let matches = Cli::command().try_get_matches_from(arguments)?;
        match Cli::from_arg_matches(&matches)?.command {
            Command::Mount(mut args) => {
                let given = matches.subcommand_matches("mount");
                args.named = given.map(given_options).unwrap_or_default();
                let kernel = kernel_options(&args.options);
                args.named.extend(
                    kernel
                        .iter()
                        .map(|option| format!("{option:?}").to_lowercase()),
                );
                args.named.sort();
                args.named.dedup();
                Ok(*args)
            }
            _ => Ok(self),
        }
    }
}

/// What was given and is not the default, as far as it makes a difference to the mount: names of
/// flags, and `name=value`.
fn given_options(matches: &ArgMatches) -> Vec<String> {
    let cli = Cli::command();
    let known = cli.find_subcommand("mount").into_iter();
    let mut given = Vec::new();
    for argument in known.flat_map(clap::Command::get_arguments) {
        let (id, Some(long)) = (argument.get_id().as_str(), argument.get_long()) else {
            continue;
        };
        let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
        if INDIFFERENT.contains(&long) || !is_given {
            continue;
        }
        let values: Vec<_> = matches.get_raw(id).into_iter().flatten().collect();
        let default = argument
            .get_default_values()
            .iter()
            .map(|value| value.as_os_str());
        if values.iter().copied().eq(default) {
            continue;
        }
        if argument.get_action().takes_values() {
            let named = |value: &&OsStr| format!("{long}={}", value.to_string_lossy());
            given.extend(values.iter().map(named));
        } else {
            given.push(long.to_owned());
        }
    }
    given
}

/// The kernel's options among `-o` options.
pub fn kernel_options(lists: &[String]) -> Vec<MountOption> {
    let names = lists
        .iter()
        .flat_map(|list| split(list))
        .map(|(name, _)| name);
    names.filter_map(|name| kernel_option(&name)).collect()
}

/// `name[=value]` for each option of a comma-separated list; a backslash protects what follows it.
fn split(list: &str) -> Vec<(String, Option<String>)> {
    let mut options = vec![String::new()];
    let mut letters = list.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ',' => options.push(String::new()),
            _ => {
                let letter = if letter == '\\' {
                    letters.next().unwrap_or(letter)
                } else {
                    letter
                };
                if let Some(option) = options.last_mut() {
                    option.push(letter);
                }
            }
        }
    }
    let options = options.into_iter().filter(|option| !option.is_empty());
    options
        .map(|option| match option.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (option, None),
        })
        .collect()
}

/// The long option that an `-o` option stands for; `None` if it is the kernel's or ignored.
fn long_option(name: &str, value: Option<String>) -> Result<Option<String>, OptionError> {
    if name == "remount" {
        return Err(OptionError::Remount);
    }
    let is_ignored = IGNORED.contains(&name)
        || name.starts_with("x-")
        || name.starts_with("X-")
        || name == "comment";
    if is_ignored || kernel_option(name).is_some() {
        return Ok(None);
    }
    let long = name.replace('_', "-");
    let mount = Cli::command();
    // Options within options would be read in no known order.
    let known = long != "options"
        && mount.find_subcommand("mount").is_some_and(|mount| {
            mount
                .get_arguments()
                .any(|argument| !argument.is_hide_set() && argument.get_long() == Some(&long))
        });
    if !known {
        return Err(OptionError::Unknown(name.to_owned()));
    }
    Ok(Some(match value {
        Some(value) => format!("--{long}={value}"),
        None => format!("--{long}"),
    }))
}

fn kernel_option(name: &str) -> Option<MountOption> {
    Some(match name {
        "dev" => MountOption::Dev,
        "nodev" => MountOption::NoDev,
        "suid" => MountOption::Suid,
        "nosuid" => MountOption::NoSuid,
        "exec" => MountOption::Exec,
        "noexec" => MountOption::NoExec,
        "atime" => MountOption::Atime,
        "noatime" => MountOption::NoAtime,
        "sync" => MountOption::Sync,
        "async" => MountOption::Async,
        "dirsync" => MountOption::DirSync,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;

    fn parse(options: &[&str]) -> Result<MountArgs, OptionError> {
        let mut arguments: Vec<OsString> = ["vhdfs", "mount", "src", "mnt"]
            .map(OsString::from)
            .to_vec();
        for option in options {
            arguments.extend(["-o".into(), option.into()]);
        }
        match Cli::try_parse_from(&arguments)?.command {
            Command::Mount(args) => args.with_options_applied(arguments),
            _ => unreachable!(),
        }
    }

    #[test]
    fn options_stand_for_their_long_names() {
        let args = parse(&[
            "allow_other,uid=7",
            "file_mode=0644,include=*.bin,exclude=a\\,b,threads=9,direct-io",
        ])
        .unwrap();
        assert!(args.allow_other && args.direct_io);
        assert_eq!(
            (args.uid, args.file_mode, args.threads),
            (Some(7), Some(0o644), 9)
        );
        assert_eq!(
            (args.selection.include, args.selection.exclude),
            (vec!["*.bin".into()], vec!["a,b".into()])
        );
    }

    #[test]
    fn what_mount_adds_is_ignored_or_the_kernels() {
        let args = parse(&[
            "defaults,rw,nofail,x-systemd.automount,_netdev,noexec,noatime,,comment=x,user=me",
        ])
        .unwrap();
        let kernel = kernel_options(&args.options);
        assert_eq!(kernel, [MountOption::NoExec, MountOption::NoAtime]);
    }

    #[test]
    fn what_was_given_is_named_in_one_order() {
        let named = |options: &[&str]| parse(options).unwrap().named;
        assert_eq!(
            named(&[
                "uid=7,include=*.b,allow_other,rw",
                "include=*.a,noexec,mkdir"
            ]),
            [
                "allow-other",
                "include=*.a",
                "include=*.b",
                "noexec",
                "uid=7"
            ]
        );
        assert_eq!(named(&["snapshot=auto,nofail"]), [""; 0]);
        assert_eq!(named(&[]), [""; 0]);
    }

    #[test]
    fn wrong_options_are_named() {
        let message = |option| parse(&[option]).unwrap_err().to_string();
        assert!(message("allow_othr").contains("\"allow_othr\""));
        assert!(message("allow_othr").contains("\"allow_other\" is known"));
        assert!(!message("zzz").contains("is known"));
        assert!(message("fake").contains("\"fake\""));
        assert!(!message("uid=x").contains('\n'));
        assert!(message("remount").contains("unmount and mount again"));
        assert!(message("uid=x").contains("uid"));
        assert!(message("allow_other=1").contains("allow-other"));
        assert!(message("allow_other,allow_root").contains("allow-root"));
    }

    /// Names of options, values, what stands between them, and anything else.
    fn option_lists() -> impl Strategy<Value = String> {
        let command = Cli::command();
        let mount = command.find_subcommand("mount").expect("a command");
        let long = mount
            .get_arguments()
            .filter_map(|argument| argument.get_long());
        let known: Vec<String> = long.chain(IGNORED).map(String::from).collect();
        let values = [
            "7",
            "0644",
            "18446744073709551616",
            "-1",
            "auto",
            "a\\,b",
            "\\",
            "",
        ];
        let piece = prop_oneof![
            4 => prop::sample::select(known.clone()),
            1 => prop::sample::select(known).prop_map(|name| name.replace('-', "_")),
            2 => prop::sample::select(values.map(String::from).to_vec()),
            4 => prop::sample::select(vec![",".to_owned(), "=".to_owned()]),
            1 => any::<String>(),
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_options_are_taken_or_refused_with_a_message(options in option_lists()) {
            match parse(&[&options]) {
                Ok(args) => {
                    prop_assert!((2..=64).contains(&args.threads));
                    prop_assert_eq!(args.source.to_str(), Some("src"));
                    prop_assert_eq!(args.mountpoint.to_str(), Some("mnt"));
                    kernel_options(&args.options);
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
