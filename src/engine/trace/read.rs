//! Reading replay files.

use super::{AUTO, EXHAUSTED, REASONS, RESTARTS, Replay, ReplayError, STRATEGIES, value_of};
use crate::Time;
use crate::event::{Apply, Event, Exit, FailedStart, Gen, Key, ReqId, Verb};
use crate::spec::{
    Backoff, Child, Children, Ends, InitialStart, Kind, Limit, Order, Ready, Restart, Shutdown, Status,
    Strategy, Supervisor, Tree, Worker,
};
use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

/// Definitions not yet used: path, keys, is a supervisor.
type Definitions<'a> = Vec<(&'a str, Keys<'a>, bool)>;

impl FromStr for Replay {
    type Err = ReplayError;

    fn from_str(text: &str) -> Result<Replay, ReplayError> {
        let mut replay = Replay::default();
        let mut definitions = Definitions::new();
        for (i, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let read = match words.as_slice() {
                [] => Ok(()),
                [word, ..] if word.starts_with('#') => Ok(()),
                ["supervisor", path, keys @ ..] => define(&mut definitions, path, keys, true),
                ["worker", path, keys @ ..] => define(&mut definitions, path, keys, false),
                ["at", at, event @ ..] => number(at).and_then(|at| {
                    replay.events.push((Time(at), read_event(event, &mut definitions)?));
                    Ok(())
                }),
                [word, ..] => Err(format!("`{word}` is none of supervisor, worker, at")),
            };
            read.map_err(|problem| ReplayError { line: i + 1, problem })?;
        }
        Ok(replay)
    }
}

/// `name=value` and flags.
struct Keys<'a>(HashMap<&'a str, &'a str>);

