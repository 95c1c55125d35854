//! The other side: finds the daemons there are, asks them.
//!
//! A socket that is named settles it. Otherwise every socket in the caller's own directories and in
//! `/run/woodward` is asked for its trees; the PATH then picks the daemon. Everything blocks: a small runtime of one
//! thread drives the connections.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::message::{Daemon, Found, Problem};
use super::places::{self, Host};
use super::resolve;

/// A daemon that does not answer a question within this time is taken for hung.
const PATIENCE: Duration = Duration::from_secs(10);

/// Exit code: wrong use.
const USAGE: u8 = 64;
/// Exit code: no daemon reached.
const NO_DAEMON: u8 = 69;
/// Exit code: try again.
const TRY_AGAIN: u8 = 75;
/// Exit code: not permitted.
const NOT_PERMITTED: u8 = 77;

/// A daemon that answered.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where.
    pub socket: PathBuf,
    /// Who.
    pub daemon: Daemon,
}

/// All daemons that may be asked; at least one.
pub struct Client {
    runtime: Runtime,
    endpoints: Vec<Endpoint>,
}

impl Client {
    /// Looks for daemons. `socket`: that one only.
    pub fn find(socket: Option<&Path>, host: &Host) -> Result<Client, Problem> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Problem::new(1, format!("cannot ask a daemon: {error}")))?;
        let endpoints = match socket {
            Some(socket) => vec![runtime.block_on(meet(socket)).map_err(|miss| miss.problem(socket))?],
            None => runtime.block_on(look_around(host))?,
        };
        Ok(Client { runtime, endpoints })
    }

    /// The daemons found, in order of their sockets' names.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The one daemon and full path that `asked` means.
    pub fn locate(&self, asked: &str) -> Result<(&Endpoint, String), Problem> {
        let mut all = Vec::new();
        let mut nearest = None;
        for endpoint in &self.endpoints {
            let found: Found = self.get(endpoint, &format!("/v1/find?path={}", encode(asked)))?;
            nearest = nearest.or(found.nearest);
            all.extend(found.paths.into_iter().map(|path| (endpoint, path)));
        }
        // A full path is meant, whatever else ends like it elsewhere.
        if let Some(at) = all.iter().position(|(_, path)| path == asked.trim_matches('/')) {
            return Ok(all.swap_remove(at));
        }
        match all.len() {
            1 => Ok(all.swap_remove(0)),
            0 => {
                let problem = Problem::new(USAGE, format!("cannot find {asked}: no such path"));
                Err(match nearest {
                    Some(path) => problem.hint(format!("did you mean {path}?")),
                    None => problem.hint("woodward status shows all paths"),
                })
            }
            _ => {
                let paths: Vec<String> = all.into_iter().map(|(_, path)| path).collect();
                let error = format!("cannot tell which {asked} is meant:{}", resolve::listed(&paths));
                Err(Problem { paths, ..Problem::new(USAGE, error).hint("write more of the path") })
            }
        }
    }

    /// Asks one daemon one question.
    pub fn get<T: DeserializeOwned>(&self, endpoint: &Endpoint, uri: &str) -> Result<T, Problem> {
        let answer = get(Method::GET, &endpoint.socket, uri);
        self.runtime.block_on(answer).map_err(|miss| miss.problem(&endpoint.socket))
    }

    /// Asks one daemon for one thing to be done, which it does at once.
    pub fn post<T: DeserializeOwned>(&self, endpoint: &Endpoint, uri: &str) -> Result<T, Problem> {
        let answer = get(Method::POST, &endpoint.socket, uri);
        self.runtime.block_on(answer).map_err(|miss| miss.problem(&endpoint.socket))
    }

    /// Reads answers of JSON lines, of several daemons at once, until all have ended or `line` gives an error.
    pub fn stream(
        &self,
        method: &Method,
        questions: Vec<(&Endpoint, String)>,
        mut line: impl FnMut(&str) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        self.runtime.block_on(async {
            let (sender, mut receiver) = mpsc::channel(64);
            for (endpoint, uri) in questions {
                let (sender, method, socket) = (sender.clone(), method.clone(), endpoint.socket.clone());
                tokio::spawn(async move {
                    if let Err(miss) = stream(method, &socket, &uri, &sender).await {
                        // The receiver ends with the first error it gets.
                        let _ = sender.send(Err(miss.problem(&socket))).await;
                    }
                });
            }
            drop(sender);
            while let Some(item) = receiver.recv().await {
                line(&item?)?;
            }
            Ok(())
        })
    }

    /// Waits, for those who ask again.
    pub fn pause(time: Duration) {
        if let Ok(runtime) = Builder::new_current_thread().enable_time().build() {
            runtime.block_on(async { tokio::time::sleep(time).await });
        }
    }
}

/// `text` as part of an address: everything but the letters of paths is escaped.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' | b':' | b'@' | b',' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Why a question got no answer.
enum Miss {
    Connect(std::io::Error),
    Silent,
    Broken(String),
    Refused(Problem),
}

