//! Somebody accepts a connection, or writes a newline.

use std::path::Path;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};

use super::NotReady;

/// A TCP connection to `host:port` is accepted.
pub(crate) async fn tcp(address: &str) -> Result<(), NotReady> {
    connect(address).await.map(drop).map_err(|e| NotReady::because(address, &e))
}

/// A connection to `host:port`, the host by name or number.
#[cfg(feature = "full")]
pub(super) async fn connect(address: &str) -> std::io::Result<TcpStream> {
    TcpStream::connect(address).await
}

/// A connection to `host:port`. The small build is static, without a name service: names are those of `/etc/hosts`.
#[cfg(not(feature = "full"))]
pub(super) async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let hosts = || std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    match address.parse().ok().or_else(|| named(address, &hosts())) {
        Some(address) => TcpStream::connect::<std::net::SocketAddr>(address).await,
        None => Err(std::io::Error::other("not a number, and no such name in /etc/hosts (small build)")),
    }
}

/// The address of `name:port` by the lines of hosts(5).
#[cfg(any(not(feature = "full"), test))]
fn named(address: &str, hosts: &str) -> Option<std::net::SocketAddr> {
    let (name, port) = address.rsplit_once(':')?;
    let found = hosts.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let number: std::net::IpAddr = words.next()?.parse().ok()?;
        words.any(|word| word == name).then_some(number)
    });
    let local = (name == "localhost").then_some(std::net::Ipv4Addr::LOCALHOST.into());
    Some((found.or(local)?, port.parse().ok()?).into())
}

/// A connection to this unix socket is accepted.
pub(crate) async fn unix(path: &Path) -> Result<(), NotReady> {
    UnixStream::connect(path).await.map(drop).map_err(|e| NotReady::because(path.display(), &e))
}

/// Resolves at the first newline; never if the other side closes without one.
pub(crate) async fn newline(mut from: impl tokio::io::AsyncRead + Unpin) {
    let mut buffer = [0; 256];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return std::future::pending().await,
            Ok(n) if buffer[..n].contains(&b'\n') => return,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, UnixListener};

    #[test]
    fn names_are_found_in_the_file_of_hosts() {
        let hosts = "# 10.0.0.1 web\n127.0.0.1 localhost\n10.0.0.2 db database # the big one\n";
        assert_eq!(named("database:5432", hosts), Some(([10, 0, 0, 2], 5432).into()));
        assert_eq!(named("localhost:1", ""), Some(([127, 0, 0, 1], 1).into()));
        assert_eq!(named("web:80", hosts), None);
        assert_eq!(named("db", hosts), None);
    }

    #[tokio::test]
    async fn tcp_is_ready_while_somebody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(tcp(&address).await, Ok(()));
        drop(listener);
        assert_eq!(tcp(&address).await, Err(NotReady(format!("{address}: connection refused"))));
    }

    #[tokio::test]
    async fn unix_is_ready_while_somebody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        assert_eq!(unix(&path).await, Err(NotReady(format!("{}: not there", path.display()))));
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(unix(&path).await, Ok(()));
        drop(listener);
        assert_eq!(unix(&path).await, Err(NotReady(format!("{}: connection refused", path.display()))));
    }

    #[tokio::test]
    async fn a_descriptor_is_ready_at_the_first_newline_and_not_before() {
        let (reader, mut writer) = tokio::io::duplex(64);
        let ready = tokio::spawn(newline(reader));
        writer.write_all(b"starting").await.unwrap();
        tokio::task::yield_now().await;
        assert!(!ready.is_finished());
        writer.write_all(b" up\n").await.unwrap();
        ready.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_descriptor_closed_without_a_newline_is_never_ready() {
        let (reader, writer) = tokio::io::duplex(64);
        drop(writer);
        let minute = std::time::Duration::from_secs(60);
        assert!(tokio::time::timeout(minute, newline(reader)).await.is_err());
    }
}
