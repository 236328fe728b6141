//! `vhdfs help troubles [ID]`: what a message means, and what to do.

use std::ffi::OsString;

use super::Failure;
use super::print::print;
use crate::troubles;

/// The word behind `help`; commands have none of this name.
const TROUBLES: &str = "troubles";

/// Which id these arguments ask about, if it is troubles at all: `None` in it means all of them.
pub(super) fn is_asked_for(arguments: &[OsString]) -> Option<Option<String>> {
    match arguments.get(1..)? {
        [help, troubles] if help == "help" && troubles == TROUBLES => Some(None),
        [help, troubles, id] if help == "help" && troubles == TROUBLES => {
            Some(Some(id.to_string_lossy().into_owned()))
        }
        _ => None,
    }
}

pub(super) fn run(id: Option<&str>) -> Result<(), Failure> {
    let Some(id) = id else {
        return print(&overview());
    };
    let trouble = troubles::find(id).ok_or_else(|| {
        Failure::usage(format!(
            "no trouble is called {id:?}; `vhdfs help troubles` lists them [no-trouble]"
        ))
    })?;
    print(&format!("[{}]\n\n{}\n", trouble.id, trouble.text))
}

/// Every id with the first of its messages, as far as that fits a line of 80 columns.
fn overview() -> String {
    let mut text =
        "Messages end with an id in brackets; `vhdfs help troubles ID` explains it.\n\n".to_owned();
    for trouble in troubles::all() {
        let message = trouble.messages().next().unwrap_or_default();
        let mut shown: String = message.chars().take(58).collect();
        if shown.len() < message.len() {
            shown = match shown.rsplit_once(' ') {
                Some((words, _)) => format!("{words} …"),
                None => shown,
            };
        }
        text += format!("  {:<19}{shown}", trouble.id).trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Option<Option<String>> {
        is_asked_for(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn only_troubles_are_not_left_to_the_parser() {
        assert_eq!(asked("vhdfs help troubles"), Some(None));
        assert_eq!(
            asked("vhdfs help troubles [bug]"),
            Some(Some("[bug]".into()))
        );
        for other in [
            "vhdfs",
            "vhdfs help",
            "vhdfs help mount",
            "vhdfs mount help troubles",
        ] {
            assert_eq!(asked(other), None, "{other}");
        }
    }

    #[test]
    fn the_overview_fits_80_columns() {
        for line in overview().lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