impl Miss {
    fn problem(self, socket: &Path) -> Problem {
        let socket = socket.display();
        match self {
            Miss::Refused(problem) => problem,
            Miss::Connect(error) if error.kind() == ErrorKind::PermissionDenied => Problem::new(
                NOT_PERMITTED,
                format!("cannot ask the daemon at {socket}: it is another user's"),
            )
            .hint("ask as its user, or as root"),
            Miss::Connect(error) => {
                let why = match error.kind() {
                    ErrorKind::NotFound => "no such socket".to_owned(),
                    ErrorKind::ConnectionRefused => "nobody listens there any more".to_owned(),
                    _ => error.to_string(),
                };
                Problem::new(NO_DAEMON, format!("cannot reach a daemon at {socket}: {why}"))
                    .hint("woodward run FILE, or another --socket")
            }
            Miss::Silent => {
                let time = humantime::format_duration(PATIENCE);
                Problem::new(TRY_AGAIN, format!("cannot hear from the daemon at {socket}: silent for {time}"))
            }
            Miss::Broken(why) => {
                Problem::new(TRY_AGAIN, format!("cannot understand the daemon at {socket}: {why}"))
            }
        }
    }
}

/// Asks every socket for its trees.
async fn look_around(host: &Host) -> Result<Vec<Endpoint>, Problem> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    let mut others = Vec::new();
    let mut silent = None;
    for socket in host.searched().iter().flat_map(|dir| places::sockets(dir)) {
        match meet(&socket).await {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(Miss::Connect(error)) if error.kind() == ErrorKind::PermissionDenied => others.push(socket),
            Err(Miss::Connect(_)) => {}
            Err(miss) => silent = Some(miss.problem(&socket)),
        }
    }
    for (at, one) in endpoints.iter().enumerate() {
        for other in &endpoints[at + 1..] {
            if let Some(id) = one.daemon.trees.iter().find(|id| other.daemon.trees.contains(id)) {
                let (one, other) = (one.socket.display(), other.socket.display());
                let error = format!("cannot tell which {id} is meant: {one} and {other} both have one");
                return Err(Problem::new(USAGE, error).hint("--socket PATH, or WOODWARD_SOCKET"));
            }
        }
    }
    if !endpoints.is_empty() {
        return Ok(endpoints);
    }
    if let Some(problem) = silent {
        return Err(problem);
    }
    let looked: Vec<String> = host.searched().iter().map(|dir| dir.display().to_string()).collect();
    let error = format!("cannot reach a daemon: no woodward runs here (looked in {})", looked.join(", "));
    Err(Problem::new(NO_DAEMON, error).hint(match others.first() {
        Some(socket) => format!("{} is another user's: ask as its user, or as root", socket.display()),
        None => "woodward run FILE, or --socket PATH if its socket is elsewhere".to_owned(),
    }))
}

async fn meet(socket: &Path) -> Result<Endpoint, Miss> {
    Ok(Endpoint { socket: socket.to_owned(), daemon: get(Method::GET, socket, "/v1").await? })
}

async fn get<T: DeserializeOwned>(method: Method, socket: &Path, uri: &str) -> Result<T, Miss> {
    let answer = async {
        let response = send(method, socket, uri).await?;
        let body = response.into_body().collect().await.map_err(|error| Miss::Broken(error.to_string()))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| Miss::Broken(error.to_string()))
    };
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or(Err(Miss::Silent))
}

async fn stream(
    method: Method,
    socket: &Path,
    uri: &str,
    lines: &mpsc::Sender<Result<String, Problem>>,
) -> Result<(), Miss> {
    let mut body = send(method, socket, uri).await?.into_body();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Miss::Broken("it ended in the middle of an answer".to_owned()))?;
        let Ok(data) = frame.into_data() else { continue };
        rest.extend_from_slice(&data);
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else { continue };
        let tail = rest.split_off(end + 1);
        for line in String::from_utf8_lossy(&rest).lines() {
            if lines.send(Ok(line.to_owned())).await.is_err() {
                return Ok(());
            }
        }
        rest = tail;
    }
    Ok(())
}

/// One request on a connection of its own; an answer that is no success becomes its [`Problem`].
async fn send(method: Method, socket: &Path, uri: &str) -> Result<Response<Incoming>, Miss> {
    let stream = UnixStream::connect(socket).await.map_err(Miss::Connect)?;
    let broken = |error: hyper::Error| Miss::Broken(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(hyper::header::HOST, "w")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Miss::Broken(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
    Err(match serde_json::from_slice(&body) {
        Ok(problem) => Miss::Refused(problem),
        Err(_) => Miss::Broken(format!("it answered {status}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_surprises() {
        assert_eq!(encode("acs/bl:MOUNT"), "acs/bl:MOUNT");
        assert_eq!(encode("pool/w#1"), "pool/w%231");
        assert_eq!(encode("a b&c=ä"), "a%20b%26c%3D%C3%A4");
    }
}