impl<'a> Keys<'a> {
    fn new(words: &[&'a str]) -> Keys<'a> {
        Keys(words.iter().map(|word| word.split_once('=').unwrap_or((word, ""))).collect())
    }

    fn flag(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        self.0.get(name).map(|value| number(value)).transpose()
    }

    fn time(&self, name: &str) -> Result<Option<Duration>, String> {
        Ok(self.parsed(name)?.map(Duration::from_millis))
    }

    fn named<T: Copy>(&self, name: &str, names: &[(&'static str, T)]) -> Result<Option<T>, String> {
        self.0.get(name).map(|value| value_of(names, value)).transpose()
    }

    fn list(&self, name: &str) -> Vec<&'a str> {
        self.0.get(name).map_or(Vec::new(), |value| value.split(',').collect())
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number that fits"))
}

fn define<'a>(
    definitions: &mut Definitions<'a>,
    path: &&'a str,
    keys: &[&'a str],
    sup: bool,
) -> Result<(), String> {
    definitions.push((path, Keys::new(keys), sup));
    Ok(())
}

fn read_event(words: &[&str], definitions: &mut Definitions<'_>) -> Result<Event, String> {
    let generation = |text: &str| Ok::<Gen, String>(Gen(number(text)?));
    Ok(match words {
        ["tick"] => Event::Tick,
        ["started", g] => Event::Started { generation: generation(g)? },
        ["ready", g] => Event::Ready { generation: generation(g)? },
        ["declined", g] => Event::Declined { generation: generation(g)? },
        ["sick", g] => Event::Sick { generation: generation(g)? },
        ["ended", g, exit] => Event::Ended { generation: generation(g)?, exit: read_exit(exit)? },
        ["failed", g, why @ ..] => {
            let why = match why {
                ["error"] => FailedStart::Error,
                ["too_late"] => FailedStart::TooLate,
                ["child"] => FailedStart::Child,
                ["ended", exit] => FailedStart::Ended(read_exit(exit)?),
                _ => return Err("a failed start is error, too_late, child or ended EXIT".into()),
            };
            Event::Failed { generation: generation(g)?, why }
        }
        ["request", id, path, verb @ ..] => {
            let id = ReqId(number(id)?);
            let path = if *path == "\"\"" { "" } else { path };
            Event::Request { id, path: path.into(), verb: read_verb(id, path, verb, definitions)? }
        }
        _ => return Err(format!("no such event: {}", words.join(" "))),
    })
}

fn read_verb(
    id: ReqId,
    path: &str,
    words: &[&str],
    definitions: &mut Definitions<'_>,
) -> Result<Verb, String> {
    Ok(match words {
        ["add_tree", keys @ ..] => Verb::AddTree(Box::new(take_tree(path, keys, definitions)?)),
        ["apply", keys @ ..] => {
            let (instances, keys): (Vec<&str>, Vec<&str>) = keys.iter().partition(|key| key.contains('>'));
            let pair = |pair: &str| {
                let (from, to) = pair.split_once('>').unwrap_or((pair, pair));
                Ok::<(Key, Key), String>((Key(number(from)?), Key(number(to)?)))
            };
            let instances = instances.into_iter().map(pair).collect::<Result<Vec<(Key, Key)>, String>>()?;
            Verb::Apply(Box::new(Apply { tree: take_tree(path, &keys, definitions)?, instances }))
        }
        ["start_child", name] => {
            Verb::StartChild(Box::new(take_child(&format!("@{}/{name}", id.0), definitions)?))
        }
        ["start_instance"] => Verb::StartInstance { key: None },
        ["start_instance", key] => Verb::StartInstance { key: Some(Key(number(key)?)) },
        ["terminate_child", child] => Verb::TerminateChild((*child).into()),
        ["restart_child", child] => Verb::RestartChild((*child).into()),
        ["delete_child", child] => Verb::DeleteChild((*child).into()),
        ["get_childspec", child] => Verb::GetChildspec((*child).into()),
        ["which_children"] => Verb::WhichChildren,
        ["count_children"] => Verb::CountChildren,
        ["stop_self", reason] => Verb::StopSelf(value_of(REASONS, reason)?),
        ["suspend"] => Verb::Suspend,
        ["resume"] => Verb::Resume,
        ["start"] => Verb::Start,
        ["stop"] => Verb::Stop { with_dependents: false },
        ["stop", "with_dependents"] => Verb::Stop { with_dependents: true },
        ["restart"] => Verb::Restart { only: false },
        ["restart", "only"] => Verb::Restart { only: true },
        ["hold"] => Verb::Hold { until: None },
        ["hold", until] => Verb::Hold { until: Some(Time(number(until)?)) },
        ["release"] => Verb::Release,
        ["abandon"] => Verb::Abandon,
        ["stop_tree"] => Verb::StopTree,
        _ => return Err(format!("no such request: {}", words.join(" "))),
    })
}

fn read_exit(text: &str) -> Result<Exit, String> {
    Ok(match text.split_once(':') {
        None if text == "unknown" => Exit::Unknown,
        Some(("code", n)) => Exit::Code(number(n)?),
        Some(("signal", n)) => Exit::Signal(number(n)?),
        Some(("reason", reason)) => Exit::Reason(value_of(REASONS, reason)?),
        _ => return Err(format!("`{text}` is none of code:N, signal:N, reason:R, unknown")),
    })
}

fn read_status(text: &str) -> Result<Status, String> {
    match read_exit(text)? {
        Exit::Code(n) => Ok(Status::Code(n)),
        Exit::Signal(n) => Ok(Status::Signal(n)),
        _ => Err(format!("`{text}` is no exit status")),
    }
}

fn take<'a>(path: &str, definitions: &mut Definitions<'a>) -> Result<(&'a str, Keys<'a>, bool), String> {
    let i = definitions
        .iter()
        .position(|(p, ..)| *p == path)
        .ok_or_else(|| format!("{path} is not defined above"))?;
    Ok(definitions.remove(i))
}

fn take_tree(path: &str, keys: &[&str], definitions: &mut Definitions<'_>) -> Result<Tree, String> {
    let keys = Keys::new(keys);
    Ok(Tree {
        id: path.into(),
        root: take_supervisor(path, definitions)?,
        shutdown: keys.time("shutdown")?,
        seed: keys.parsed("seed")?.unwrap_or(0),
    })
}

fn take_supervisor(path: &str, definitions: &mut Definitions<'_>) -> Result<Supervisor, String> {
    let (_, keys, is_supervisor) = take(path, definitions)?;
    if !is_supervisor {
        return Err(format!("{path} is not a supervisor"));
    }
    supervisor(path, &keys, definitions)
}

fn supervisor(path: &str, keys: &Keys<'_>, definitions: &mut Definitions<'_>) -> Result<Supervisor, String> {
    let prefix = format!("{path}/");
    let direct = |p: &str| p.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/'));
    let names: Vec<String> =
        definitions.iter().filter(|(p, ..)| direct(p)).map(|(p, ..)| (*p).into()).collect();
    let mut children =
        names.iter().map(|path| take_child(path, definitions)).collect::<Result<Vec<Child>, String>>()?;
    let default = Supervisor::default();
    let strategy = keys.named("strategy", STRATEGIES)?.unwrap_or(default.strategy);
    Ok(Supervisor {
        strategy,
        intensity: keys.parsed("intensity")?.unwrap_or(default.intensity),
        period: keys.parsed("period")?.unwrap_or(default.period),
        auto_shutdown: keys.named("auto_shutdown", AUTO)?.unwrap_or(default.auto_shutdown),
        order: keys
            .named("order", &[("listed", Order::Listed), ("dependencies", Order::Dependencies)])?
            .unwrap_or(default.order),
        initial_start: keys
            .named("initial_start", &[("fail", InitialStart::Fail), ("retry", InitialStart::Retry)])?
            .unwrap_or(default.initial_start),
        exhausted: keys.named("exhausted", EXHAUSTED)?.unwrap_or(default.exhausted),
        retry_after: keys.time("retry_after")?,
        children: match strategy {
            Strategy::SimpleOneForOne if children.len() == 1 => {
                Children::Template(Box::new(children.remove(0)))
            }
            Strategy::SimpleOneForOne => return Err(format!("{path} needs exactly one template")),
            _ => Children::List(children),
        },
    })
}

fn take_child(path: &str, definitions: &mut Definitions<'_>) -> Result<Child, String> {
    let (_, keys, is_supervisor) = take(path, definitions)?;
    let kind = if is_supervisor {
        Kind::Supervisor(supervisor(path, &keys, definitions)?)
    } else {
        Kind::Worker(worker(&keys)?)
    };
    Ok(Child {
        id: path.rsplit('/').next().unwrap_or(path).into(),
        restart: keys.named("restart", RESTARTS)?.unwrap_or(Restart::Permanent),
        significant: keys.flag("significant"),
        shutdown: match shutdown(&keys, "shutdown")? {
            None if is_supervisor => Shutdown::Infinity,
            None => Shutdown::Time(Duration::from_secs(5)),
            Some(written) => written,
        },
        after: keys.list("after").into_iter().map(Into::into).collect(),
        backoff: backoff(&keys)?,
        kind,
    })
}

fn backoff(keys: &Keys<'_>) -> Result<Option<Backoff>, String> {
    let time = |text: &str| Ok::<Duration, String>(Duration::from_millis(number(text)?));
    match keys.list("backoff").as_slice() {
        [] => Ok(None),
        [immediate, first, factor, max, jitter, reset_after] => Ok(Some(Backoff {
            immediate: number(immediate)?,
            first: time(first)?,
            factor: number(factor)?,
            max: time(max)?,
            jitter_percent: number(jitter)?,
            reset_after: time(reset_after)?,
        })),
        _ => Err("backoff is immediate,first,factor,max,jitter,reset_after".into()),
    }
}

fn worker(keys: &Keys<'_>) -> Result<Worker, String> {
    let limit = match keys.list("limit").as_slice() {
        [] => None,
        [intensity, period, exhausted, after @ ..] => Some(Limit {
            intensity: number(intensity)?,
            period: number(period)?,
            exhausted: value_of(EXHAUSTED, exhausted)?,
            retry_after: after.first().map(|ms| number(ms)).transpose()?.map(Duration::from_millis),
        }),
        _ => return Err("limit is intensity,period,exhausted[,retry_after]".into()),
    };
    let statuses =
        |name: &str| keys.list(name).into_iter().map(read_status).collect::<Result<Vec<Status>, String>>();
    Ok(Worker {
        key: Key(keys.parsed("key")?.unwrap_or(0)),
        oneshot: keys.flag("oneshot"),
        ready: Ready {
            probe: keys.flag("probe"),
            within: keys.time("within")?,
            settle: keys.time("settle")?.unwrap_or_default(),
        },
        limit,
        ends: Ends {
            success: statuses("success")?,
            prevent: statuses("prevent")?,
            force: statuses("force")?,
            stop_signal: keys.parsed("stop_signal")?.unwrap_or(0),
        },
        essential: keys.flag("essential"),
        runtime_max: keys.time("runtime_max")?,
        shutdown_if_sick: shutdown(keys, "shutdown_if_sick")?,
    })
}

fn shutdown(keys: &Keys<'_>, name: &str) -> Result<Option<Shutdown>, String> {
    Ok(match keys.0.get(name) {
        None => None,
        Some(&"brutal_kill") => Some(Shutdown::BrutalKill),
        Some(&"infinity") => Some(Shutdown::Infinity),
        Some(ms) => Some(Shutdown::Time(Duration::from_millis(number(ms)?))),
    })
}
