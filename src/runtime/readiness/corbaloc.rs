//! A CORBA object is there. One GIOP 1.0 LocateRequest, the cheapest question any ORB answers without calling the
//! object: *here* and *elsewhere* (a forward) are ready, *unknown object* is not.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{NotReady, net};

/// Kinds of GIOP messages.
const LOCATE_REQUEST: u8 = 3;
const LOCATE_REPLY: u8 = 4;
/// Answers to a LocateRequest.
const UNKNOWN_OBJECT: u32 = 0;
const OBJECT_HERE: u32 = 1;
const OBJECT_FORWARD: u32 = 2;
/// Longest answer that is read, in bytes.
const ANSWER: usize = 64 << 10;

/// The object of a `corbaloc:` reference can be located. Of several addresses one suffices.
pub(crate) async fn corbaloc(reference: &str) -> Result<(), NotReady> {
    let Some((addresses, key)) = parse(reference) else {
        return Err(NotReady(format!("{reference}: not a corbaloc reference with an address")));
    };
    let mut why = NotReady(format!("{reference}: no address"));
    for address in &addresses {
        match locate(address, &key).await {
            Ok(OBJECT_HERE | OBJECT_FORWARD) => return Ok(()),
            Ok(UNKNOWN_OBJECT) => why = NotReady(format!("{reference}: unknown object")),
            Ok(status) => why = NotReady(format!("{reference}: locate status {status}")),
            Err(e) => why = NotReady::because(reference, &e),
        }
    }
    Err(why)
}

/// `corbaloc:[iiop]:[major.minor@]host[:port][,…]/key`; the port is 2809 if not given, the key may have `%` escapes.
fn parse(reference: &str) -> Option<(Vec<String>, Vec<u8>)> {
    let (addresses, key) = reference.strip_prefix("corbaloc:")?.split_once('/')?;
    let address = |text: &str| {
        let text = text.strip_prefix("iiop").unwrap_or(text).strip_prefix(':')?;
        let host = text.rsplit('@').next().filter(|host| !host.is_empty())?;
        let has_port = host.rsplit(']').next().is_some_and(|tail| tail.contains(':'));
        Some(if has_port { host.to_owned() } else { format!("{host}:2809") })
    };
    Some((addresses.split(',').map(address).collect::<Option<_>>()?, unescape(key)?))
}

fn unescape(key: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            out.push(first);
            rest = tail;
        }
    }
    Some(out)
}

async fn locate(address: &str, key: &[u8]) -> std::io::Result<u32> {
    let mut stream = net::connect(address).await?;
    stream.write_all(&request(key)).await?;
    let mut header = [0; 12];
    stream.read_exact(&mut header).await?;
    let little = header[6] & 1 == 1;
    let size = number(&header[8..12], little) as usize;
    if &header[..4] != b"GIOP" || header[7] != LOCATE_REPLY || !(8..=ANSWER).contains(&size) {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "the answer is not a GIOP LocateReply",
        ));
    }
    // The id of the request and the status; what follows only matters to who wants to call the object.
    let mut body = [0; 8];
    stream.read_exact(&mut body).await?;
    Ok(number(&body[4..], little))
}

/// A GIOP 1.0 LocateRequest number 1, little endian.
fn request(key: &[u8]) -> Vec<u8> {
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(20 + key.len());
    message.extend(*b"GIOP\x01\x00\x01");
    message.push(LOCATE_REQUEST);
    message.extend((8 + length).to_le_bytes());
    message.extend(1u32.to_le_bytes());
    message.extend(length.to_le_bytes());
    message.extend(key);
    message
}

fn number(bytes: &[u8], little: bool) -> u32 {
    let bytes = bytes.try_into().unwrap_or([0; 4]);
    if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// An ORB that knows `NameService` and answers one request, in this byte order.
    async fn orb(little: bool) -> (String, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut header = [0; 12];
            stream.read_exact(&mut header).await.unwrap();
            assert_eq!(&header[..8], b"GIOP\x01\x00\x01\x03");
            let mut body = vec![0; number(&header[8..], true) as usize];
            stream.read_exact(&mut body).await.unwrap();
            let status = u32::from(&body[8..] == b"NameService");
            let order = |n: u32| if little { n.to_le_bytes() } else { n.to_be_bytes() };
            let mut answer = b"GIOP\x01\x00".to_vec();
            answer.extend([u8::from(little), LOCATE_REPLY]);
            answer.extend([order(8), order(1), order(status)].concat());
            stream.write_all(&answer).await.unwrap();
        });
        (address, server)
    }

    #[tokio::test]
    async fn an_object_is_ready_when_the_orb_knows_it() {
        for little in [true, false] {
            let (address, server) = orb(little).await;
            assert_eq!(corbaloc(&format!("corbaloc::{address}/NameService")).await, Ok(()));
            server.await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_unknown_object_is_not_ready() {
        let (address, server) = orb(true).await;
        let reference = format!("corbaloc::{address}/Manager");
        assert_eq!(corbaloc(&reference).await, Err(NotReady(format!("{reference}: unknown object"))));
        server.await.unwrap();
        assert_eq!(corbaloc(&reference).await, Err(NotReady(format!("{reference}: connection refused"))));
    }

    #[test]
    fn references_are_read_as_the_naming_service_specification_writes_them() {
        let check = |reference, expected: Option<(&[&str], &[u8])>| {
            let expected = expected.map(|(a, k)| (a.iter().map(|s| s.to_string()).collect(), k.to_vec()));
            assert_eq!(parse(reference), expected, "{reference}");
        };
        check("corbaloc::h:1/K", Some((&["h:1"], b"K")));
        check("corbaloc:iiop:1.2@h:1,:i/a/b", Some((&["h:1", "i:2809"], b"a/b")));
        check("corbaloc::[::1]:5/%00x", Some((&["[::1]:5"], b"\0x")));
        check("corbaloc:rir:/NameService", None);
        check("corbaloc::h:1", None);
        check("corbaloc::h:1/%zz", None);
    }
}
