//! `/v1/cluster`: what this node knows of its cluster, and the words of persons that go into its register.
//!
//! A word is answered when it stands in the register; whoever is concerned acts when its watch shows it. What then becomes of
//! it is seen in the next sheets.

pub mod sheet;

use std::time::Duration;

use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use woodward_engine::cluster::register::Order;
use woodward_engine::cluster::{Name, Request};

use super::house::House;
use super::message::Problem;
use super::params::Params;
use super::server::{Desk, Peer, json};
use crate::cluster::Handle;
use crate::os::clock;
use sheet::{Foretold, Sheet};

/// A word that is not in the register by then may get there still.
const PATIENCE: Duration = Duration::from_secs(4);

/// Verbs of `POST /v1/cluster/{verb}`.
const VERBS: &str = "move, drain, undrain, maintenance, forgive, start, confirm";

/// `GET /v1/cluster`.
pub(super) async fn show<H: House>(State(desk): State<Desk<H>>, params: Params) -> Result<Response, Problem> {
    params.finish()?;
    let handle = handle(&desk)?;
    let sheet =
        Sheet::of(&handle.view(), &desk.cluster_name(), handle.members(), clock::lasting(), clock::wall());
    Ok(json(StatusCode::OK, &sheet))
}

/// `GET /v1/cluster/record`: what this node has recorded of its part, as far back as its history goes, and the starts of its
/// services, for an audit.
pub(super) async fn record<H: House>(
    State(desk): State<Desk<H>>,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    let mut facts = desk.house.history().await;
    facts.retain(|fact| {
        fact.kind.starts_with("group_")
            || matches!(
                fact.kind.as_str(),
                "cluster_joined" | "term_over" | "node_dead" | "daemon_started" | "started"
            )
    });
    Ok(json(StatusCode::OK, &facts))
}

/// `GET /v1/cluster/foresee?dead=A,B`.
pub(super) async fn foresee<H: House>(
    State(desk): State<Desk<H>>,
    mut params: Params,
) -> Result<Response, Problem> {
    let dead = params.required("dead")?;
    params.finish()?;
    let view = handle(&desk)?.view();
    let dead: Vec<Name> = dead.split(',').map(Name::from).collect();
    let known = |node: &Name| {
        view.register.member(node).is_some() || view.groups.iter().any(|group| group.nodes.contains(node))
    };
    if let Some(stranger) = dead.iter().find(|node| !known(node)) {
        let error = format!("cannot foresee the death of {stranger}: no node is called so");
        return Err(Problem::new(64, error).hint("woodward cluster status"));
    }
    let foretold: Vec<Foretold> =
        view.foresee(&dead).iter().map(|foreseen| Foretold::of(&view, foreseen)).collect();
    Ok(json(StatusCode::OK, &foretold))
}

/// `POST /v1/cluster/VERB?group=&node=&on=&text=`.
pub(super) async fn ask<H: House>(
    State(desk): State<Desk<H>>,
    Path(verb): Path<String>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut params: Params,
) -> Result<Response, Problem> {
    let handle = handle(&desk)?;
    let mut name = |name: &str| params.take(name).map(|text| Name::from(text.as_str()));
    let (group, node) = (name("group"), name("node"));
    let on = params.flag("on")?;
    let order = Order { by: peer.name(), text: params.take("text") };
    params.finish()?;
    let missing = |what: &str| Problem::new(64, format!("cannot {verb}: `{what}=` is missing in the query"));
    let group = || group.clone().ok_or_else(|| missing("group"));
    let named = || node.clone().ok_or_else(|| missing("node"));
    let (request, what) = match verb.as_str() {
        "move" => (Request::Move { group: group()?, to: node.clone(), order }, group()?),
        "drain" => (Request::Drain { node: named()?, order }, named()?),
        "undrain" => (Request::Undrain { node: named()? }, named()?),
        "maintenance" => (Request::Maintain { on, order }, Name::from(if on { "on" } else { "off" })),
        "forgive" => (Request::Forgive { group: group()?, node: node.clone() }, group()?),
        "start" => (Request::Start { group: group()? }, group()?),
        "confirm" => (Request::Confirm { node: named()? }, named()?),
        other => {
            return Err(Problem::new(64, format!("cannot {other}: no such verb of a cluster")).hint(VERBS));
        }
    };
    match tokio::time::timeout(PATIENCE, handle.request(request)).await {
        Ok(Ok(())) => Ok(json(StatusCode::OK, &())),
        Ok(Err(why)) => {
            let problem = Problem::new(1, format!("cannot {verb} {what}: {why}"));
            Err(problem.hint("woodward cluster status"))
        }
        Err(_) => {
            let error = format!("cannot {verb} {what} yet: the store does not answer; it may be done still");
            Err(Problem::new(75, error).hint("woodward cluster status"))
        }
    }
}

fn handle<H: House>(desk: &Desk<H>) -> Result<Handle, Problem> {
    desk.cluster.clone().ok_or_else(|| {
        Problem::new(64, "cannot answer for a cluster: this daemon is in none")
            .hint("a tree with [failover], and the setting `etcd`")
    })
}
