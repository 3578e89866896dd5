//! The table of keys as JSON Schema (draft 2020-12), for editors that complete and underline.
//!
//! A schema knows one value at a time: what needs two sections is only found by `check`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::keys::{Default, Key, Kind, Names, ROOT, Shape, Status};

/// The whole schema.
pub fn schema() -> Value {
    let mut out = Schema { names: BTreeMap::new(), definitions: Map::new() };
    let mut root = out.object(&ROOT, "");
    root.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".into(), json!("Tidegate configuration"));
    root.insert("$defs".into(), Value::Object(out.definitions));
    Value::Object(root)
}

struct Schema {
    /// Shapes by their address: a shape that is used twice is written once, and the ring in
    /// `match` closes.
    names: BTreeMap<usize, String>,
    definitions: Map<String, Value>,
}

impl Schema {
    fn object(&mut self, shape: &'static Shape, path: &str) -> Map<String, Value> {
        let mut properties = Map::new();
        for key in shape.keys {
            let below =
                if path.is_empty() { key.name.into() } else { format!("{path}.{}", key.name) };
            properties.insert(key.name.into(), self.property(key, &below));
        }
        let required: Vec<&str> =
            shape.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
        let mut object = Map::new();
        object.insert("type".into(), json!("object"));
        object.insert("additionalProperties".into(), json!(false));
        object.insert("properties".into(), Value::Object(properties));
        if !required.is_empty() {
            object.insert("required".into(), json!(required));
        }
        object
    }

    fn property(&mut self, key: &'static Key, path: &str) -> Value {
        let mut value = self.kind(&key.kind, path);
        let Value::Object(object) = &mut value else { return value };
        let description = match key.status {
            Status::Now => key.doc.to_owned(),
            Status::Later | Status::Awaited => format!("Not supported yet. {}", key.doc),
        };
        object.insert("description".into(), json!(description));
        match key.default {
            Default::Value(text) => {
                object.insert("default".into(), default(&key.kind, text));
            }
            Default::Derived(words) => {
                object.insert("x-default".into(), json!(words));
            }
            Default::Absent => {}
        }
        value
    }

    fn kind(&mut self, kind: &'static Kind, path: &str) -> Value {
        match kind {
            Kind::Table(shape) => self.reference(shape, path),
            Kind::Many(inner) => {
                let inner = self.kind(inner, path);
                json!({ "anyOf": [inner, { "type": "array", "items": inner, "minItems": 1 }] })
            }
            Kind::List(inner) => json!({ "type": "array", "items": self.kind(inner, path) }),
            Kind::Named(names, inner) => {
                let inner = self.kind(inner, path);
                match names {
                    Names::Ours => json!({
                        "type": "object",
                        "propertyNames": { "pattern": NAME },
                        "additionalProperties": inner,
                    }),
                    Names::Header | Names::Free => {
                        json!({ "type": "object", "additionalProperties": inner })
                    }
                }
            }
            Kind::OneOf(kinds) => {
                let all: Vec<Value> = kinds.iter().map(|kind| self.kind(kind, path)).collect();
                json!({ "anyOf": all })
            }
            scalar => single(scalar),
        }
    }

    fn reference(&mut self, shape: &'static Shape, path: &str) -> Value {
        let address = std::ptr::from_ref(shape).addr();
        let name = match self.names.get(&address) {
            Some(name) => name.clone(),
            None => {
                // Before what is in it: the ring in `match` asks for this very name.
                self.names.insert(address, path.to_owned());
                let object = self.object(shape, path);
                self.definitions.insert(path.to_owned(), Value::Object(object));
                path.to_owned()
            }
        };
        json!({ "$ref": format!("#/$defs/{name}") })
    }
}

const NAME: &str = "^[A-Za-z0-9._-]{1,64}$";

