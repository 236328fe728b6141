//! The `vhdfs` command.

use std::process::ExitCode;

use sys::memory::{Allocator, share_heaps};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    share_heaps();
    vhdfs::commands::run(std::env::args_os().collect())
}
