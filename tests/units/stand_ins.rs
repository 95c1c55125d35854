//! A tree as it is written, with the services of this test in place of its own: everything that supervision knows of it
//! and nothing else.

use std::fmt::Write as _;
use std::time::Duration;

use woodward_engine::spec::{
    AutoShutdown, Child, Children, Exhausted, InitialStart, Kind, Order, Restart, Shutdown, Strategy,
    Supervisor, Tree,
};

use super::random_tree::command;

/// The text of such a tree.
pub fn text(tree: &Tree, id: &str) -> String {
    let mut text = format!("id = {id:?}\n");
    supervisor(&mut text, &tree.root, "child");
    text
}

fn key(text: &mut String, name: &str, value: impl std::fmt::Display) {
    writeln!(text, "{name} = {value}").expect("a string takes everything");
}

fn time(time: Duration) -> String {
    format!("\"{}ms\"", time.as_millis())
}

fn supervisor(text: &mut String, of: &Supervisor, table: &str) {
    let strategy = match of.strategy {
        Strategy::OneForAll => "one_for_all",
        Strategy::RestForOne => "rest_for_one",
        Strategy::OneForOne | Strategy::SimpleOneForOne => "one_for_one",
    };
    key(text, "strategy", format!("{strategy:?}"));
    key(text, "order", if of.order == Order::Listed { "\"listed\"" } else { "\"dependencies\"" });
    key(text, "intensity", of.intensity);
    key(text, "period", format!("\"{}s\"", of.period));
    key(text, "initial_start", if of.initial_start == InitialStart::Fail { "\"fail\"" } else { "\"retry\"" });
    let auto_shutdown = match of.auto_shutdown {
        AutoShutdown::Never => "never",
        AutoShutdown::AnySignificant => "any_significant",
        AutoShutdown::AllSignificant => "all_significant",
    };
    key(text, "auto_shutdown", format!("{auto_shutdown:?}"));
    if of.exhausted == Exhausted::Park {
        key(text, "exhausted", "\"park\"");
    }
    if let Children::List(children) = &of.children {
        children.iter().for_each(|of| child(text, of, table));
    }
}

fn child(text: &mut String, of: &Child, table: &str) {
    writeln!(text, "[[{table}]]").expect("a string takes everything");
    key(text, "id", format!("{:?}", of.id));
    let restart = match of.restart {
        Restart::Permanent => "permanent",
        Restart::Transient => "transient",
        Restart::Temporary => "temporary",
    };
    key(text, "restart", format!("{restart:?}"));
    if !of.after.is_empty() {
        key(text, "after", format!("{:?}", of.after));
    }
    if of.significant {
        key(text, "significant", "true");
    }
    let shutdown = match of.shutdown {
        Shutdown::BrutalKill => "\"brutal_kill\"".to_owned(),
        Shutdown::Infinity => "\"infinity\"".to_owned(),
        Shutdown::Time(deadline) => time(deadline),
    };
    key(text, "shutdown", shutdown);
    match &of.kind {
        Kind::Supervisor(below) => supervisor(text, below, &format!("{table}.child")),
        Kind::Worker(worker) => {
            if worker.oneshot {
                key(text, "kind", "\"oneshot\"");
                text.push_str(&command("once"));
            } else {
                text.push_str(&command(""));
                key(text, "ready", "{ notify = true }");
            }
            // Delays would only cost time: what waits for what is the same without.
            key(text, "backoff", "false");
            if let Some(limit) = &worker.limit {
                let exhausted = if limit.exhausted == Exhausted::Park { "park" } else { "escalate" };
                let (intensity, period) = (limit.intensity, limit.period);
                key(
                    text,
                    "limit",
                    format!(
                        "{{ intensity = {intensity}, period = \"{period}s\", exhausted = {exhausted:?} }}"
                    ),
                );
            }
        }
    }
}
