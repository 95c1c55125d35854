//! woodward's own records: facts and diagnostics, as `tracing` events, and where they go.
//!
//! A fact becomes an event with the fields of the journal (`WOODWARD_PATH`, `MESSAGE_ID`, ...), a diagnostic is what
//! `tracing::warn!` and its like say anywhere in the house or below it. The subscriber is [`Own`]: it makes a record of
//! the journal's native protocol out of an event. A diagnostic goes into the queue of the journal's device from wherever
//! it was said; facts, of which there may be thousands a second, become events on the thread of that device only.
//!
//! The crate `tracing-journald` has no part in it: it writes from the thread that records, to a socket that blocks, and
//! says nothing of records that were refused. Nobody but the device may wait for journald, and what is lost is counted.
//!
//! Diagnostics go to standard error as well when somebody looks or there is no journal; facts have lines of their own
//! there, see [`super::console`].

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::console;
use super::device::Device;
use super::fact::FactLine;
use super::journal::{self, put};
use super::kinds::{self, Weight};
use super::lock;
use super::words::leaf;
use crate::settings;

/// Target of the events that are facts.
const FACT: &str = "woodward::fact";

/// Where own records go.
#[derive(Debug)]
pub(super) struct Own {
    /// `None`: there is no journal.
    journal: Option<To>,
    /// For diagnostics; `None`: nobody looks.
    console: Option<Arc<Device<console::Job>>>,
    level: LevelFilter,
}

/// The way of a record into the journal.
#[derive(Debug)]
pub(super) enum To {
    /// By the queue of its device; what that does not take is counted.
    Queue(Arc<Device<journal::Job>>, Arc<AtomicU64>),
    /// This is the device: it is put here to be sent.
    Here(Arc<Mutex<Vec<Vec<u8>>>>),
}

impl Own {
    pub(super) fn new(
        journal: Option<To>,
        console: Option<Arc<Device<console::Job>>>,
        level: settings::Level,
    ) -> Own {
        let level = match level {
            settings::Level::Off => LevelFilter::OFF,
            settings::Level::Error => LevelFilter::ERROR,
            settings::Level::Warn => LevelFilter::WARN,
            settings::Level::Info => LevelFilter::INFO,
            settings::Level::Debug => LevelFilter::DEBUG,
            settings::Level::Trace => LevelFilter::TRACE,
        };
        Own { journal, console, level }
    }

    fn send(&self, record: Vec<u8>) {
        match &self.journal {
            Some(To::Queue(journal, unsent)) => {
                let bytes = record.len();
                if !journal.send(journal::Job::Own(record), bytes) {
                    unsent.fetch_add(1, Ordering::Relaxed);
                }
            }
            Some(To::Here(records)) => lock(records).push(record),
            None => {}
        }
    }
}

/// Records a fact as an event of the current dispatcher.
pub(super) fn tell(line: &FactLine) {
    let weight = weight(line);
    let id = kinds::message_id(&line.kind);
    let space = if line.path.is_empty() { "" } else { ": " };
    // What has no field of its own, for the one subscriber that takes it apart again.
    let others = serde_json::to_string(&line.fields).unwrap_or_default();
    macro_rules! event {
        ($level:expr) => {
            tracing::event!(
                target: FACT,
                $level,
                MESSAGE_ID = id.as_str(),
                PRIORITY = weight as u64,
                WOODWARD_PATH = line.path.as_str(),
                WOODWARD_CHILD = leaf(&line.path),
                WOODWARD_GENERATION = line.generation,
                WOODWARD_INCIDENT = line.incident,
                WOODWARD_SEQ = line.seq,
                WOODWARD_KIND = line.kind.as_str(),
                others = others.as_str(),
                "{}{space}{}",
                line.path,
                line.text,
            )
        };
    }
    match weight {
        Weight::Error => event!(Level::ERROR),
        Weight::Warning => event!(Level::WARN),
        Weight::Notice | Weight::Info => event!(Level::INFO),
    }
}

/// An end is a warning only when nobody asked for it and it was no calm one.
fn weight(line: &FactLine) -> Weight {
    let crash = line.kind == "ended" && !line.flag("asked") && line.word("reason") != Some("normal");
    match kinds::find(&line.kind) {
        _ if crash => Weight::Warning,
        Some(kind) => kind.weight,
        None => Weight::Info,
    }
}

impl Subscriber for Own {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && (metadata.target() == FACT || *metadata.level() <= self.level)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.max(LevelFilter::INFO))
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut fields =
            Fields { record: Vec::with_capacity(512), message: String::new(), others: String::new() };
        event.record(&mut fields);
        let Fields { mut record, message, others } = fields;
        put(&mut record, "MESSAGE", message.as_bytes());
        put(&mut record, "SYSLOG_IDENTIFIER", b"woodward");
        if metadata.target() == FACT {
            return self.send(record);
        }
        let (priority, word) = match *metadata.level() {
            Level::ERROR => (b"3", "error"),
            Level::WARN => (b"4", "warning"),
            Level::INFO => (b"6", "info"),
            Level::DEBUG => (b"7", "debug"),
            Level::TRACE => (b"7", "trace"),
        };
        put(&mut record, "PRIORITY", priority);
        put(&mut record, "TARGET", metadata.target().as_bytes());
        self.send(record);
        if let Some(console) = &self.console {
            let text = format!("woodward: {word}: {message}{others}\n");
            let bytes = text.len();
            // A console that takes no more is no archive; the journal counts.
            console.send(console::Job::Own(text), bytes);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        // None is enabled.
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The fields of an event on their way into a record.
struct Fields {
    record: Vec<u8>,
    message: String,
    /// ` name=value` of a diagnostic.
    others: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            "others" => {
                let fields: Map<String, Value> = serde_json::from_str(value).unwrap_or_default();
                for (name, value) in &fields {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    put(&mut self.record, &format!("WOODWARD_{}", name.to_uppercase()), value.as_bytes());
                }
            }
            name => {
                let _ = write!(self.others, " {name}={value}");
                put(&mut self.record, &name.to_uppercase().replace('.', "_"), value.as_bytes());
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}
