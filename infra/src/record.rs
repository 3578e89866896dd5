//! A message as machines read it: the same JSON for every sink (`docs/alerts.md`).

use scaler::ports::Message;
use serde_json::{Map, Value, json};

/// Of the object: one more when a field changes its name or meaning.
const VERSION: u32 = 1;

pub(crate) fn of(message: &Message) -> Value {
    let fields = message.fields.iter().map(|(name, value)| (name.to_string(), json!(value)));
    json!({
        "version": VERSION,
        "key": message.key,
        "sequence": message.sequence,
        "at": message.at.to_string(),
        "state": message.state.word(),
        "severity": message.severity.word(),
        "kind": &*message.kind,
        "site": &*message.site,
        "pool": message.pool.as_ref().map(ToString::to_string),
        "title": message.title,
        "text": message.text,
        "fields": fields.collect::<Map<String, Value>>(),
    })
}
