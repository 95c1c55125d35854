//! The query of a request, read strictly: unknown names and wrong values are errors.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use super::message::Problem;

/// Names and values, as they come.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params, Problem> {
        match Query::<Vec<(String, String)>>::from_request_parts(parts, state).await {
            Ok(Query(pairs)) => Ok(Params(pairs)),
            Err(error) => Err(Problem::new(64, format!("cannot read the query: {error}"))),
        }
    }
}

impl Params {
    /// The value of `name`, if it is there and not empty.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.remove(at).1).filter(|value| !value.is_empty())
    }

    /// The value of `name`.
    pub(super) fn required(&mut self, name: &str) -> Result<String, Problem> {
        self.take(name)
            .ok_or_else(|| Problem::new(64, format!("cannot answer: `{name}=` is missing in the query")))
    }

    /// The value of `name`, read by `parse`; `wanted` says in an error what it should be.
    pub(super) fn parsed<T>(
        &mut self,
        name: &str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match parse(&value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(Problem::new(64, format!("cannot read {name}={value}: not {wanted}"))),
        }
    }

    /// `true`, or given without a value: yes.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        let Some(at) = self.0.iter().position(|(n, _)| n == name) else { return Ok(false) };
        match self.0.remove(at).1.as_str() {
            "" | "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            other => Err(Problem::new(64, format!("cannot read {name}={other}: not true or false"))),
        }
    }

    /// All `PREFIX.name=value`.
    pub(super) fn all_below(&mut self, prefix: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        self.0.retain(|(name, value)| match name.strip_prefix(prefix).and_then(|n| n.strip_prefix('.')) {
            Some(name) => {
                found.push((name.to_owned(), value.clone()));
                false
            }
            None => true,
        });
        found
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(Problem::new(64, format!("cannot answer: unknown `{name}=` in the query")))
            }
        }
    }
}
