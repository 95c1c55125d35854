//! An HTTP GET is answered. A tiny client of its own: one request, one status line, `http` only.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{NotReady, net};

/// Longest status line that is read.
const STATUS_LINE: u64 = 1024;

/// A GET of `url` answers 2xx or 3xx, or exactly `status` if that is given.
pub(crate) async fn http(url: &str, status: Option<u16>) -> Result<(), NotReady> {
    let Some((address, host, path)) = split(url) else {
        return Err(NotReady(format!("{url}: not an http:// URL")));
    };
    let got = get(&address, host, path).await.map_err(|e| NotReady::because(url, &e))?;
    let wanted = match status {
        Some(status) => got == status,
        None => (200..400).contains(&got),
    };
    if wanted { Ok(()) } else { Err(NotReady(format!("{url}: status {got}"))) }
}

/// `http://host[:port][/path]` as the address to connect to, the `Host` header and the path.
fn split(url: &str) -> Option<(String, &str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let has_port = host.rsplit(']').next().is_some_and(|tail| tail.contains(':'));
    let address = if has_port { host.to_owned() } else { format!("{host}:80") };
    (!host.is_empty()).then_some((address, host, path))
}

async fn get(address: &str, host: &str, path: &str) -> std::io::Result<u16> {
    let mut stream = net::connect(address).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: woodward\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    let mut answer = stream.take(STATUS_LINE);
    while !head.contains(&b'\n') {
        if answer.read_buf(&mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let line = String::from_utf8_lossy(&head);
    let status = line.strip_prefix("HTTP/1.").and_then(|l| l.split_ascii_whitespace().nth(1)?.parse().ok());
    status.ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn check(answer: &'static str, wanted: Option<u16>, expected: Result<(), &str>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/healthz", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let n = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..n]).into_owned()
        });
        let outcome = http(&url, wanted).await;
        assert_eq!(outcome, expected.map_err(|why| NotReady(format!("{url}: {why}"))));
        assert!(server.await.unwrap().starts_with("GET /healthz HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn http_is_ready_at_2xx_and_3xx_or_at_the_status_wanted() {
        check("HTTP/1.1 200 OK\r\n\r\n", None, Ok(())).await;
        check("HTTP/1.0 302 Found\r\n\r\n", None, Ok(())).await;
        check("HTTP/1.1 503 Busy\r\n\r\n", None, Err("status 503")).await;
        check("HTTP/1.1 401 No\r\n\r\n", Some(401), Ok(())).await;
        check("HTTP/1.1 200 OK\r\n\r\n", Some(204), Err("status 200")).await;
        check("SSH-2.0-x\r\n", None, Err("the answer is not HTTP")).await;
        check("", None, Err("closed without an answer")).await;
    }

    #[test]
    fn a_url_without_port_means_80_and_without_path_the_root() {
        let check = |url, expected: Option<(&str, &str, &str)>| {
            assert_eq!(split(url), expected.map(|(a, h, p)| (a.to_owned(), h, p)), "{url}");
        };
        check("http://a", Some(("a:80", "a", "/")));
        check("http://a:81/b?c", Some(("a:81", "a:81", "/b?c")));
        check("http://[::1]/x", Some(("[::1]:80", "[::1]", "/x")));
        check("http://[::1]:8080", Some(("[::1]:8080", "[::1]:8080", "/")));
        check("https://a", None);
        check("http:///x", None);
    }
}
