//! The daemon's side: routes, and who is let in.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist};
use serde::Serialize;
use tokio::net::UnixListener;

use super::bind::Unlink;
use super::house::House;
use super::message::{Daemon, Found, Problem, Up};
use super::params::Params;
use super::upgrade::Upgrades;
use super::{apply, ask, follow, harm, resolve, show, upgrade, uptime};
use crate::cluster;
use crate::record::words::is_within;
use crate::runtime::view::{Row, State as RowState};
use crate::settings::Said;

/// What a daemon is told about its socket.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// Whose members are let in, besides the daemon's user and root.
    pub group: Option<Gid>,
    /// What this daemon goes by, for those who ask.
    pub settings: Vec<Said>,
    /// Where wishes for another program go; none: it cannot be replaced.
    pub upgrades: Option<Upgrades>,
    /// This node's part in a cluster, if it has one.
    pub cluster: Option<cluster::Handle>,
}

/// Answers on `listener` until dropped; the socket file is removed then.
pub async fn serve<H: House>(house: H, listener: UnixListener, door: Door) -> std::io::Result<()> {
    let _unlink = Unlink::of(&listener);
    let app = router(house, door).into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, app).await
}

/// What every handler has.
#[derive(Clone)]
pub(super) struct Desk<H> {
    pub(super) house: H,
    /// Facts and lines that followers were too slow for.
    pub(super) dropped: Arc<AtomicU64>,
    settings: Arc<Vec<Said>>,
    pub(super) upgrades: Option<Upgrades>,
    pub(super) cluster: Option<cluster::Handle>,
}

impl<H> Desk<H> {
    /// The name of the cluster this daemon would be in.
    pub(super) fn cluster_name(&self) -> String {
        let said = self.settings.iter().find(|said| said.key == "cluster");
        said.map(|said| said.value.clone()).unwrap_or_default()
    }
}

fn router<H: House>(house: H, door: Door) -> Router {
    let Door { group, settings: said, upgrades, cluster } = door;
    let desk = Desk { house, dropped: Arc::default(), settings: Arc::new(said), upgrades, cluster };
    Router::new()
        .route("/v1", get(daemon::<H>))
        .route("/v1/status", get(status::<H>))
        .route("/v1/status/{*path}", get(status::<H>))
        .route("/v1/show/{*path}", get(show::show::<H>))
        .route("/v1/find", get(find::<H>))
        .route("/v1/why", get(why::<H>))
        .route("/v1/up", get(up::<H>))
        .route("/v1/settings", get(settings::<H>))
        .route("/v1/availability", get(uptime::availability::<H>))
        .route("/v1/events", get(follow::events::<H>))
        .route("/v1/logs", get(follow::logs::<H>))
        .route("/v1/upgrade", post(upgrade::upgrade::<H>))
        .route("/v1/apply", post(apply::apply::<H>))
        .route("/v1/chaos", get(harm::census::<H>).post(harm::inject::<H>))
        .route("/v1/cluster", get(super::cluster::show::<H>))
        .route("/v1/cluster/record", get(super::cluster::record::<H>))
        .route("/v1/cluster/foresee", get(super::cluster::foresee::<H>))
        .route("/v1/cluster/{verb}", post(super::cluster::ask::<H>))
        .route("/v1/{verb}", post(ask::ask::<H>))
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(group, let_in))
        .with_state(desk)
}

// ---- who is let in

/// The process at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// `None`: the kernel does not say.
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        let peer = stream.io().peer_cred().ok();
        Peer { uid: peer.map(|peer| peer.uid()), gid: peer.map(|peer| peer.gid()) }
    }
}

impl Peer {
    /// The daemon's own user, root, and the members of `group`.
    fn may(&self, own: u32, group: Option<Gid>) -> bool {
        let Some(uid) = self.uid else { return false };
        uid == own || uid == 0 || group.is_some_and(|group| self.is_member(uid, group))
    }

    /// Whether the group is its own one, or one of its user's.
    fn is_member(&self, uid: u32, group: Gid) -> bool {
        let own = self.gid.map(Gid::from_raw);
        let of_user = || {
            let user = User::from_uid(Uid::from_raw(uid)).ok()??;
            let name = std::ffi::CString::new(user.name).ok()?;
            getgrouplist(&name, user.gid).ok()
        };
        own == Some(group) || of_user().is_some_and(|groups| groups.contains(&group))
    }

    /// Login name, or the number when it has none.
    pub(super) fn name(&self) -> String {
        let Some(uid) = self.uid else { return "?".to_owned() };
        match User::from_uid(Uid::from_raw(uid)) {
            Ok(Some(user)) => user.name,
            _ => format!("uid {uid}"),
        }
    }
}

async fn let_in(
    State(group): State<Option<Gid>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if !peer.may(geteuid().as_raw(), group) {
        let error = format!("cannot let {} in: this daemon belongs to another user", peer.name());
        let hint = "ask as its user, as root, or as a member of the setting `socket_group`";
        return Problem::new(77, error).hint(hint).into_response();
    }
    // In a task of its own: a panic there is an answer too, and not the end of the connection.
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a request met a mistake in woodward itself");
            let problem = Problem::new(1, "cannot answer: a mistake in woodward itself")
                .hint("the daemon's standard error says where; please report it");
            json(StatusCode::INTERNAL_SERVER_ERROR, &problem)
        }
    }
}

// ---- answers

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = match self.code {
            64 if self.paths.is_empty() => StatusCode::BAD_REQUEST,
            64 => StatusCode::CONFLICT,
            75 => StatusCode::SERVICE_UNAVAILABLE,
            77 => StatusCode::FORBIDDEN,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        json(status, &self)
    }
}

