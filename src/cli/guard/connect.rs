//! `woodward guard connect`: says the preamble for a client that cannot.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use super::super::report::{Code, Failure};
use super::preamble::{LONGEST, Preamble, understand};

/// For the proxy to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects through a guard proxy with this service's token
///
/// Standard input and output are the connection; with --listen, each connection
/// there is one to the proxy. The token is that of FENCING_TOKEN_FILE, else of
/// FENCING_TOKEN, as woodward gives it to services of a tree with [failover].
#[derive(clap::Args)]
pub struct Args {
    /// Where the proxy listens
    #[arg(value_name = "HOST:PORT")]
    proxy: String,
    /// The group; else that of WOODWARD_GROUP
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Stay, and connect whoever connects here
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
}

/// Connects.
pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    let group = super::group(args.group.as_ref())?;
    super::token()?;
    let Some(listen) = &args.listen else {
        let proxy = connect(&args.proxy, &group)?;
        let back = proxy.try_clone().map_err(lost)?;
        std::thread::spawn(move || {
            let copied = pass(io::stdin().lock(), &proxy);
            // The end of the input is passed on, no more: what comes back may go on.
            let _ = copied.and_then(|()| proxy.shutdown(Shutdown::Write));
        });
        pass(&back, io::stdout().lock()).map_err(lost)?;
        return Ok(Code::Done.into());
    };
    let cannot = |e| Failure::new(Code::Failed, format!("cannot listen at {listen}: {e}"));
    let listener = TcpListener::bind(listen).map_err(cannot)?;
    if let Ok(at) = listener.local_addr() {
        eprintln!("listening at {at}, for {}", args.proxy);
    }
    loop {
        let Ok((client, _)) = listener.accept() else { continue };
        let (proxy, group) = (args.proxy.clone(), group.clone());
        std::thread::spawn(move || match connect(&proxy, &group) {
            Ok(proxy) => both_ways(&client, &proxy),
            Err(failure) => eprintln!("{failure}"),
        });
    }
}

/// A connection that was let in.
fn connect(proxy: &str, group: &str) -> Result<TcpStream, Failure> {
    let cannot =
        |why: &dyn std::fmt::Display| Failure::new(Code::Failed, format!("cannot connect to {proxy}: {why}"));
    // Each time anew: a group may go on under another token.
    let preamble = Preamble { group: group.to_owned(), epoch: super::token()? };
    let address =
        proxy.to_socket_addrs().map_err(|e| cannot(&e))?.next().ok_or_else(|| cannot(&"no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|e| cannot(&e))?;
    stream.write_all(preamble.line().as_bytes()).map_err(|e| cannot(&e))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|e| cannot(&e))?;
    // No more than the line may be read ahead.
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < LONGEST && stream.read(&mut byte).map_err(|e| cannot(&e))? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    understand(&String::from_utf8_lossy(&line)).map_err(|why| cannot(&why))?;
    stream.set_read_timeout(None).map_err(|e| cannot(&e))?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn lost(e: io::Error) -> Failure {
    Failure::new(Code::Failed, format!("cannot go on: the connection is lost: {e}"))
}

/// Passes on until one of the two is lost or both have ended.
fn both_ways(client: &TcpStream, proxy: &TcpStream) {
    let one = |from: &TcpStream, to: &TcpStream| match pass(from, to) {
        Ok(()) => _ = to.shutdown(Shutdown::Write),
        Err(_) => [client, proxy].iter().for_each(|stream| _ = stream.shutdown(Shutdown::Both)),
    };
    std::thread::scope(|scope| {
        scope.spawn(|| one(client, proxy));
        one(proxy, client);
    });
}

fn pass(from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut from = BufReader::new(from);
    loop {
        let piece = from.fill_buf()?;
        if piece.is_empty() {
            return Ok(());
        }
        let n = piece.len();
        to.write_all(piece)?;
        to.flush()?;
        from.consume(n);
    }
}
