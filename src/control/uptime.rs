//! `GET /v1/availability?path=&since=`: figures from the whole history, computed on a thread of its own.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::house::House;
use super::message::Problem;
use super::params::Params;
use super::server::{Desk, json, one_or_all};
use crate::os::clock;
use crate::record::availability::{Asked, availability as compute};

/// `since` in milliseconds since 1970.
pub(super) async fn availability<H: House>(
    State(desk): State<Desk<H>>,
    mut params: Params,
) -> Result<Response, Problem> {
    let asked = params.take("path");
    let since = params.parsed("since", "milliseconds since 1970", |text| text.parse::<u64>().ok())?;
    params.finish()?;
    let path = one_or_all(&desk.house, asked)?;
    let facts = desk.house.history().await;
    let compute =
        move || compute(&Asked { facts: &facts, path: &path, since, now: clock::wall(), live: true });
    match tokio::task::spawn_blocking(compute).await {
        Ok(found) => Ok(json(StatusCode::OK, &found)),
        Err(error) => Err(Problem::new(1, format!("cannot compute the availability: {error}"))),
    }
}
