//! JSON-RPC requests as they are read: in one pass, the members that count put in their places. The record that a client
//! stores becomes JSON text on its way; a tree of its values would be made only to be written again.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
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
    Named(Map<String, Value>, Option<String>),
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
                record = Some(members.next_value_seed(Text)?);
            } else {
                named.insert(name, members.next_value()?);
            }
        }
        Ok(Params::Named(named, record))
    }
}

/// Reads a value and writes it as JSON text, in the form that a [`Value`] would be written in.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        let mut text = Vec::new();
        serde_transcode::transcode(from, &mut serde_json::Serializer::new(&mut text))
            .map_err(D::Error::custom)?;
        String::from_utf8(text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::text;

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
        assert_eq!(record.as_deref(), Some(r#"{"b":[1,-2.5,"é\n"],"a":null}"#));
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
        let deep = format!(
            r#"{{"method": "server.database.post_item", "params": {{"value": {}{}}}}}"#,
            "[".repeat(200),
            "]".repeat(200)
        );
        assert!(serde_json::from_str::<Frame>(&deep).is_err());
    }

    proptest! {
        /// Stored text can be read again, and holds the same.
        #[test]
        fn the_text_of_a_record_is_its_value(value in any_json(), pretty: bool) {
            let written = if pretty { serde_json::to_string_pretty(&value).expect("JSON") } else { text::json(&value) };
            let text = Text.deserialize(&mut serde_json::Deserializer::from_str(&written)).expect("the same");
            prop_assert_eq!(text, text::json(&value));
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }
}
