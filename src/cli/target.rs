//! Which daemon a verb talks to.

use std::path::PathBuf;

use super::report::{Code, Failure};
use crate::control::client::Client;
use crate::control::message::Problem;
use crate::control::places::Host;
use crate::settings::{self, Settings};

/// The choice every verb has that talks to a daemon.
#[derive(clap::Args)]
pub struct Target {
    /// Socket of the daemon [default: all there are]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Target {
    /// The daemons there are; at least one.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(Client::find(self.socket().as_deref(), &host())?)
    }

    /// Whether one daemon was named, by its socket.
    pub fn is_settled(&self) -> bool {
        self.socket().is_some()
    }

    fn socket(&self) -> Option<PathBuf> {
        let given = || std::env::var_os("WOODWARD_SOCKET").filter(|value| !value.is_empty());
        self.socket.clone().or_else(|| given().map(PathBuf::from))
    }
}

/// Where this user's daemons are. Settings that cannot be read keep nobody from looking: then the defaults hold.
pub fn host() -> Host {
    let settings = settings::load(&[]).map_or_else(
        |refused| {
            eprintln!("{refused}\nwarning: looking in the default places: settings cannot be read");
            Settings::default()
        },
        |loaded| loaded.settings,
    );
    Host::here(&settings)
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        let code = match problem.code {
            64 => Code::Usage,
            69 => Code::NoDaemon,
            75 => Code::TryAgain,
            77 => Code::NotPermitted,
            78 => Code::Config,
            _ => Code::Failed,
        };
        Failure { code, message: problem.error, hint: problem.hint }
    }
}

/// JSON from a daemon that cannot be read: another version, or no woodward at all.
pub fn misread(error: &serde_json::Error) -> Problem {
    Problem::new(75, format!("cannot understand the daemon: {error}"))
}