/// `body` as JSON on lines of its own, so that a terminal after curl looks right.
pub(super) fn json<T: Serialize + ?Sized>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(mut text) => {
            text.push(b'\n');
            (status, [(header::CONTENT_TYPE, "application/json")], Body::from(text)).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// All full paths that `asked` may mean: what is there, and what is planned though it is not there now (a temporary
/// child that has ended).
fn candidates<H: House>(house: &H, asked: &str) -> Found {
    let (view, plans) = (house.view(), house.plans());
    let rows = || view.rows().map(|row| row.path.as_str());
    let planned = || plans.iter().flat_map(|plan| plan.workers.iter().map(|worker| worker.path.as_str()));
    let mut found = resolve::candidates(asked, rows());
    for path in resolve::candidates(asked, planned()) {
        if !found.contains(&path) {
            found.push(path);
        }
    }
    if let Some(exact) = found.iter().find(|path| **path == asked.trim_matches('/')) {
        found = vec![exact];
    }
    let nearest = if found.is_empty() { resolve::nearest(asked, rows().chain(planned())) } else { None };
    Found { paths: found.into_iter().map(str::to_owned).collect(), nearest: nearest.map(str::to_owned) }
}

/// The one full path that `asked` means, or why there is none.
pub(super) fn one<H: House>(house: &H, asked: &str) -> Result<String, Problem> {
    let Found { mut paths, nearest } = candidates(house, asked);
    match paths.len() {
        1 => Ok(paths.swap_remove(0)),
        0 => {
            let problem = Problem::new(64, format!("cannot find {asked}: no such path"));
            Err(match nearest {
                Some(path) => problem.hint(format!("did you mean {path}?")),
                None => problem.hint("woodward status"),
            })
        }
        _ => {
            let error = format!("cannot tell which {asked} is meant: {}", paths.join(", "));
            Err(Problem { paths, ..Problem::new(64, error).hint("write more of the path") })
        }
    }
}

/// Like [`one`], where no PATH means everything: `""`.
pub(super) fn one_or_all<H: House>(house: &H, asked: Option<String>) -> Result<String, Problem> {
    asked.map_or(Ok(String::new()), |asked| one(house, &asked))
}

async fn daemon<H: House>(State(desk): State<Desk<H>>, params: Params) -> Result<Response, Problem> {
    params.finish()?;
    let answer = Daemon {
        woodward: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        host: host(),
        started: desk.house.view().started.clone(),
        trees: desk.house.plans().iter().map(|plan| plan.name().to_owned()).collect(),
        dropped: desk.dropped.load(Ordering::Relaxed),
    };
    Ok(json(StatusCode::OK, &answer))
}

fn host() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name = name.to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

async fn status<H: House>(
    State(desk): State<Desk<H>>,
    path: Option<Path<String>>,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    let view = desk.house.view();
    let top = one_or_all(&desk.house, path.map(|Path(path)| path))?;
    let rows = view.rows().filter(|row| is_within(&row.path, &top));
    let rows: Vec<Cow<'_, Row>> = rows
        .map(|row| match desk.house.dropped(&row.path) {
            dropped if dropped > row.dropped_lines => {
                Cow::Owned(Row { dropped_lines: dropped, ..row.clone() })
            }
            _ => Cow::Borrowed(row),
        })
        .collect();
    Ok(json(StatusCode::OK, &rows))
}

async fn find<H: House>(State(desk): State<Desk<H>>, mut params: Params) -> Result<Response, Problem> {
    let asked = params.required("path")?;
    params.finish()?;
    Ok(json(StatusCode::OK, &candidates(&desk.house, &asked)))
}

async fn up<H: House>(State(desk): State<Desk<H>>, mut params: Params) -> Result<Response, Problem> {
    let asked = params.take("path");
    params.finish()?;
    let view = desk.house.view();
    let top = one_or_all(&desk.house, asked)?;
    let mut rows = view.rows().filter(|row| is_within(&row.path, &top)).peekable();
    let missing: Vec<String> = match rows.peek() {
        None => vec![top.clone()],
        Some(_) => rows
            .filter(|row| !matches!(row.state, RowState::Up | RowState::Done))
            .map(|row| row.path.clone())
            .collect(),
    };
    Ok(json(StatusCode::OK, &Up { up: missing.is_empty(), missing }))
}

async fn settings<H: House>(State(desk): State<Desk<H>>, params: Params) -> Result<Response, Problem> {
    params.finish()?;
    Ok(json(StatusCode::OK, &*desk.settings))
}

async fn why<H: House>(State(desk): State<Desk<H>>, mut params: Params) -> Result<Response, Problem> {
    let asked = params.required("path")?;
    let zone = params.parsed("zone", "seconds east of Greenwich", |text| text.parse::<i32>().ok())?;
    params.finish()?;
    let path = one(&desk.house, &asked)?;
    Ok(json(StatusCode::OK, &desk.house.why(&path, zone.unwrap_or(0))))
}

async fn no_such_route(request: Request) -> Problem {
    Problem::new(64, format!("cannot answer {}: no such address", request.uri().path()))
        .hint("/v1, /v1/status, /v1/why?path=, /v1/events, /v1/logs, /v1/up, /v1/availability; POST /v1/start?path=")
}

async fn wrong_method(request: Request) -> Problem {
    let error = format!("cannot answer {} {}: wrong method", request.method(), request.uri().path());
    Problem::new(64, error)
        .hint("GET asks, POST changes: start, stop, restart, hold, release, signal, reload")
}

#[cfg(test)]
mod tests;
