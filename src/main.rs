//! The `vhdfs` command.

fn main() {}