fn single(kind: &Kind) -> Value {
    let pattern = match kind {
        Kind::Flag => return json!({ "type": "boolean" }),
        Kind::Integer(min, max) if *max == i64::MAX => {
            return json!({ "type": "integer", "minimum": min });
        }
        Kind::Integer(min, max) => {
            return json!({ "type": "integer", "minimum": min, "maximum": max });
        }
        Kind::Status(min, max) => {
            return json!({ "type": "integer", "minimum": min, "maximum": max });
        }
        Kind::Number => return json!({ "type": "number", "minimum": 0 }),
        Kind::StatusRange => {
            return json!({ "anyOf": [
                { "type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" },
                { "type": "integer", "minimum": 100, "maximum": 599 },
            ] });
        }
        Kind::Secret => return secret(),
        Kind::Word(words) => {
            let words: Vec<&str> = words.iter().map(|word| word.text).collect();
            return json!({ "enum": words });
        }
        Kind::Body | Kind::HeaderValue | Kind::Date => return json!({ "type": "string" }),
        Kind::Name | Kind::Pool | Kind::Listener => NAME,
        Kind::Duration(..) => "^([0-9]+(ms|w|d|h|m|s))+$",
        Kind::Size(..) => "^[0-9]+(B|KiB|MiB|GiB|TiB)$",
        Kind::SizeOrNone => "^([0-9]+(B|KiB|MiB|GiB|TiB)|none)$",
        Kind::Share(_) => "^[0-9]+(\\.[0-9]+)?%$",
        Kind::Rate => "^[0-9]+(\\.[0-9]+)?/[smh]$",
        Kind::Bandwidth => "^[0-9]+(\\.[0-9]+)?[KMG]?bps$",
        Kind::Factor => "^[0-9]+(\\.[0-9]+)?x$",
        Kind::ListenAddress | Kind::BackendAddress => ":[0-9]+$",
        Kind::Path | Kind::Target => "^/",
        Kind::WholePath => "^(/|\\*$)",
        Kind::Location => "^(/|https?://)",
        Kind::LogTarget => "^(stdout$|file:///|cloudwatch://)",
        _ => return json!({ "type": "string", "minLength": 1 }),
    };
    json!({ "type": "string", "pattern": pattern })
}

fn secret() -> Value {
    let way = |name: &str| {
        json!({
            "type": "object",
            "properties": { name: { "type": "string", "minLength": 1 } },
            "required": [name],
            "additionalProperties": false,
        })
    };
    json!({ "anyOf": [way("file"), way("env"), way("credential")] })
}

fn default(kind: &Kind, text: &str) -> Value {
    let is_toml = matches!(
        kind,
        Kind::Flag | Kind::Integer(..) | Kind::Number | Kind::Status(..) | Kind::Table(_)
    ) || text.starts_with('[');
    let parsed = is_toml.then(|| serde_json::from_str(text).ok()).flatten();
    parsed.unwrap_or_else(|| json!(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_to_a_definition() {
        fn check(value: &Value, definitions: &Map<String, Value>, seen: &mut u32) {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(target)) = object.get("$ref") {
                        let name = target.strip_prefix("#/$defs/").unwrap();
                        assert!(definitions.contains_key(name), "{name}");
                        *seen += 1;
                    }
                    object.values().for_each(|value| check(value, definitions, seen));
                }
                Value::Array(all) => all.iter().for_each(|value| check(value, definitions, seen)),
                _ => {}
            }
        }
        let schema = schema();
        let mut seen = 0;
        check(&schema, schema["$defs"].as_object().unwrap(), &mut seen);
        assert!(seen > 50);
    }

    #[test]
    fn unknown_keys_are_refused_everywhere() {
        let schema = schema();
        assert_eq!(schema["additionalProperties"], json!(false));
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            assert_eq!(definition["additionalProperties"], json!(false), "{name}");
        }
    }

    #[test]
    fn defaults_have_the_type_of_their_key() {
        let schema = schema();
        let listener = &schema["$defs"]["listeners"]["properties"];
        assert_eq!(listener["max_header_size"]["default"], json!("32KiB"));
        assert_eq!(listener["max_fields"]["default"], json!(100));
        assert_eq!(schema["required"], json!(["schema", "listeners"]));
    }
}
