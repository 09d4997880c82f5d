//! JSON in which no object has a key twice. Readers differ in which of the two they take; AWS refuses such a policy.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads one document.
pub(crate) fn json(text: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Strict>(text).map(|Strict(value)| value)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree).map(Self)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            found.push(item);
        }
        Ok(Value::Array(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if found.contains_key(&key) {
                return Err(de::Error::custom(format_args!("it has \"{key}\" twice in one place")));
            }
            found.insert(key, value);
        }
        Ok(Value::Object(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_there_twice_is_refused_wherever_it_is() {
        for twice in [
            r#"{"Statement": [], "Statement": []}"#,
            r#"{"Statement": [{"Effect": "Deny", "\u0045ffect": "Allow"}]}"#,
            r#"[{"a": {"b": 1, "b": 1}}]"#,
        ] {
            let why = json(twice.as_bytes()).unwrap_err().to_string();
            assert!(why.contains("twice in one place at line 1"), "{why}");
        }
    }

    #[test]
    fn all_else_is_read_as_it_is() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,0.5,"x"],"b":{"a":{}}}"#;
        assert_eq!(
            json(text.as_bytes()).unwrap(),
            serde_json::from_str::<Value>(text).unwrap()
        );
        for broken in ["", "{", "{} {}", "{\"a\":}", "\u{fe}"] {
            assert!(json(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
