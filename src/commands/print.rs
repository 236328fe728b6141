//! Writing results to standard output. A reader that has seen enough is no error.

use std::io::{self, Write};

use serde::Serialize;

use super::Failure;
use crate::advice;

/// Prints `text`, with its colours only on a terminal, and only if `NO_COLOR` is not set.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    ignore_closed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&without_controls(&text))
}

/// JSON in which all control characters are escaped: the encoder leaves those above U+007E as they are,
/// and terminals obey some of them. They can only be inside of strings.
fn without_controls(json: &str) -> String {
    json.chars().fold(String::new(), |mut text, letter| {
        match letter {
            '\u{7f}'..='\u{9f}' => text.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => text.push(letter),
        }
        text
    })
}

/// Ends quietly if the pipe was closed.
pub(super) fn ignore_closed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure {
            message: format!(
                "cannot write to standard output: {error}{} [output]",
                advice::on_resources(&error)
            ),
            status: super::FAILED,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_holds_no_control_characters() {
        let name = "a\u{1b}[31m\u{7f}\u{9b}31mß";
        let text = without_controls(&serde_json::to_string(name).unwrap());
        assert!(!text.contains(char::is_control), "{text:?}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), name);
    }
}
