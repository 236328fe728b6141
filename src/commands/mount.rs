//! `vhdfs mount`: in the foreground, or as a daemon that the command waits for.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use indicatif::MultiProgress;
use log::{info, warn};

use super::print::print;
use super::{Failure, appearance, background, catalog_options};
use crate::cli::{self, MountArgs, Snapshot, kernel_options};
use crate::daemon::sandbox::Sandbox;
use crate::daemon::{self, Reporting, Request};
use crate::folder::catalog;
use crate::logging::{self, Output};
use crate::mount::client;
use crate::mount::options::{Access, Options};
use crate::serve::fs::Ownership;
use crate::serve::image::Policy;
use check::printable::printable;

pub(super) fn run(args: MountArgs, arguments: Vec<OsString>) -> Result<(), Failure> {
    let args = args
        .with_options_applied(arguments.clone())
        .map_err(Failure::usage)?;
    if args.fake {
        return Ok(());
    }
    if is_there_already(&args) {
        let place = args.mountpoint.display();
        return print(&format!(
            "{place}: is mounted already, from the same source with the same options\n"
        ));
    }
    // The process that started us may have files open that the daemon should not keep. An old kernel
    // lets it inherit them, as every program does.
    let _ = sys::close_on_exec();
    if args.foreground {
        return serve_in_foreground(&args);
    }
    if background::is_daemon() {
        return serve_as_daemon(&args);
    }
    background::start(arguments)?;
    match appearance::summary(&args) {
        Some(summary) => print(&format!("{}\n", printable(&summary))),
        None => Ok(()),
    }
}

/// Whether this very mount exists, as it does for the second of two `mount -a`.
fn is_there_already(args: &MountArgs) -> bool {
    // The daemon that a command waits for: the command has looked.
    if background::is_daemon() {
        return false;
    }
    let (Ok(status), Ok(source)) = (client::ask(&args.mountpoint), args.source.canonicalize())
    else {
        return false;
    };
    status.source == source.to_string_lossy() && status.options == args.named
}

fn serve_in_foreground(args: &MountArgs) -> Result<(), Failure> {
    let bars = MultiProgress::new();
    let output = match &args.log_file {
        Some(path) => Output::file(path)?,
        None => Output::Terminal(bars.clone()),
    };
    let reporting = Reporting {
        messages: logging::start(args.verbose, output),
        bars: Some(bars).filter(|_| io::stderr().is_terminal()),
    };
    serve(args, reporting, || {
        if let Some(summary) = appearance::summary(args) {
            info!("{summary}");
        }
        Ok(())
    })
}

fn serve_as_daemon(args: &MountArgs) -> Result<(), Failure> {
    let output = match &args.log_file {
        Some(path) => Output::file(path)?,
        None => Output::System,
    };
    let messages = logging::start(args.verbose, output);
    // Until the mount replies, the user waits for it at the terminal.
    messages.show(true);
    let reporting = Reporting {
        messages: messages.clone(),
        bars: None,
    };
    let null = background::open_null()?;
    let mut detached = false;
    let result = serve(args, reporting, || {
        messages.show(false);
        detached = true;
        background::detach(&null)
    });
    if let Err(failure) = &result
        && detached
    {
        // Standard error leads nowhere any more.
        log::error!("{}", failure.message);
    }
    result
}

fn serve(
    args: &MountArgs,
    reporting: Reporting,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), Failure> {
    background::prepare_process();
    if let Some(size) = args.view.min_size
        && let Some(warning) = vhd::size_warning(size)
    {
        warn!("--min-size {size}: {warning} [warning]");
    }
    let options = Options {
        access: match (args.allow_other, args.allow_root) {
            (true, _) => Access::Other,
            (false, true) => Access::Root,
            (false, false) => Access::Owner,
        },
        auto_unmount: args.auto_unmount,
        direct_io: args.direct_io,
        snapshot: match args.snapshot {
            Snapshot::Auto => Policy::Auto,
            Snapshot::Always => Policy::Always,
            Snapshot::Never => Policy::Never,
        },
        sandbox: match args.sandbox {
            cli::Sandbox::Auto => Sandbox::Auto,
            cli::Sandbox::Require => Sandbox::Require,
            cli::Sandbox::Off => Sandbox::Off,
        },
        snapshot_folder: args.snapshot_dir.clone(),
        gpt: args.view.gpt.into(),
        writers: args.writers.into(),
        threads: args.threads.into(),
        make_mountpoint: args.mkdir,
        named: args.named.clone(),
        kernel: kernel_options(&args.options),
    };
    let ownership = Ownership {
        uid: args.uid,
        gid: args.gid,
        file_mode: args.file_mode,
        dir_mode: args.dir_mode,
    };
    let request = Request {
        source: args.source.clone(),
        mountpoint: args.mountpoint.clone(),
        catalog: catalog::Options {
            cache_size: args.cache_size,
            ..catalog_options(&args.selection, &args.view, true)?
        },
        ownership,
        options,
    };
    appearance::check(args)?;
    Ok(daemon::serve(request, reporting, ready)?)
}
