//! The program `aquifer`: the engine from a command line.
//!
//! Knows the engine by its door only: `aquifer_node::store` and the error.

mod command;

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(command::run(std::env::args_os()))
}
