//! The program `aquifer` as a process: built once, run with arguments, fed, listened to, killed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use super::forbidden;

/// Where build products of this profile lie: above the folder of this test.
fn products() -> PathBuf {
    let this = std::env::current_exe().expect("a running binary");
    this.ancestors().nth(2).expect("target/PROFILE/deps/it").to_path_buf()
}

/// The program and the examples, built. `cargo test` builds a program only for the tests of its own package.
fn build() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let products = products();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        cargo.args(["build", "--quiet", "--bin", "aquifer", "--examples", "--target-dir"]).arg(products.parent().expect("target/PROFILE"));
        cargo.args((!cfg!(debug_assertions)).then_some("--release"));
        assert!(cargo.status().expect("cargo").success(), "the program is built");
        products
    })
}

/// The program.
pub(crate) fn path() -> PathBuf {
    build().join("aquifer")
}

/// An example of the engine.
pub(crate) fn example(name: &str) -> Command {
    Command::new(build().join("examples").join(name))
}

/// How the program gets at the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// As it chooses.
    Free,
    /// With `--io threads`.
    Threads,
    /// Where the system forbids io_uring.
    Forbidden,
}

/// All of them.
pub(crate) const GROUNDS: [Ground; 3] = [Ground::Free, Ground::Threads, Ground::Forbidden];

/// A directory for the program, and how it runs there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) ground: Ground,
}

impl<'a> Place<'a> {
    /// The store `dir`, on free ground.
    pub(crate) fn new(dir: &'a Path) -> Self {
        Place { dir, ground: Ground::Free }
    }

    /// A command line; arguments are separated by blanks.
    pub(crate) fn command(&self, line: &str) -> Command {
        self.command_of(line.split_whitespace())
    }

    /// A command line of arguments that may hold blanks.
    pub(crate) fn command_of<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(path());
        // Nothing of the caller's environment decides.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AQUIFER") {
                command.env_remove(name);
            }
        }
        command.arg("--dir").arg(self.dir).args(arguments).current_dir(self.dir.parent().expect("a parent"));
        match self.ground {
            Ground::Free => {}
            Ground::Threads => drop(command.args(["--io", "threads"])),
            Ground::Forbidden => forbidden::forbid_io_uring(&mut command),
        }
        command
    }

    /// Runs a command line to its end.
    pub(crate) fn run(&self, line: &str) -> Output {
        self.command(line).stdin(Stdio::null()).output().expect("the program runs")
    }

    /// Runs a command line that must end well; what it printed.
    pub(crate) fn done(&self, line: &str) -> String {
        text_of(self.run(line), line)
    }

    /// As [`Place::done`], with arguments that may hold blanks.
    pub(crate) fn done_of(&self, arguments: &[&str]) -> String {
        text_of(self.command_of(arguments).stdin(Stdio::null()).output().expect("the program runs"), &arguments.join(" "))
    }

    /// Runs a command line that must end with `code`; the error line.
    pub(crate) fn fails(&self, code: i32, line: &str) -> String {
        let output = self.run(line);
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(code), "{line}: {error}");
        error
    }

    /// Runs a command line with `input`.
    pub(crate) fn feed(&self, line: &str, input: &[u8]) -> Output {
        let mut child = self.command(line).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        // It may end before it has read everything.
        let _ = child.stdin.take().expect("piped").write_all(input);
        child.wait_with_output().expect("it ends")
    }

    /// Starts a command line, to be fed and listened to.
    pub(crate) fn start(&self, line: &str) -> Running {
        Running::of(self.command(line))
    }
}

fn text_of(output: Output, line: &str) -> String {
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A line that was printed, and when it was seen.
pub(crate) type Line = (Instant, String);

/// A running program. Killed when it is dropped.
pub(crate) struct Running {
    process: Child,
    /// Where it reads from.
    pub(crate) input: Option<ChildStdin>,
    /// What it prints, line by line; ends with it.
    pub(crate) lines: Receiver<Line>,
    errors: Option<JoinHandle<String>>,
}

impl Running {
    pub(crate) fn of(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let (sender, lines) = channel();
        let output = BufReader::new(process.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8(line).expect("text");
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        let mut stderr = process.stderr.take().expect("piped");
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Running { input: process.stdin.take(), process, lines, errors: Some(errors) }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next line, which must come.
    pub(crate) fn line(&self) -> Line {
        self.lines.recv_timeout(super::rows::PATIENCE).expect("a line")
    }

    /// Sends it a signal by name, as `kill` does.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(status.expect("kill").success());
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it ends");
    }

    /// Waits for its end; the exit code and what it said on stderr.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        let code = self.process.wait().expect("it ends").code();
        (code, self.errors.take().expect("asked once").join().expect("a reader"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
