//! The `vhdfs` command.

use std::process::ExitCode;

use sys::memory::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    vhdfs::commands::run(std::env::args_os().collect())
}
