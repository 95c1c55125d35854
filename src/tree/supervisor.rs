//! From the settings of a supervisor to what the engine is told.

use std::time::Duration;

use woodward_engine::spec::{
    self, AutoShutdown, Exhausted, InitialStart, Order, Restart, Shutdown, Strategy,
};

use super::settings::{Settings, Typed};
use super::value::Table;
use super::variables::Variables;

/// `intensity` and `period` of tree files; with `semantics = "otp"` OTP's.
pub fn limit_defaults(otp: bool) -> (u32, u32) {
    if otp { (1, 5) } else { (5, 600) }
}

/// The flags of a supervisor; its children come later.
pub fn spec(
    vars: &mut Variables,
    written: &Table,
    settings: &Settings,
    otp: bool,
    path: &str,
) -> spec::Supervisor {
    let strategy = match settings.word("strategy") {
        Some("one_for_all") => Strategy::OneForAll,
        Some("rest_for_one") => Strategy::RestForOne,
        Some("simple_one_for_one") => Strategy::SimpleOneForOne,
        _ => Strategy::OneForOne,
    };
    children_fit_strategy(vars, written, strategy, path);
    let (intensity, period) = limit_defaults(otp);
    let initial_start = match settings.word("initial_start") {
        Some("fail") => InitialStart::Fail,
        Some(_) => InitialStart::Retry,
        None if otp => InitialStart::Fail,
        None => InitialStart::Retry,
    };
    let root = !path.contains('/');
    let group = root && settings.table("failover").is_some();
    let exhausted = match settings.word("exhausted") {
        Some("park") => Exhausted::Park,
        Some("reboot") => Exhausted::Reboot,
        Some("failover") => {
            if let Some(entry) = written.entry("exhausted").filter(|_| !group) {
                vars.report.error(entry.value.span, "`exhausted = \"failover\"` needs a [failover] table");
            }
            Exhausted::Failover
        }
        Some("exit") if root => Exhausted::Exit,
        _ if group => Exhausted::Failover,
        _ if root => Exhausted::Exit,
        _ => Exhausted::Escalate,
    };
    let retry_after = settings.duration("retry_after");
    if let Some(span) = settings.span("retry_after").filter(|_| exhausted != Exhausted::Park) {
        vars.report.error(span, "`retry_after` means nothing without `exhausted = \"park\"`");
    }
    spec::Supervisor {
        strategy,
        intensity: settings.integer("intensity").unwrap_or(intensity),
        period: settings.duration("period").map_or(period, seconds),
        auto_shutdown: match settings.word("auto_shutdown") {
            Some("any_significant") => AutoShutdown::AnySignificant,
            Some("all_significant") => AutoShutdown::AllSignificant,
            _ => AutoShutdown::Never,
        },
        order: if settings.word("order") == Some("dependencies") {
            Order::Dependencies
        } else {
            Order::Listed
        },
        initial_start,
        exhausted,
        retry_after,
        children: spec::Children::List(Vec::new()),
    }
}

/// The child that a supervisor is for the supervisor above it.
pub fn child(id: &str, settings: &Settings) -> spec::Child {
    spec::Child {
        id: id.into(),
        restart: restart(settings.word("restart"), Restart::Permanent),
        significant: settings.boolean("significant"),
        shutdown: shutdown(settings.get("shutdown"), Shutdown::Infinity),
        after: Vec::new(),
        backoff: settings.table("backoff").map(backoff),
        kind: spec::Kind::Supervisor(spec::Supervisor::default()),
    }
}

/// A restart type.
pub fn restart(word: Option<&str>, default: Restart) -> Restart {
    match word {
        Some("permanent") => Restart::Permanent,
        Some("transient") => Restart::Transient,
        Some("temporary") => Restart::Temporary,
        _ => default,
    }
}

/// A kind of shutdown.
pub fn shutdown(typed: Option<&Typed>, default: Shutdown) -> Shutdown {
    match typed {
        Some(Typed::Duration(time)) => Shutdown::Time(*time),
        Some(Typed::Infinity) => Shutdown::Infinity,
        Some(Typed::BrutalKill) => Shutdown::BrutalKill,
        _ => default,
    }
}

/// Delays between restarts; what is not written is the default.
pub fn backoff(settings: &Settings) -> spec::Backoff {
    let max = settings.duration("max").unwrap_or(Duration::from_secs(30));
    spec::Backoff {
        immediate: settings.integer("immediate").unwrap_or(1),
        first: settings.duration("first").unwrap_or(Duration::from_secs(2)).min(max),
        factor: match settings.get("factor") {
            Some(Typed::Number(factor)) => *factor,
            _ => 2.0,
        },
        max,
        jitter_percent: match settings.get("jitter") {
            Some(Typed::Share(share)) => *share,
            _ => 10,
        },
        reset_after: settings.duration("reset_after").unwrap_or(max),
    }
}

/// Whole seconds, as the reader has made sure.
pub fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn children_fit_strategy(vars: &mut Variables, written: &Table, strategy: Strategy, path: &str) {
    let (child, template) = (written.entry("child"), written.entry("template"));
    if strategy != Strategy::SimpleOneForOne {
        if let Some(template) = template {
            let message = "a template needs `strategy = \"simple_one_for_one\"`";
            vars.report.error(template.key_span, message).within(path);
        } else if child.is_none() && written.overlays.is_empty() {
            let message = format!("{path} has no children");
            vars.report.error(written.span, message).hint("a [[child]] with `id` and `command`");
        }
        return;
    }
    if let Some(child) = child {
        vars.report
            .error(child.key_span, "simple_one_for_one takes a template instead of children")
            .within(path);
    }
    if template.is_none() {
        vars.report
            .error(written.span, "simple_one_for_one needs a template")
            .within(path)
            .hint("[child.template]");
    }
    if let Some(order) = written.entry("order") {
        vars.report.error(order.key_span, "`order` means nothing under simple_one_for_one").within(path);
    }
}
