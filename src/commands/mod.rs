//! The commands: small programs over the library, each ending in an exit status.

mod appearance;
mod atomic;
mod background;
mod cat;
mod check;
mod demo;
mod generate;
mod help;
mod inspect;
mod list;
mod manifest;
mod map;
mod mount;
mod output;
mod picture;
mod print;
mod progress;
mod status;
mod table;
mod umount;
mod verify;
mod version;
mod view;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::cli;
use crate::cli::{Cli, Command};
use crate::daemon::broker;
use crate::folder::catalog;
use crate::folder::select::Selection;
use crate::troubles;
use ::check::printable::printable;

/// Exit status of a command that failed.
const FAILED: u8 = 1;
/// Exit status if the arguments are wrong.
const USAGE: u8 = 2;

/// Why a command did not do what was asked: one line, and an exit status.
#[derive(Debug)]
struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    /// The arguments are wrong.
    fn usage(error: impl ToString) -> Self {
        Self {
            message: error.to_string(),
            status: USAGE,
        }
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            message: error.to_string(),
            status: FAILED,
        }
    }
}

/// Runs the program with these arguments, the first of which is its own name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    if broker::is_broker() {
        return broker::run_broker();
    }
    // Help goes to standard output with status 0, wrong arguments to standard error with 2.
    let arguments = cli::understand(arguments).unwrap_or_else(|error| error.exit());
    if version::is_asked_for(&arguments) {
        return finish(version::run().map(|()| ExitCode::SUCCESS));
    }
    if let Some(id) = help::is_asked_for(&arguments) {
        return finish(help::run(id.as_deref()).map(|()| ExitCode::SUCCESS));
    }
    let cli = Cli::try_parse_from(&arguments).unwrap_or_else(|error| error.exit());
    let done = |()| ExitCode::SUCCESS;
    let result = match cli.command {
        Command::Check(args) => check::run(&args),
        Command::Mount(args) => mount::run(*args, arguments).map(done),
        Command::Umount(args) => umount::run(&args).map(done),
        Command::Status(args) => status::run(&args).map(done),
        Command::Demo(args) => demo::run(&args).map(done),
        Command::Generate(args) => generate::run(&args).map(done),
        Command::List(args) => list::run(&args).map(done),
        Command::Inspect(args) => inspect::run(&args).map(done),
        Command::Map(args) => map::run(&args).map(done),
        Command::Manifest(args) => manifest::run(&args).map(done),
        Command::Verify(args) => verify::run(&args),
        Command::Cat(args) => cat::run(&args).map(done),
    };
    finish(result)
}

/// The exit status, and one line if something failed.
fn finish(result: Result<ExitCode, Failure>) -> ExitCode {
    match result {
        Ok(status) => status,
        Err(failure) => {
            let message = failure.message.trim_start_matches("error: ").trim_end();
            let message = troubles::with_id(&printable(message));
            // Standard error may be closed; the status is what remains.
            let _ = writeln!(io::stderr(), "vhdfs: {message}");
            ExitCode::from(failure.status)
        }
    }
}

/// The options of a catalog that shows what the user selected, in the size that was asked for.
fn catalog_options(
    args: &cli::SelectionArgs,
    view: &cli::ViewArgs,
    log_skipped: bool,
) -> Result<catalog::Options, Failure> {
    Ok(catalog::Options {
        selection: Selection::new(args.all, &args.include, &args.exclude)
            .map_err(|error| {
                Failure::usage(format!(
                    "{error}; patterns are those of the shell [pattern]"
                ))
            })?
            .with_compressed(view.compressed),
        allow_devices: args.allow_devices,
        min_size: view.min_size.unwrap_or(0),
        chains: view.chains,
        compressed: view.compressed,
        log_skipped,
        ..catalog::Options::default()
    })
}
