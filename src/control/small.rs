//! The socket of the small build: the questions of health checks, answered without an HTTP library. Whoever asks in
//! HTTP/1 gets the same JSON as from the full build; everything else is refused with a reason.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1` | the daemon |
//! | `GET /v1/status`, `/v1/status/PATH` | array of rows |
//! | `GET /v1/up?path=` | whether all is up, and who is not |

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::unistd::{Gid, geteuid};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::bind::Unlink;
use super::message::{Daemon, Problem, Up};
use super::resolve;
use super::upgrade::Upgrades;
use crate::record::words::is_within;
use crate::runtime::Handle;
use crate::runtime::view::{Row, State};
use crate::settings::Said;

/// A daemon that does not answer within this time is taken for hung; who does not ask is hung up on.
const PATIENCE: Duration = Duration::from_secs(10);
/// A question is not longer.
const LONGEST: usize = 8 * 1024;
/// After a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// What a daemon is told about its socket.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// Whose members are let in, besides the daemon's user and root.
    pub group: Option<Gid>,
    /// What this daemon goes by; not told in this build.
    pub settings: Vec<Said>,
    /// Where wishes for another program would go; there are none in this build.
    pub upgrades: Option<Upgrades>,
}

/// Answers on `listener` until dropped; the socket file is removed then.
pub async fn serve(handle: Handle, listener: UnixListener, door: Door) -> io::Result<()> {
    let _unlink = Unlink::of(&listener);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (handle, group) = (handle.clone(), door.group);
        // Whoever goes away in the middle of it has no answer.
        tokio::spawn(tokio::time::timeout(PATIENCE, async move {
            let _ = converse(&handle, stream, group).await;
        }));
    }
}

async fn converse(handle: &Handle, mut stream: tokio::net::UnixStream, group: Option<Gid>) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let mut asked = Vec::new();
    while !asked.windows(4).any(|end| end == b"\r\n\r\n") && asked.len() < LONGEST {
        if stream.read_buf(&mut asked).await? == 0 {
            break;
        }
    }
    let own = geteuid().as_raw();
    let may = peer.uid() == own || peer.uid() == 0 || group.is_some_and(|group| group.as_raw() == peer.gid());
    let (status, body) = if may {
        answer(handle, &String::from_utf8_lossy(&asked))
    } else {
        let error = format!("cannot let uid {} in: this daemon belongs to another user", peer.uid());
        refuse(403, Problem::new(77, error).hint("ask as its user, or as root"))
    };
    let head = format!(
        "HTTP/1.1 {status} woodward\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await
}

/// Status and body for a request.
fn answer(handle: &Handle, request: &str) -> (u16, Vec<u8>) {
    let mut words = request.split_ascii_whitespace();
    let (method, address) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (place, query) = address.split_once('?').unwrap_or((address, ""));
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("path=")).unwrap_or_default();
    let view = handle.view();
    let within = |asked: &str| {
        let asked = decode(asked);
        let paths: Vec<&str> = resolve::candidates(&asked, view.rows().map(|row| row.path.as_str()));
        match (asked.is_empty(), paths.as_slice()) {
            (true, _) => Ok(String::new()),
            (false, [path]) => Ok((*path).to_owned()),
            (false, []) => Err(Problem::new(64, format!("cannot find {asked}: no such path"))),
            (false, _) => {
                let listed = paths.join(", ");
                Err(Problem::new(64, format!("cannot tell which {asked} is meant: {listed}")))
            }
        }
    };
    match (method, place) {
        ("GET", "/v1") => told(&Daemon {
            woodward: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            host: nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned(),
            started: view.started.clone(),
            trees: handle.plans().iter().map(|plan| plan.name().to_owned()).collect(),
            dropped: 0,
        }),
        ("GET", "/v1/up") => match within(asked) {
            Ok(top) => {
                let rows = view.rows().filter(|row| is_within(&row.path, &top));
                let missing = rows.filter(|row| !matches!(row.state, State::Up | State::Done));
                let missing: Vec<String> = missing.map(|row| row.path.clone()).collect();
                told(&Up { up: missing.is_empty(), missing })
            }
            Err(problem) => refuse(400, problem),
        },
        ("GET", place) if place == "/v1/status" || place.starts_with("/v1/status/") => {
            let asked = place["/v1/status".len()..].trim_start_matches('/');
            match within(asked) {
                Ok(top) => {
                    let rows: Vec<&Row> = view.rows().filter(|row| is_within(&row.path, &top)).collect();
                    told(&rows)
                }
                Err(problem) => refuse(400, problem),
            }
        }
        _ => {
            let error = format!("cannot answer {method} {place}: this is the small build of woodward");
            refuse(422, Problem::new(1, error).hint("it answers /v1, /v1/status and /v1/up"))
        }
    }
}

fn told<T: Serialize>(body: &T) -> (u16, Vec<u8>) {
    let mut text = serde_json::to_vec(body).unwrap_or_default();
    text.push(b'\n');
    (200, text)
}

fn refuse(status: u16, problem: Problem) -> (u16, Vec<u8>) {
    (status, told(&problem).1)
}

/// Takes `%2F` and the like back.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let escaped = match (first, more) {
            (b'%', [high, low, ..]) => {
                let digits = [*high, *low];
                std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok())
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &more[2..] } else { more };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Asks the daemon at `socket` one question; the body of its answer, a refusal as [`Problem`].
pub fn get(socket: &Path, address: &str) -> Result<Vec<u8>, Problem> {
    let at = socket.display();
    let cannot = |e: io::Error| Problem::new(69, format!("cannot reach a daemon at {at}: {e}"));
    let mut stream = UnixStream::connect(socket).map_err(cannot)?;
    let answer = (|| {
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {address} HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        io::Result::Ok(answer)
    })();
    let answer = answer.map_err(|e| Problem::new(75, format!("cannot hear from the daemon at {at}: {e}")))?;
    let broken = || Problem::new(75, format!("cannot understand the daemon at {at}"));
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n").ok_or_else(broken)?;
    let body = &answer[end + 4..];
    if answer.starts_with(b"HTTP/1.1 200 ") {
        return Ok(body.to_vec());
    }
    Err(serde_json::from_slice(body).unwrap_or_else(|_| broken()))
}
