//! `woodward guard proxy`: stands in front of what is shared and lets nobody through who comes with an older token than
//! somebody before.
//!
//! There is one thread, and nothing else runs between looking at the newest epoch and handing bytes over. So when a newer
//! epoch is written down, not one more byte of an older connection goes to the resource, and only then the newer connection
//! is answered. What the resource had been handed before, it has.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::report::{Code, Failure};
use super::preamble::{LONGEST, Preamble, answer, is_name};

/// For the preamble, and for the resource to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that are passed on at once.
const PIECE: usize = 64 << 10;

/// A TCP proxy before what is shared: it refuses older tokens
///
/// A connection begins with the line `WOODWARD/1 GROUP TOKEN`; `woodward guard
/// connect` says it for clients that cannot. As soon as a newer token is seen, it is
/// written down, and all connections of older ones are cut.
#[derive(clap::Args)]
pub struct Args {
    /// Where clients connect to
    #[arg(long, value_name = "HOST:PORT")]
    listen: String,
    /// What is shared
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
    /// Only this group; else each group for itself
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Keeps the newest tokens through a restart
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
}

/// Serves until it is killed.
pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    let newest = Newest::open(args.group, args.state)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(Code::Failed, format!("cannot begin: {e}")))?;
    runtime.block_on(serve(&args.listen, args.to, newest))
}

