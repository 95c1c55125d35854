//! What is said to the JSON gateway of etcd 3.4, 3.5 and 3.6, and what it answers: keys and values in base64, numbers of
//! 64 bits as texts, fields with their default left out.

use hyper::body::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use woodward_engine::cluster::{Condition, Transaction, Write};

use crate::store::words::{self, Prefix};

/// A transaction. One without writes reads something, or it would not be asked of all members.
pub fn transaction(prefix: &Prefix, transaction: &Transaction) -> Bytes {
    let compare: Vec<_> = transaction
        .conditions
        .iter()
        .map(|Condition::At(key, revision)| {
            json!({
                "key": base64(prefix.key(key).as_bytes()),
                "target": "MOD",
                "result": "EQUAL",
                "mod_revision": revision.to_string(),
            })
        })
        .collect();
    let looked = json!({ "request_range": { "key": base64(prefix.first().as_bytes()) } });
    let mut success: Vec<_> = transaction
        .writes
        .iter()
        .map(|write| match write {
            Write::Put(key, value) => json!({ "request_put": {
                "key": base64(prefix.key(key).as_bytes()),
                "value": base64(words::value(value).as_bytes()),
            } }),
            Write::Delete(key) => {
                json!({ "request_delete_range": { "key": base64(prefix.key(key).as_bytes()) } })
            }
        })
        .collect();
    if success.is_empty() {
        success.push(looked.clone());
    }
    json!({ "compare": compare, "success": success, "failure": [looked] }).to_string().into()
}

/// All keys of a cluster.
pub fn range(prefix: &Prefix) -> Bytes {
    json!({ "key": base64(prefix.first().as_bytes()), "range_end": base64(prefix.behind().as_bytes()) })
        .to_string()
        .into()
}

/// No key, only where the store is.
pub fn revision(prefix: &Prefix) -> Bytes {
    json!({ "key": base64(prefix.first().as_bytes()), "count_only": true }).to_string().into()
}

/// All changes from a revision on.
pub fn watch(prefix: &Prefix, from: u64) -> Bytes {
    json!({ "create_request": {
        "key": base64(prefix.first().as_bytes()),
        "range_end": base64(prefix.behind().as_bytes()),
        "start_revision": from.to_string(),
        "progress_notify": true,
    } })
    .to_string()
    .into()
}

/// A login.
pub fn login(name: &str, password: &str) -> Bytes {
    json!({ "name": name, "password": password }).to_string().into()
}

/// Let that member lead.
pub fn lead(member: u64) -> Bytes {
    json!({ "targetID": member.to_string() }).to_string().into()
}

/// Who answers, and when.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Header {
    #[serde(deserialize_with = "number")]
    pub cluster_id: u64,
    #[serde(deserialize_with = "number")]
    pub member_id: u64,
    #[serde(deserialize_with = "number")]
    pub revision: u64,
    #[serde(deserialize_with = "number")]
    pub raft_term: u64,
}

/// Where a member is asked for its state.
pub const STATUS: &str = "/v3/maintenance/status";

/// What every answer has, but that to a change of the leader.
pub trait Headed {
    fn header(&self) -> Option<&Header>;
}

macro_rules! answers {
    ($($(#[$about:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty),* })*) => { $(
        $(#[$about])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        pub struct $name {
            pub header: Header,
            $($(#[$attribute])* pub $field: $type,)*
        }
        impl Headed for $name {
            fn header(&self) -> Option<&Header> {
                Some(&self.header)
            }
        }
    )* };
}

answers! {
    /// To a transaction.
    Transacted { succeeded: bool }
    /// To a range.
    Ranged { kvs: Vec<Entry> }
    /// To a login.
    LoggedIn { token: String }
    /// To a question for its state.
    Status { #[serde(deserialize_with = "number")] leader: u64 }
    /// To a watch, one of many.
    Batch {
        events: Vec<Change>,
        canceled: bool,
        #[serde(deserialize_with = "number")] compact_revision: u64,
        cancel_reason: String,
        fragment: bool
    }
}

/// To a change of the leader.
#[derive(Debug, Deserialize)]
pub struct Led {}

impl Headed for Led {
    fn header(&self) -> Option<&Header> {
        None
    }
}

/// A key with its value.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Entry {
    #[serde(deserialize_with = "bytes")]
    pub key: Vec<u8>,
    #[serde(deserialize_with = "bytes")]
    pub value: Vec<u8>,
    #[serde(deserialize_with = "number")]
    pub mod_revision: u64,
}

/// One change of a key; `PUT` is left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Change {
    #[serde(rename = "type")]
    pub kind: Kind,
    pub kv: Entry,
}

/// What a change is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Kind {
    #[default]
    Put,
    Delete,
}

/// One line of a watch.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Line {
    pub result: Option<Batch>,
    pub error: Option<Problem>,
}

