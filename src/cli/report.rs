//! How a verb ends: exit codes with a meaning, and failures a person can act on.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Exit codes (`sysexits.h` where it has one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 0: done.
    Done,
    /// 1: the action failed, or not everything is up; `run`: the root gave up.
    Failed,
    /// 2: `cluster audit`: nothing is wrong, and not all of it is proved.
    Unproved,
    /// 64: wrong use.
    Usage,
    /// 69: no daemon reached.
    NoDaemon,
    /// 75: busy or already running, try again.
    TryAgain,
    /// 77: not permitted.
    NotPermitted,
    /// 78: an error in a tree file or a setting.
    Config,
}

impl Code {
    /// The number.
    pub fn number(self) -> u8 {
        match self {
            Code::Done => 0,
            Code::Failed => 1,
            Code::Unproved => 2,
            Code::Usage => 64,
            Code::NoDaemon => 69,
            Code::TryAgain => 75,
            Code::NotPermitted => 77,
            Code::Config => 78,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code.number())
    }
}

/// A verb that did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// `cannot …: …`; may have several lines.
    pub message: String,
    /// What a person can do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), hint: None }
    }

    /// Wrong use.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Code::Usage, message)
    }

    /// With a remedy.
    pub fn hint(self, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..self }
    }

    /// Says it on standard error and gives the exit code.
    pub fn report(&self) -> ExitCode {
        eprintln!("{self}");
        self.code.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// Ends a verb: its own code, or the failure said.
pub fn end(outcome: Result<Code, Failure>) -> ExitCode {
    match outcome {
        Ok(code) => code.into(),
        Err(failure) => failure.report(),
    }
}

/// Writes to standard output. A reader that went away (`| head`) ends the program calmly, as it does every tool.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        let code = if error.kind() == ErrorKind::BrokenPipe { Code::Done } else { Code::Failed };
        if code == Code::Failed {
            eprintln!("cannot write to standard output: {error}");
        }
        std::process::exit(code.number().into());
    }
}
