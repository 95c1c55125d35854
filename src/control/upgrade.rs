//! `POST /v1/upgrade?file=`: another file in place of this one, for daemon and keeper.

use std::path::PathBuf;

#[cfg(feature = "full")]
use axum::extract::State;
#[cfg(feature = "full")]
use axum::http::StatusCode;
#[cfg(feature = "full")]
use axum::response::Response;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

#[cfg(feature = "full")]
use super::house::House;
use super::message::Problem;
#[cfg(feature = "full")]
use super::params::Params;
#[cfg(feature = "full")]
use super::server::{Desk, json};

/// What was asked for, with the one answer: the trial run went well and the daemon is about to end, or why not.
#[derive(Debug)]
pub struct Upgrade {
    /// The new program.
    pub file: PathBuf,
    /// Answer.
    pub answer: oneshot::Sender<Result<(), Problem>>,
}

/// Where such wishes go.
pub type Upgrades = UnboundedSender<Upgrade>;

#[cfg(feature = "full")]
pub(super) async fn upgrade<H: House>(
    State(desk): State<Desk<H>>,
    mut params: Params,
) -> Result<Response, Problem> {
    let file = PathBuf::from(params.required("file")?);
    params.finish()?;
    let gone = || Problem::new(75, "cannot upgrade: this daemon is ending");
    let upgrades = desk.upgrades.as_ref().ok_or_else(gone)?;
    let (answer, answered) = oneshot::channel();
    upgrades.send(Upgrade { file, answer }).map_err(|_| gone())?;
    answered.await.map_err(|_| gone())??;
    Ok(json(StatusCode::OK, &true))
}
