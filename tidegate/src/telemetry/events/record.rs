//! From a log record to an event.

use std::fmt::{self, Write};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{Event, EventRing};

/// A value is cut behind so many bytes: reasons can quote what a peer has sent.
const MAX_VALUE_BYTES: usize = 256;
/// Fields beside the well-known ones; further ones are left out.
const MAX_FIELDS: usize = 12;

/// Crates whose records may be events. Another's one-word message is none.
const OURS: [&str; 5] = ["balancer", "health", "infra", "scaler", "tidegate"];

/// Listens to the log.
pub(super) struct Recorder(pub(super) Arc<EventRing>);

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, record: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = record.metadata();
        let source = metadata.target().split("::").next().unwrap_or_default();
        // Levels are ordered by how much they let through.
        if *metadata.level() > Level::INFO || !OURS.contains(&source) {
            return;
        }
        let mut fields = Fields::default();
        record.record(&mut fields);
        let mut event = fields.0;
        if is_kind(&event.event) {
            event.level = metadata.level().as_str().to_ascii_lowercase();
            event.at = format!("{:.3}", Timestamp::now());
            self.0.push(event);
        }
    }
}

/// One word of a closed set, as against a sentence: `backend_ejected`.
pub(super) fn is_kind(message: &str) -> bool {
    message.contains('_')
        && message.starts_with(|c: char| c.is_ascii_lowercase())
        && !message.ends_with('_')
        && message.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[derive(Default)]
struct Fields(Event);

impl Fields {
    fn put(&mut self, name: &str, value: Value) {
        let event = &mut self.0;
        let known = match name {
            "pool" => &mut event.pool,
            "backend" => &mut event.backend,
            "route" => &mut event.route,
            "reason" => &mut event.reason,
            "from" => &mut event.from,
            "to" => &mut event.to,
            "actor" => &mut event.actor,
            "message" => {
                event.event = text(value);
                return;
            }
            _ => {
                if event.fields.len() < MAX_FIELDS {
                    event.fields.insert(name.to_owned(), value);
                }
                return;
            }
        };
        *known = Some(text(value));
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Short::default();
        // It fails once there is enough.
        let _ = write!(text, "{value:?}");
        self.put(field.name(), text.0.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Short::default();
        let _ = text.write_str(value);
        self.put(field.name(), text.0.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value.into());
    }
}

/// Text that takes no more than is kept.
#[derive(Default)]
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = MAX_VALUE_BYTES.saturating_sub(self.0.len());
        if more.len() <= room {
            self.0.push_str(more);
            return Ok(());
        }
        self.0.push_str(&more[..more.floor_char_boundary(room)]);
        Err(fmt::Error)
    }
}
