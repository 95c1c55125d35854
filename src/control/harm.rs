//! `/v1/chaos`: faults on purpose, and who is there. Only where the setting `chaos` is on.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::house::House;
use super::message::Problem;
use super::params::Params;
use super::server::{Desk, json, one};
use crate::runtime::faults::{Fault, FaultError, Kind};

/// `GET /v1/chaos`: the processes of every generation, `null` without control groups.
pub(super) async fn census<H: House>(
    State(desk): State<Desk<H>>,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    Ok(json(StatusCode::OK, &desk.house.census().map_err(refused)?))
}

/// `POST /v1/chaos?path=&fault=&time=&pick=&seed=&n=`; `time` in milliseconds.
pub(super) async fn inject<H: House>(
    State(desk): State<Desk<H>>,
    mut params: Params,
) -> Result<Response, Problem> {
    let asked = params.required("path")?;
    let names = Kind::ALL.map(Kind::name).join(", ");
    let kind = params.parsed("fault", &names, Kind::named)?;
    let mut number = |name: &str| params.parsed(name, "a number", |text| text.parse::<u64>().ok());
    let (time, pick) = (number("time")?.unwrap_or(0), number("pick")?.unwrap_or(0));
    let origin = (number("seed")?.unwrap_or(0), number("n")?.unwrap_or(0));
    params.finish()?;
    let kind = kind.ok_or_else(|| Problem::new(64, "cannot answer: `fault=` is missing").hint(names))?;
    let path = one(&desk.house, &asked)?;
    let fault = Fault { path, kind, time: Duration::from_millis(time), pick, origin };
    Ok(json(StatusCode::OK, &desk.house.inject(&fault).map_err(refused)?))
}

fn refused(error: FaultError) -> Problem {
    match error {
        FaultError::NotAllowed => {
            Problem::new(77, error.to_string()).hint("woodward run --set chaos=on FILE")
        }
        FaultError::NotUp(..) | FaultError::Busy(..) => Problem::new(75, error.to_string()),
        FaultError::Failed(..) => Problem::new(1, error.to_string()),
    }
}