/// Its words when it refuses; `code` is that of gRPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    #[serde(alias = "grpc_code")]
    pub code: u32,
    pub message: String,
}

impl Problem {
    /// Reads what came with another status than success.
    pub fn read(body: &[u8]) -> Option<Problem> {
        // 3.4 says the same under `error` and `message`.
        #[derive(Deserialize)]
        struct Said {
            #[serde(default)]
            code: u32,
            message: Option<String>,
            error: Option<String>,
        }
        let said: Said = serde_json::from_slice(body).ok()?;
        Some(Problem { code: said.code, message: said.message.or(said.error)? })
    }

    /// The login is over, or permissions have changed since: another login may help, and nothing was done.
    pub fn is_login(&self) -> bool {
        self.code == 16
            || self.message.contains("invalid auth token")
            || self.message.contains("revision in header is old")
    }

    /// The store has no logins at all.
    pub fn is_open(&self) -> bool {
        self.message.contains("authentication is not enabled")
    }

    /// Nothing was done, for certain: wrong question (3), permission (7), no room (8), login (16).
    pub fn is_definite(&self) -> bool {
        matches!(self.code, 3 | 7 | 8 | 16) || self.is_login()
    }

    /// It cannot answer just now (4: too late, 14: no leader, it is being stopped), rather than will not.
    pub fn is_passing(&self) -> bool {
        matches!(self.code, 4 | 14)
    }

    /// Its words, and what helps where that is known.
    pub fn said(&self) -> String {
        let words = self.message.strip_prefix("etcdserver: ").unwrap_or(&self.message);
        let words: String = words.chars().take(300).flat_map(char::escape_debug).collect();
        let help = if self.message.contains("database space exceeded") {
            " (compact and defragment it, then etcdctl alarm disarm)"
        } else if self.message.contains("too many operations") {
            " (its --max-txn-ops is too small)"
        } else if self.message.contains("permission denied") {
            " (its user needs read and write below /woodward/)"
        } else {
            ""
        };
        format!("etcd says: {words}{help}")
    }
}

/// A number that may stand as a text.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    from_base64(&text).ok_or_else(|| serde::de::Error::custom("no base64"))
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648, section 4.
pub fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0);
    for letter in text.bytes() {
        let six = LETTERS.iter().position(|l| *l == letter)?;
        bits = bits << 6 | u32::try_from(six).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 255) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(plain.as_bytes()));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_base64(&base64(&all)), Some(all));
        assert_eq!(from_base64("Zm9v!"), None);
    }

    #[test]
    fn answers_are_read_with_numbers_as_texts_and_defaults_left_out() {
        let line = r#"{"result":{"header":{"cluster_id":"1","member_id":18446744073709551615,"revision":"7"},
            "events":[{"kv":{"key":"YQ==","mod_revision":"7","value":"MQ=="}},{"type":"DELETE","kv":{"key":"Yg=="}}]}}"#;
        let batch = serde_json::from_str::<Line>(line).expect("it is read").result.expect("a result");
        assert_eq!((batch.header.member_id, batch.header.revision), (u64::MAX, 7));
        assert_eq!((batch.events[0].kind, &batch.events[0].kv.key[..]), (Kind::Put, &b"a"[..]));
        assert_eq!(batch.events[1].kind, Kind::Delete);
        let full = br#"{"error":"etcdserver: mvcc: database space exceeded","code":8}"#;
        let problem = Problem::read(full).expect("it is read");
        assert!(problem.is_definite() && problem.said().contains("alarm disarm"), "{}", problem.said());
        for odd in [&b"[]"[..], b"<html>", b"", b"{}"] {
            assert_eq!(Problem::read(odd), None);
        }
    }
}
