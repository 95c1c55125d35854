//! HTTP/1.1 for those who ask others: one question after the other on a connection, plain or TLS.
//!
//! No pool, no redirects, no proxy, no retry: whoever asks knows best whether it may ask twice. A question that was
//! certainly not sent is told apart from one that nobody knows about.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::tls::Tls;

/// No answer that makes sense is longer, in bytes; one that is, is cut off.
const LONGEST: usize = 64 << 20;

/// Where a server is: `http://host:port/path` taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// By TLS.
    pub secure: bool,
    /// Name or number of the host; an IPv6 number without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path with query; `/` if there is none.
    pub path: String,
}

impl Place {
    /// Reads `http://host[:port][/path]`, `https://...`; without a scheme it is plain. What is missing of the port is
    /// `port`, or, if that is `None`, the scheme's. Else what is wrong with it.
    pub fn read(text: &str, port: Option<u16>) -> Result<Place, String> {
        let (secure, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme, _)) => return Err(format!("{scheme}:// is neither http:// nor https://")),
            None => (false, text),
        };
        let (host, path) = match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('/') => (&rest[..at], rest[at..].to_owned()),
            Some(at) => (&rest[..at], format!("/{}", &rest[at..])),
            None => (rest, "/".to_owned()),
        };
        if host.contains('@') {
            return Err("user and password have settings of their own".to_owned());
        }
        let (host, given) = match host.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or("a bracket is not closed")?;
                (
                    host,
                    if rest.is_empty() {
                        None
                    } else {
                        Some(rest.strip_prefix(':').ok_or("no port follows ]")?)
                    },
                )
            }
            None => match host.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (host, None),
            },
        };
        let port = match given {
            Some(given) => {
                given.parse().ok().filter(|port| *port > 0).ok_or(format!("{given} is no port"))?
            }
            None => port.unwrap_or(if secure { 443 } else { 80 }),
        };
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if host.is_empty() || host.contains(odd) || path.contains(odd) {
            return Err("no host is named".to_owned());
        }
        Ok(Place { secure, host: host.to_owned(), port, path })
    }
}

impl fmt::Display for Place {
    /// Without its path, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// Why a question got no answer.
#[derive(Debug)]
pub struct Miss {
    /// It may have reached the other side. `false`: certainly not.
    pub sent: bool,
    /// What happened.
    pub why: String,
}

/// A connection. It is closed when it is dropped, whatever was being asked.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connection {
    /// Connects. `tls` is needed for a place that is `secure`.
    pub async fn to(place: &Place, address: SocketAddr, tls: Option<&Tls>) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match (place.secure, tls) {
            (false, _) => Box::new(stream),
            (true, Some(tls)) => Box::new(tls.connect(&place.host, stream).await?),
            (true, None) => return Err(io::Error::other("no TLS is set up for it")),
        };
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            // Whoever asks is told of every error.
            let _ = connection.await;
        });
        Ok(Connection { sender, driver })
    }

    /// Whether another question may be sent, as far as is known.
    pub fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Waits until another question may be sent; `false`: none ever will.
    pub async fn ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Sends a question in JSON; returns with the head of the answer.
    pub async fn post(
        &mut self,
        place: &Place,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, Miss> {
        let unsent = |why: String| Miss { sent: false, why };
        let host = match place.host.contains(':') {
            true => format!("[{}]:{}", place.host, place.port),
            false => format!("{}:{}", place.host, place.port),
        };
        let mut request =
            Request::post(path).header(header::HOST, host).header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|error| unsent(error.to_string()))?;
        self.sender.ready().await.map_err(|error| unsent(error.to_string()))?;
        self.sender.try_send_request(request).await.map_err(|mut failed| Miss {
            sent: failed.take_message().is_none(),
            why: spelled_out(&failed.into_error()),
        })
    }
}

/// All of an answer.
pub async fn whole(body: Incoming) -> Result<Bytes, String> {
    let body = Limited::new(body, LONGEST).collect().await.map_err(|error| error.to_string())?;
    Ok(body.to_bytes())
}

/// An error with its causes.
fn spelled_out(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_or_said_to_be_wrong() {
        let place = |secure, host: &str, port, path: &str| {
            Ok(Place { secure, host: host.to_owned(), port, path: path.to_owned() })
        };
        let etcd = Some(2379);
        assert_eq!(Place::read("h1", etcd), place(false, "h1", 2379, "/"));
        assert_eq!(Place::read("https://h1.example/", etcd), place(true, "h1.example", 2379, "/"));
        assert_eq!(Place::read("http://10.0.0.1:1/", etcd), place(false, "10.0.0.1", 1, "/"));
        assert_eq!(Place::read("https://[::1]:7/a?b=c", None), place(true, "::1", 7, "/a?b=c"));
        assert_eq!(Place::read("[fe80::1]", etcd), place(false, "fe80::1", 2379, "/"));
        assert_eq!(Place::read("https://h?x", None), place(true, "h", 443, "/?x"));
        for wrong in
            ["", "http://", "ftp://h", "h:0", "h:x", "h:99999", "[::1", "[::1]x", "u:p@h", "a b", "http:///x"]
        {
            assert!(Place::read(wrong, etcd).is_err(), "{wrong}");
        }
    }
}
