//! Any `-o` options are taken or refused with a message, and never both or neither.
#![no_main]

use std::ffi::OsString;

use clap::Parser;
use libfuzzer_sys::fuzz_target;
use vhdfs::cli::{Cli, Command, kernel_options};

fuzz_target!(|options: &str| {
    let arguments = ["vhdfs", "mount", "-o", options, "source", "mountpoint"];
    let arguments: Vec<OsString> = arguments.map(OsString::from).to_vec();
    let Ok(cli) = Cli::try_parse_from(&arguments) else {
        return;
    };
    let Command::Mount(args) = cli.command else {
        panic!("another command");
    };
    match args.with_options_applied(arguments) {
        Ok(args) => {
            assert!(args.threads >= 2 && args.threads <= 64);
            assert_eq!(args.source.to_str(), Some("source"));
            assert_eq!(args.mountpoint.to_str(), Some("mountpoint"));
            kernel_options(&args.options);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