async fn serve(listen: &str, to: String, newest: Newest) -> Result<ExitCode, Failure> {
    let cannot = |e| Failure::new(Code::Failed, format!("cannot listen at {listen}: {e}"));
    let listener = TcpListener::bind(listen).await.map_err(cannot)?;
    if let Ok(at) = listener.local_addr() {
        eprintln!("listening at {at}, for {to}");
    }
    if newest.file.is_none() {
        eprintln!("no --state: after a restart an older token is believed until a newer one is seen");
    }
    let shared = Arc::new((to, Mutex::new(newest)));
    loop {
        match listener.accept().await {
            Ok((client, from)) => _ = tokio::spawn(connection(client, from, Arc::clone(&shared))),
            // No descriptor is left: some connection will end.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

type Shared = Arc<(String, Mutex<Newest>)>;

async fn connection(mut client: TcpStream, from: SocketAddr, shared: Shared) {
    let (to, newest) = &*shared;
    match timeout(PATIENCE, admitted(&mut client, to, newest)).await {
        Ok(Ok(Some(mut let_in))) => {
            keep_alive(&client);
            keep_alive(&let_in.resource);
            let_in.pass(&mut client).await;
        }
        // It has said nothing: somebody looked whether we are there.
        Ok(Ok(None) | Err(Refusal::Gone)) => {}
        Ok(Err(Refusal::Words(why))) => {
            eprintln!("refused {from}: {why}");
            let _ = timeout(PATIENCE, refuse(&mut client, &why)).await;
        }
        Err(_) => eprintln!("refused {from}: it took too long"),
    }
}

/// Says no, and waits until the other end has heard it: an end with bytes unread would take the words back.
async fn refuse(client: &mut TcpStream, why: &str) -> io::Result<()> {
    client.write_all(answer(Some(why)).as_bytes()).await?;
    client.shutdown().await?;
    let mut rest = [0; 1024];
    loop {
        client.readable().await?;
        match client.try_read(&mut rest) {
            Ok(0) => return Ok(()),
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
            _ => {}
        }
    }
}

enum Refusal {
    /// The client has gone away.
    Gone,
    Words(String),
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Refusal {
        Refusal::Gone
    }
}

/// A connection that may pass as long as there is no newer epoch.
struct LetIn {
    resource: TcpStream,
    epoch: u64,
    newest: watch::Receiver<u64>,
}

/// Reads the preamble, writes a newer epoch down, connects to the resource, and says yes. `None`: nothing was said at all.
async fn admitted(
    client: &mut TcpStream,
    to: &str,
    newest: &Mutex<Newest>,
) -> Result<Option<LetIn>, Refusal> {
    let mut said = Vec::new();
    let end = loop {
        if let Some(end) = said.iter().position(|b| *b == b'\n') {
            break end;
        }
        if said.len() >= LONGEST {
            return Err(Refusal::Words("this is not the beginning of a connection through the guard".into()));
        }
        client.readable().await?;
        let mut piece = [0; LONGEST];
        match client.try_read(&mut piece[..LONGEST - said.len()]) {
            Ok(0) if said.is_empty() => return Ok(None),
            Ok(0) => return Err(Refusal::Gone),
            Ok(n) => said.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e.into()),
        }
    };
    let preamble = Preamble::read(&said[..end]).ok_or_else(|| {
        Refusal::Words("this is not the beginning of a connection through the guard".into())
    })?;
    let Preamble { group, epoch } = preamble;
    let receiver = lock(newest).admit(&group, epoch).map_err(Refusal::Words)?;
    let resource = TcpStream::connect(to).await;
    let resource = resource.map_err(|e| Refusal::Words(format!("cannot reach {to}: {e}")))?;
    let mut let_in = LetIn { resource, epoch, newest: receiver };
    // Meanwhile a newer one may have come.
    if let_in.is_over() {
        return Err(Refusal::Words(older(epoch, &group, *let_in.newest.borrow())));
    }
    client.write_all(answer(None).as_bytes()).await?;
    let (_, mut resource) = let_in.resource.split();
    hand_over(&said[end + 1..], &mut resource, epoch, &let_in.newest).await?;
    Ok(Some(let_in))
}

impl LetIn {
    fn is_over(&self) -> bool {
        *self.newest.borrow() > self.epoch
    }

    /// Passes everything on until both ends have closed, or a newer epoch is seen.
    async fn pass(&mut self, client: &mut TcpStream) {
        let epoch = self.epoch;
        let mut seen = self.newest.clone();
        let cut = {
            let (from_client, mut to_client) = client.split();
            let (from_resource, mut to_resource) = self.resource.split();
            let there = pump(&from_client, &mut to_resource, epoch, &self.newest);
            let back = pump(&from_resource, &mut to_client, epoch, &self.newest);
            tokio::select! {
                biased;
                _ = seen.wait_for(|newest| *newest > epoch) => true,
                done = async { tokio::try_join!(there, back) } => done.is_err(),
            }
        };
        if cut {
            // At once, and so that the other side does not take it for an orderly end.
            for stream in [&*client, &self.resource] {
                let _ = setsockopt(stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
            }
        }
    }
}

async fn pump(
    from: &ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    epoch: u64,
    newest: &watch::Receiver<u64>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        from.readable().await?;
        match from.try_read(&mut piece) {
            Ok(0) => return to.shutdown().await,
            Ok(n) => hand_over(&piece[..n], to, epoch, newest).await?,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

/// Looks at the newest epoch right before each write; nothing comes in between.
async fn hand_over(
    mut bytes: &[u8],
    to: &mut WriteHalf<'_>,
    epoch: u64,
    newest: &watch::Receiver<u64>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        if *newest.borrow() > epoch {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        match to.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn keep_alive(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = setsockopt(stream, sockopt::KeepAlive, &true);
}

fn older(epoch: u64, group: &str, newest: u64) -> String {
    format!("token {epoch} of {group} is over, {newest} has been seen")
}

fn lock(newest: &Mutex<Newest>) -> MutexGuard<'_, Newest> {
    newest.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The newest epoch of each group.
#[derive(Debug)]
struct Newest {
    only: Option<String>,
    groups: BTreeMap<String, watch::Sender<u64>>,
    file: Option<PathBuf>,
    /// Held as long as this lives: two proxies on one file would each believe their own.
    _lock: Option<Flock<File>>,
}

impl Newest {
    fn open(only: Option<String>, file: Option<PathBuf>) -> Result<Newest, Failure> {
        let mut newest = Newest { only, groups: BTreeMap::new(), file, _lock: None };
        let Some(file) = &newest.file else { return Ok(newest) };
        let cannot =
            |why: String| Failure::new(Code::Failed, format!("cannot use {}: {why}", file.display()));
        let name = beside(file, ".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&name);
        let lock = lock.map_err(|e| cannot(e.to_string()))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|_| cannot("another proxy uses it".into()).hint("a file of its own for each"))?;
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(cannot(e.to_string())),
        };
        for (n, line) in text.lines().enumerate() {
            let read = line.split_once(' ').and_then(|(group, epoch)| Some((group, epoch.parse().ok()?)));
            let (group, epoch) = read.filter(|(group, _)| is_name(group)).ok_or_else(|| {
                cannot(format!("line {} is not `GROUP TOKEN`: {line:?}", n + 1))
                    .hint("whoever takes the file away lets old tokens in: write the newest into it")
            })?;
            newest.groups.insert(group.to_owned(), watch::channel(epoch).0);
        }
        newest._lock = Some(lock);
        Ok(newest)
    }

    /// Lets a token in. A newer one is written down before it is believed; then whoever came with an older one hears of it.
    fn admit(&mut self, group: &str, epoch: u64) -> Result<watch::Receiver<u64>, String> {
        if self.only.as_deref().is_some_and(|only| only != group) {
            return Err(format!("nobody of {group} is let in here"));
        }
        let newest = self.groups.get(group).map_or(0, |sender| *sender.borrow());
        if epoch < newest {
            return Err(older(epoch, group, newest));
        }
        if epoch > newest {
            self.write_down(group, epoch).map_err(|e| format!("cannot write the token down: {e}"))?;
        }
        let sender = self.groups.entry(group.to_owned()).or_insert_with(|| watch::channel(epoch).0);
        if epoch > newest {
            let cut = sender.receiver_count();
            sender.send_replace(epoch);
            let cut = if cut == 0 { String::new() } else { format!("; older connections cut: {cut}") };
            eprintln!("token {epoch} of {group}{cut}");
        }
        Ok(sender.subscribe())
    }

    fn write_down(&self, group: &str, epoch: u64) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut all: BTreeMap<&str, u64> =
            self.groups.iter().map(|(group, sender)| (group.as_str(), *sender.borrow())).collect();
        all.insert(group, epoch);
        let text: String = all.iter().map(|(group, epoch)| format!("{group} {epoch}\n")).collect();
        super::lasting(file, &beside(file, ".new"), &text)
    }
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_written_down_before_it_is_believed() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("newest");
        let open = || Newest::open(None, Some(file.clone()));
        let mut newest = open().expect("it can be used");
        newest.admit("a", 7).expect("the first");
        newest.admit("b", 3).expect("of another group");
        assert!(open().is_err(), "it is in use");
        drop(newest);
        let mut newest = open().expect("it can be used again");
        assert!(
            newest.admit("a", 6).is_err() && newest.admit("a", 7).is_ok() && newest.admit("b", 4).is_ok()
        );
        fs::remove_dir_all(dir.path()).expect("it can be removed");
        assert!(newest.admit("a", 8).is_err(), "it cannot be written down");
        assert!(newest.admit("a", 7).is_ok(), "so it was not believed");
    }

    #[test]
    fn a_file_that_cannot_be_understood_lets_nobody_in() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("newest");
        fs::write(&file, "a 7\nb\n").expect("it can be written");
        let failure = Newest::open(None, Some(file)).expect_err("line 2 is broken");
        assert!(failure.message.contains("line 2"), "{}", failure.message);
    }
}
