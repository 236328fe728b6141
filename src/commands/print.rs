//! Writing results to standard output. A reader that has seen enough is no error.

use std::io::{self, Write};

use serde::Serialize;

use super::Failure;
use crate::advice;

/// Prints `text`, with its colours only on a terminal, and where `NO_COLOR` is not set.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    ignore_closed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text)
}

/// Ends quietly where the pipe was closed.
pub(super) fn ignore_closed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure {
            message: format!(
                "cannot write to standard output: {error}{}",
                advice::on_resources(&error)
            ),
            status: super::FAILED,
        }),
        _ => Ok(()),
    }
}
