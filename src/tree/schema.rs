//! The JSON schema of tree files, made from the tables of [`super::keys`]: editors complete and check by it.

use serde_json::{Map, Value, json};

use super::keys::{self, Key, Keys, Kind, Support};

/// The schema as it is committed, with a newline at the end.
pub fn schema() -> String {
    let mut definitions = Map::new();
    let places = [
        ("supervisor", keys::AT_INNER, &["id"][..]),
        ("worker", keys::AT_WORKER, &["id", "command"]),
        ("defaults", keys::AT_DEFAULTS, &[]),
        ("template", keys::AT_TEMPLATE, &["id", "command"]),
    ];
    for (name, keys, required) in places {
        definitions.insert(name.to_owned(), table(keys, required));
    }
    // Both say so much alike that an editor can only tell them by `command`.
    let child = json!({
        "if": { "required": ["command"] },
        "then": { "$ref": "#/definitions/worker" },
        "else": { "$ref": "#/definitions/supervisor" },
    });
    definitions.insert("child".to_owned(), child);
    let mut root = table(keys::AT_ROOT, &["id"]);
    if let Some(root) = root.as_object_mut() {
        root.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
        root.insert("title".to_owned(), json!("A woodward tree file"));
        root.insert("definitions".to_owned(), Value::Object(definitions));
    }
    // Printing a value made of maps and strings cannot fail.
    serde_json::to_string_pretty(&root).unwrap_or_default() + "\n"
}

fn table(keys: Keys, required: &[&str]) -> Value {
    let mut properties = Map::new();
    for key in keys.iter().flat_map(|group| group.iter()) {
        if key.support == Support::Yes {
            properties.entry(key.name).or_insert_with(|| property(key));
        }
    }
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}

fn property(key: &Key) -> Value {
    let mut value = kind(key.kind);
    if let Some(value) = value.as_object_mut() {
        let default =
            if key.default.is_empty() { String::new() } else { format!(" Default: {}.", key.default) };
        value.insert("description".to_owned(), json!(format!("{}{default}", key.about)));
    }
    value
}

fn kind(kind: Kind) -> Value {
    let text = || json!({ "type": "string" });
    let variable = || json!({ "type": "string", "pattern": r"^\$\{.*\}$" });
    let strings = || json!({ "type": "array", "items": { "type": "string" } });
    let any = |kinds: Vec<Value>| json!({ "anyOf": kinds });
    let pattern = |pattern: &str| json!({ "type": "string", "pattern": format!(r"\$\{{|{pattern}") });
    const DURATION: &str = r"^([0-9]+(ms|s|m|h|d))+$";
    match kind {
        Kind::Id => pattern("^[A-Za-z0-9_.:@-]+$"),
        Kind::Text | Kind::Path => text(),
        Kind::Boolean => any(vec![json!({ "type": "boolean" }), variable()]),
        Kind::Yes => json!({ "const": true }),
        Kind::Integer(least, most) => {
            any(vec![json!({ "type": "integer", "minimum": least, "maximum": most }), variable()])
        }
        Kind::Number(least, most) => {
            any(vec![json!({ "type": "number", "minimum": least, "maximum": most }), variable()])
        }
        Kind::Duration | Kind::Seconds => pattern(DURATION),
        Kind::DurationOrInfinity => pattern(&format!("^infinity$|{DURATION}")),
        Kind::Shutdown => pattern(&format!("^infinity$|^brutal_kill$|{DURATION}")),
        Kind::SizeOrInfinity => pattern("^infinity$|^[0-9]+[KMGT]?$"),
        Kind::CountOrInfinity => {
            any(vec![json!({ "type": "integer", "minimum": 1 }), json!({ "const": "infinity" }), variable()])
        }
        Kind::Percent => pattern("^[0-9]+%$"),
        Kind::Size => pattern("^[0-9]+[KMGT]?$"),
        Kind::Share => pattern("^[0-9]{1,3}%$"),
        Kind::Octal => pattern("^(0o)?[0-7]{1,4}$"),
        Kind::Signal => pattern("^SIG[A-Z0-9+]+$"),
        Kind::Statuses => {
            let status = any(vec![json!({ "type": "integer", "minimum": 0, "maximum": 255 }), text()]);
            json!({ "type": "array", "items": status })
        }
        Kind::Account => any(vec![text(), json!({ "type": "integer", "minimum": 0 })]),
        Kind::Rlimit => any(vec![json!({ "type": "integer", "minimum": 0 }), text()]),
        Kind::Choice(words) => any(vec![json!({ "enum": words }), variable()]),
        Kind::Strings => any(vec![strings(), variable()]),
        Kind::Paths | Kind::Command => any(vec![text(), strings()]),
        Kind::Commands => any(vec![text(), strings(), json!({ "type": "array", "items": strings() })]),
        Kind::Environment => json!({ "type": "object", "additionalProperties": text() }),
        Kind::Vars => {
            let value =
                any(vec![text(), json!({ "type": "integer" }), json!({ "type": "boolean" }), strings()]);
            json!({ "type": "object", "additionalProperties": value })
        }
        Kind::Pass => any(vec![json!({ "type": "boolean" }), strings()]),
        Kind::Table(keys) => any(vec![table(keys, &[]), json!({ "const": false })]),
        Kind::Tables(keys) => json!({ "type": "array", "items": table(keys, &[]) }),
        Kind::TableOrTables(keys) => {
            any(vec![table(keys, &[]), json!({ "type": "array", "items": table(keys, &[]) })])
        }
        Kind::ChoiceOrTable(words, keys) => any(vec![json!({ "enum": words }), table(keys, &[])]),
        Kind::Each => json!({ "type": "object", "minProperties": 1, "maxProperties": 1 }),
        Kind::Only | Kind::Unread => json!({ "type": "object" }),
        Kind::Children => json!({ "type": "array", "items": { "$ref": "#/definitions/child" } }),
        Kind::Defaults => json!({ "$ref": "#/definitions/defaults" }),
        Kind::Template => json!({ "$ref": "#/definitions/template" }),
    }
}
