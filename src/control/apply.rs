//! `POST /v1/apply?file=&var.NAME=&dry_run=&no_wait=`: another plan for a tree that runs. First what follows from it,
//! path by path; unless that was all that was asked, then its facts as they happen, and how each tree is in the end.

use std::path::PathBuf;
use std::time::Duration;

use axum::extract::{self, ConnectInfo};
use axum::response::Response;
use hyper::body::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::Sender;
use woodward_engine::Reply;
use woodward_engine::effect::ErrorKind;

use super::follow;
use super::house::House;
use super::message::{Problem, Step};
use super::params::Params;
use super::server::{Desk, Peer};
use crate::record::words::is_within;
use crate::runtime::Who;
use crate::runtime::reload::{Forecast, Refused, Reload, What};
use crate::runtime::view::State;

/// Between two looks at those that are still on their way.
const AGAIN: Duration = Duration::from_millis(20);

/// Applies.
pub(super) async fn apply<H: House>(
    extract::State(desk): extract::State<Desk<H>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut params: Params,
) -> Result<Response, Problem> {
    let house = desk.house;
    let file = params.parsed("file", "an absolute path", |text| {
        Some(PathBuf::from(text)).filter(|file| file.is_absolute())
    })?;
    let vars = params.all_below("var");
    let (dry, wait) = (params.flag("dry_run")?, !params.flag("no_wait")?);
    let who = Who { by: peer.name(), text: params.take("text") };
    params.finish()?;
    let mut facts = house.follow_facts();
    let reloads = house.apply(file, vars, dry, who).await.map_err(problem)?;
    let (sender, response) = follow::lines();
    tokio::spawn(async move {
        for reload in &reloads {
            say(&sender, &Step::Forecast(reload.forecast.clone())).await;
        }
        if dry {
            return;
        }
        for Reload { forecast, done } in reloads {
            let Some(done) = done.filter(|_| wait) else {
                say(&sender, &outcome(&house, &forecast, None)).await;
                continue;
            };
            tokio::pin!(done);
            let mut reply = None;
            loop {
                let fact = match reply {
                    None => tokio::select! {
                        biased;
                        fact = facts.recv() => fact,
                        answer = &mut done => {
                            reply = Some(answer.ok());
                            continue;
                        }
                    },
                    Some(_) => match tokio::time::timeout(AGAIN, facts.recv()).await {
                        Ok(fact) => fact,
                        Err(_) if sender.is_closed() || !is_on_its_way(&house, &forecast) => break,
                        Err(_) => continue,
                    },
                };
                match fact {
                    Ok(fact) if is_within(&fact.path, &forecast.tree) => {
                        say(&sender, &Step::Fact((*fact).clone())).await;
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => break,
                }
            }
            say(&sender, &outcome(&house, &forecast, refusal(&house, &forecast, reply.flatten()))).await;
        }
    });
    Ok(response)
}

/// What starts or restarts has not got there, and goes on.
fn is_on_its_way<H: House>(house: &H, forecast: &Forecast) -> bool {
    let view = house.view();
    moving(forecast)
        .any(|path| view.row(path).is_some_and(|row| matches!(row.state, State::Starting | State::Stopping)))
}

fn moving(forecast: &Forecast) -> impl Iterator<Item = &str> {
    let moves = |what| matches!(what, What::Restart | What::Start);
    forecast.paths.iter().filter(move |path| moves(path.what)).map(|path| path.path.as_str())
}

fn refusal<H: House>(house: &H, forecast: &Forecast, reply: Option<Reply>) -> Option<Problem> {
    let tree = &forecast.tree;
    match reply {
        Some(Reply::Ok) => {}
        Some(Reply::Error(ErrorKind::Overtaken)) => {
            let error = format!("cannot finish applying {tree}: a later apply or stop goes on from here");
            return Some(Problem::new(75, error).hint("woodward status"));
        }
        _ => return Some(Problem::new(75, format!("cannot finish applying {tree}: the daemon is stopping"))),
    }
    let view = house.view();
    let down =
        |path: &&str| view.row(path).is_some_and(|row| matches!(row.state, State::Backoff | State::Parked));
    let down: Vec<&str> = moving(forecast).filter(down).collect();
    let first = down.first()?;
    let error = format!("applied, but not up: {}", down.join(", "));
    Some(Problem::new(1, error).hint(format!("woodward why {first}")))
}

fn outcome<H: House>(house: &H, forecast: &Forecast, problem: Option<Problem>) -> Step {
    let row = house.view().row(&forecast.tree).cloned().map(Box::new);
    Step::Outcome { path: forecast.tree.clone(), row, problem, lines: Vec::new() }
}

fn problem(refused: Refused) -> Problem {
    let error = refused.to_string();
    match &refused {
        Refused::Closed => Problem::new(75, error),
        Refused::Broken(_) => Problem::new(78, error),
        Refused::NotRunning { file, running, .. } => Problem::new(64, error).hint(format!(
            "woodward run {file} starts it; here run: {}; a tree with another id is another tree",
            running.join(", ")
        )),
        Refused::Instance { path, .. } => Problem::new(78, format!("{error}; nothing was changed"))
            .hint(format!("woodward stop {path}, or mend the template")),
        Refused::NotKept(_) => Problem::new(1, format!("{error}; nothing was changed")),
    }
}

async fn say(sender: &Sender<Bytes>, step: &Step) {
    // An asker that went away is no error.
    let _ = sender.send(follow::line(step)).await;
}
