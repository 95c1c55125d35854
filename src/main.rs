//! The program: everything is in the library.

use std::process::ExitCode;

woodward_keeper::first_instructions!();

fn main() -> ExitCode {
    woodward::cli::main()
}
