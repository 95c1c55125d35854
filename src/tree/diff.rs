//! What differs between two plans of one child, in the words of the tree file, and when it takes effect.
//!
//! | takes effect | keys |
//! |---|---|
//! | by a restart | `command`, `kind`, `user`, `group`, `supplementary_groups`, `umask`, `nice`, `oom_score_adjust`, `limits`, `working_directory`, `stdin`, `environment`, `environment_file`, `pass_environment` (what comes out of them), `listen`, `lazy`, `output`, `log_rate_limit`, `stop.kill`, everything that has no row here |
//! | at the next start | `command_on_restart`, `directories`, `before_start`, `after_ready`, `ready` (a start that is not ready yet is made anew) |
//! | at once | `health` (with a watchdog: by a restart), `stop.command`, `stop.signal`, `after_stop`, `reload`, `description`, and all that the supervisor goes by: `restart`, `significant`, `shutdown`, `backoff`, `limit`, `after`, exit statuses, every key of a supervisor, the order of children |
//!
//! One comparison: what `apply --dry-run` shows is what `apply` goes by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use woodward_engine::spec;

use super::plan::{Check, Health, Identity, WorkerPlan};

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Key of the tree file, dotted in a table.
    pub key: String,
    /// When it takes effect.
    pub effect: Effect,
}

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// At once; nothing has to be restarted.
    Now,
    /// When the child is started the next time.
    NextStart,
    /// By a restart.
    Restart,
}

/// What differs between two plans of a worker.
pub fn worker(old: &WorkerPlan, new: &WorkerPlan) -> Vec<Change> {
    // Every field is named, so that a new one cannot be forgotten here.
    let WorkerPlan {
        path: _,
        description,
        oneshot,
        task,
        unit,
        command,
        command_on_restart,
        identity,
        working_directory,
        directories,
        stdin,
        environment: _,
        before_start,
        after_ready,
        after_stop,
        output,
        log_rate_limit,
        ready,
        listen,
        lazy,
        calm_ends,
        stop,
        health,
        reload,
        resources,
        sandbox,
        secret_names: _,
        environment_files: _,
        passes: _,
        bound,
    } = old;
    let mut changes = Vec::new();
    let mut say = |differs: bool, key: &str, effect: Effect| {
        if differs {
            changes.push(Change { key: key.to_owned(), effect });
        }
    };
    use Effect::{NextStart, Now, Restart};
    say((*oneshot, *task) != (new.oneshot, new.task), "kind", Restart);
    say(*unit != new.unit, "unit", Restart);
    say(*command != new.command && unit.is_none(), "command", Restart);
    say(*command_on_restart != new.command_on_restart, "command_on_restart", NextStart);
    let Identity { user, group, supplementary_groups, umask, nice, oom_score_adjust, limits } = identity;
    say(*user != new.identity.user, "user", Restart);
    say(*group != new.identity.group, "group", Restart);
    let groups = *supplementary_groups != new.identity.supplementary_groups;
    say(groups, "supplementary_groups", Restart);
    say(*umask != new.identity.umask, "umask", Restart);
    say(*nice != new.identity.nice, "nice", Restart);
    say(*oom_score_adjust != new.identity.oom_score_adjust, "oom_score_adjust", Restart);
    say(*limits != new.identity.limits, "limits", Restart);
    say(*working_directory != new.working_directory, "working_directory", Restart);
    say(*directories != new.directories, "directories", NextStart);
    say(*stdin != new.stdin, "stdin", Restart);
    for name in differing_names(old, new) {
        say(true, &format!("environment.{name}"), Restart);
    }
    say(*before_start != new.before_start, "before_start", NextStart);
    say(*after_ready != new.after_ready, "after_ready", NextStart);
    say(*after_stop != new.after_stop, "after_stop", Now);
    say(*output != new.output, "output", Restart);
    say(*log_rate_limit != new.log_rate_limit, "log_rate_limit", Restart);
    say(*ready != new.ready, "ready", NextStart);
    say(*bound != new.bound, "failover.isolate", Restart);
    say(*listen != new.listen, "listen", Restart);
    say(*lazy != new.lazy, "lazy", Restart);
    say(*calm_ends != new.calm_ends && *lazy, "success_exit_status", Restart);
    say(stop.command != new.stop.command, "stop.command", Now);
    say(stop.signal != new.stop.signal, "stop.signal", Now);
    say(stop.kill != new.stop.kill, "stop.kill", Restart);
    // A service with a watchdog was told so when it was started.
    let watchdog = |health: &Option<Health>| {
        health.as_ref().is_some_and(|health| matches!(health.check, Check::Watchdog(_)))
    };
    let told = watchdog(health) || watchdog(&new.health);
    say(*health != new.health, "health", if told { Restart } else { Now });
    say(*reload != new.reload, "reload", Now);
    say(*resources != new.resources, "resources", Restart);
    say(*sandbox != new.sandbox, "sandbox", Restart);
    say(*description != new.description, "description", Now);
    changes
}

