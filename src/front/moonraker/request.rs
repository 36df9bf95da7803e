//! JSON-RPC requests as they are read: in one pass, the members that count put in their places. The record that a client
//! stores stays the JSON text that it is; a tree of its values would be made only to be written again.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::methods;

/// The argument that [`Method::record`](methods::Method::record) is about.
const RECORD: &str = "value";

/// One frame of a client.
pub enum Frame {
    Request(Request),
    Batch(Vec<Frame>),
    /// JSON, but no request.
    Other,
}

/// A request, its members not yet judged. What stands twice counts as it stands last.
#[derive(Default)]
pub struct Request {
    pub version: Value,
    pub method: Value,
    pub id: Value,
    pub params: Params,
    /// It has a result or an error: an answer to a request that nobody made.
    pub is_answer: bool,
}

#[derive(Default)]
pub enum Params {
    #[default]
    None,
    /// The second is the record's JSON text; it is among the first ones where the client names the method last.
    Named(Map<String, Value>, Option<Arc<str>>),
    Other,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Jsonrpc,
    Method,
    Params,
    Id,
    Result,
    Error,
    #[serde(other)]
    Other,
}

/// What is made of values that have no members.
macro_rules! scalars_are {
    ($other:expr) => {
        fn expecting(&self, told: &mut fmt::Formatter<'_>) -> fmt::Result {
            told.write_str("JSON")
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
}

impl<'de> Deserialize<'de> for Frame {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Frame;
            scalars_are!(Frame::Other);

            fn visit_unit<E>(self) -> Result<Frame, E> {
                Ok(Frame::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Frame, A::Error> {
                let mut batch = Vec::new();
                while let Some(frame) = items.next_element()? {
                    batch.push(frame);
                }
                Ok(Frame::Batch(batch))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Frame, A::Error> {
                let mut request = Request::default();
                while let Some(member) = members.next_key()? {
                    match member {
                        Member::Jsonrpc => request.version = members.next_value()?,
                        Member::Method => request.method = members.next_value()?,
                        Member::Id => request.id = members.next_value()?,
                        Member::Params => {
                            request.params = members.next_value_seed(ParamsOf(&request.method))?
                        }
                        Member::Result | Member::Error => {
                            members.next_value::<IgnoredAny>()?;
                            request.is_answer = true;
                        }
                        Member::Other => drop(members.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Frame::Request(request))
            }
        }
        from.deserialize_any(Read)
    }
}

/// The arguments of this method, as far as it is known.
struct ParamsOf<'a>(&'a Value);

impl<'de> DeserializeSeed<'de> for ParamsOf<'_> {
    type Value = Params;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Params, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ParamsOf<'_> {
    type Value = Params;
    scalars_are!(Params::Other);

    fn visit_unit<E>(self) -> Result<Params, E> {
        Ok(Params::None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Params, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Params::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Params, A::Error> {
        let records = self.0.as_str().and_then(methods::find).is_some_and(|method| method.record);
        let (mut named, mut record) = (Map::new(), None);
        while let Some(name) = members.next_key::<String>()? {
            if records && name == RECORD {
                record = Some(members.next_value::<&RawValue>()?.get().into());
            } else {
                named.insert(name, members.next_value()?);
            }
        }
        Ok(Params::Named(named, record))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(frame: &str) -> Request {
        match serde_json::from_str(frame).expect("JSON") {
            Frame::Request(request) => request,
            _ => panic!("no request: {frame}"),
        }
    }

    #[test]
    fn a_record_to_be_stored_is_read_as_text() {
        let request = read(
            r#"{"jsonrpc": "2.0", "method": "server.database.post_item",
                "params": {"namespace": "mainsail", "value": {"b": [1, -2.50, "\u00e9\n"], "a": null}, "key": "k"}, "id": 7}"#,
        );
        assert_eq!((request.version, request.id), (json!("2.0"), json!(7)));
        let Params::Named(named, record) = request.params else { panic!("no arguments") };
        assert_eq!(Value::Object(named), json!({"namespace": "mainsail", "key": "k"}));
        assert_eq!(record.as_deref(), Some(r#"{"b": [1, -2.50, "\u00e9\n"], "a": null}"#));
    }

    /// As the real server takes it; what is no JSON is told all the same.
    #[test]
    fn a_record_may_hold_what_no_value_of_ours_holds() {
        let frame = |value: &str| {
            format!(
                r#"{{"method": "server.database.post_item", "params": {{"key": "k", "value": {value}}}}}"#
            )
        };
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for value in [r#""\ud800""#, "1e999", "123456789012345678901234567890", deep.as_str()] {
            let Params::Named(_, record) = read(&frame(value)).params else { panic!("no arguments") };
            assert_eq!(record.as_deref(), Some(value));
        }
        for value in ["[1,]", "{1: 2}", "\"\u{1}\"", "tru", "01", "[", "1 2", r#""\x""#] {
            assert!(serde_json::from_str::<Frame>(&frame(value)).is_err(), "{value}");
        }
    }

    /// Others take it as any argument, and so does one who names the method last.
    #[test]
    fn other_values_stay_values() {
        for frame in [
            r#"{"method": "printer.objects.query", "params": {"value": 5}}"#,
            r#"{"params": {"value": 5}, "method": "server.database.post_item"}"#,
        ] {
            let Params::Named(named, None) = read(frame).params else { panic!("{frame}") };
            assert_eq!(Value::Object(named), json!({"value": 5}));
        }
    }

    #[test]
    fn what_is_no_request_is_told_apart() {
        for frame in ["5", "-5", "0.5", "null", "true", "\"text\""] {
            assert!(matches!(serde_json::from_str(frame), Ok(Frame::Other)), "{frame}");
            let with = read(&format!(r#"{{"params": {frame}}}"#)).params;
            assert!(matches!(with, Params::None) == (frame == "null"), "{frame}");
        }
        assert!(matches!(read(r#"{"params": [1, {"a": 2}]}"#).params, Params::Other));
        let batch = serde_json::from_str(r#"[{"method": "a"}, 5, []]"#).expect("JSON");
        let Frame::Batch(batch) = batch else { panic!("no batch") };
        let kinds = (&batch[0], &batch[1], &batch[2]);
        assert!(matches!(kinds, (Frame::Request(_), Frame::Other, Frame::Batch(_))));
        let deep =
            format!(r#"{{"method": "a", "params": {{"value": {}{}}}}}"#, "[".repeat(200), "]".repeat(200));
        assert!(serde_json::from_str::<Frame>(&deep).is_err());
    }
}
