//! The keeper: parent of every service, decides nothing.

use std::ffi::CString;
use std::path::PathBuf;

/// What the keeper process has to know. It reads no file and no environment.
pub struct Config {
    /// Program and arguments of the daemon. It finds its channel at descriptor [`CHANNEL`].
    pub daemon: Vec<CString>,
    /// State directory, must exist; locked as long as the keeper lives.
    pub state: PathBuf,
    /// The value of `NOTIFY_SOCKET`, if whoever started woodward wants to be told.
    pub notify: Option<String>,
}

/// Where the daemon finds its channel.
pub const CHANNEL: i32 = 3;

/// Runs the daemon and everything it asks for until it is told to end. Call it first thing in `main`, with one thread. Returns the
/// exit code; 75 if another keeper has the state directory (told on standard error) or services had to be stopped without the daemon.
pub fn run(config: Config) -> u8 {
    let _ = config;
    todo!()
}