/// Whether a process of the one is a process of the other: nothing differs that takes a restart.
pub fn is_same(old: &WorkerPlan, new: &WorkerPlan) -> bool {
    worker(old, new).iter().all(|change| change.effect != Effect::Restart)
}

/// Names of variables that differ, never their values.
fn differing_names<'p>(old: &'p WorkerPlan, new: &'p WorkerPlan) -> Vec<&'p str> {
    if Arc::ptr_eq(&old.environment, &new.environment) || old.environment == new.environment {
        return Vec::new();
    }
    let of = |plan: &'p WorkerPlan| -> BTreeMap<&str, &str> {
        plan.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    };
    let (old, new) = (of(old), of(new));
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    names.into_iter().filter(|name| old.get(name) != new.get(name)).collect()
}

/// What differs in what the supervisor of a child goes by, its place among its siblings aside.
pub fn child(old: &spec::Child, new: &spec::Child) -> Vec<Change> {
    let spec::Child { id: _, restart, significant, shutdown, after, backoff, kind } = old;
    let mut keys = Keys::default();
    keys.say(*restart != new.restart, "restart");
    keys.say(*significant != new.significant, "significant");
    keys.say(*shutdown != new.shutdown, "shutdown");
    keys.say(*after != new.after, "after");
    keys.say(*backoff != new.backoff, "backoff");
    match (kind, &new.kind) {
        (spec::Kind::Worker(old), spec::Kind::Worker(new)) => keys.worker(old, new),
        (spec::Kind::Supervisor(old), spec::Kind::Supervisor(new)) => keys.supervisor(old, new),
        (spec::Kind::Worker(_), _) | (spec::Kind::Supervisor(_), _) => {
            keys.0.push(Change { key: "kind".to_owned(), effect: Effect::Restart });
        }
    }
    keys.0
}

/// What differs in the flags of a supervisor.
pub fn supervisor(old: &spec::Supervisor, new: &spec::Supervisor) -> Vec<Change> {
    let mut keys = Keys::default();
    keys.supervisor(old, new);
    keys.0
}

#[derive(Default)]
struct Keys(Vec<Change>);

impl Keys {
    fn say(&mut self, differs: bool, key: &str) {
        if differs {
            self.0.push(Change { key: key.to_owned(), effect: Effect::Now });
        }
    }

    fn worker(&mut self, old: &spec::Worker, new: &spec::Worker) {
        let spec::Worker { ready, limit, ends, essential, runtime_max, shutdown_if_sick, key: _, oneshot: _ } =
            old;
        self.say(*limit != new.limit, "limit");
        self.say(ends.success != new.ends.success, "success_exit_status");
        self.say(ends.prevent != new.ends.prevent, "restart_prevent_exit_status");
        self.say(ends.force != new.ends.force, "restart_force_exit_status");
        self.say(*essential != new.essential, "essential");
        self.say(*shutdown_if_sick != new.shutdown_if_sick, "health.shutdown");
        let mut next = |differs: bool, key: &str| {
            if differs {
                self.0.push(Change { key: key.to_owned(), effect: Effect::NextStart });
            }
        };
        next(ready.within != new.ready.within, "ready.within");
        next(ready.settle != new.ready.settle, "ready.settle");
        next(*runtime_max != new.runtime_max, "runtime_max");
    }

    fn supervisor(&mut self, old: &spec::Supervisor, new: &spec::Supervisor) {
        let spec::Supervisor {
            strategy,
            intensity,
            period,
            auto_shutdown,
            order,
            initial_start,
            exhausted,
            retry_after,
            children: _,
        } = old;
        self.say(*strategy != new.strategy, "strategy");
        self.say(*intensity != new.intensity, "intensity");
        self.say(*period != new.period, "period");
        self.say(*auto_shutdown != new.auto_shutdown, "auto_shutdown");
        self.say(*order != new.order, "order");
        self.say(*initial_start != new.initial_start, "initial_start");
        self.say(*exhausted != new.exhausted, "exhausted");
        self.say(*retry_after != new.retry_after, "retry_after");
    }
}
