//! Arguments of a request: JSON parameters, query strings with type hints, and the conversions between them
//! (moonraker.md 2.1).

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::error::RpcError;

/// Query keys that never reach a handler.
const RESERVED: &[&str] = &["_", "token", "access_token", "connection_id"];

/// The named arguments of one call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Args(pub Map<String, Value>);

impl Args {
    /// Reads a query string; keys may carry a type hint: `limit:int=5`, `value:json={}`.
    ///
    /// # Errors
    /// 400 when a hinted value does not convert.
    pub fn from_query(query: &str) -> Result<Self, RpcError> {
        let mut args = Map::new();
        for (key, value) in query_pairs(query) {
            let (name, hint) = match key.rsplit_once(':') {
                Some((name, hint)) if is_hint(hint) => (name.to_owned(), Some(hint.to_owned())),
                _ => (key, None),
            };
            if RESERVED.contains(&name.as_str()) {
                continue;
            }
            let value = match hint {
                Some(hint) => hinted(&name, &hint, &value)?,
                None => Value::String(value),
            };
            args.insert(name, value);
        }
        Ok(Self(args))
    }

    /// Reads the query of `/printer/objects/...`: each key is an object, its value a list of fields.
    pub fn from_object_query(query: &str) -> Self {
        let mut objects = Map::new();
        for (key, value) in query_pairs(query) {
            if RESERVED.contains(&key.as_str()) {
                continue;
            }
            if key == "objects:json" || key == "objects" {
                if let Ok(Value::Object(given)) = serde_json::from_str(&value) {
                    objects.extend(given);
                }
                continue;
            }
            let fields: Vec<&str> = value.split(',').map(str::trim).filter(|f| !f.is_empty()).collect();
            objects.insert(key, if fields.is_empty() { Value::Null } else { json!(fields) });
        }
        Self(Map::from_iter([("objects".to_owned(), Value::Object(objects))]))
    }

    /// Lays the members of a JSON body on top.
    pub fn merge(&mut self, body: Value) {
        if let Value::Object(members) = body {
            self.0.extend(members);
        }
    }

    /// Anything but null.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub fn text(&self, name: &str) -> Result<String, RpcError> {
        self.opt_text(name)?.ok_or_else(|| missing(name))
    }

    pub fn opt_text(&self, name: &str) -> Result<Option<String>, RpcError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
            Some(other) => Err(unconvertible(name, "str", other)),
        }
    }

    pub fn opt_number(&self, name: &str) -> Result<Option<f64>, RpcError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|n| n.is_finite()).map(Some).ok_or_else(|| unconvertible(name, "float", value))
    }

    /// A whole number; one below zero is 0.
    pub fn opt_count(&self, name: &str) -> Result<Option<usize>, RpcError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            // As Python's `int`: the fraction is cut off, and a flag is a number.
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|n| n as i64)),
            Value::Bool(flag) => Some(i64::from(*flag)),
            Value::String(text) => text.trim().parse::<i64>().ok(),
            _ => None,
        };
        let count = number.map(|n| usize::try_from(n.max(0)).unwrap_or(usize::MAX));
        count.map(Some).ok_or_else(|| unconvertible(name, "int", value))
    }

    /// False when it is not given.
    pub fn flag(&self, name: &str) -> Result<bool, RpcError> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(other) => Err(unconvertible(name, "bool", other)),
        }
    }

    /// A list of texts; a single text is a list of one, or several parted by commas.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, RpcError> {
        match self.get(name) {
            None => Err(missing(name)),
            Some(Value::String(text)) => {
                Ok(text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect())
            }
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| unconvertible(name, "str", item)))
                .collect(),
            Some(other) => Err(RpcError::bad_request(format!(
                "Invalid value received for argument '{name}'.  Expected List type, received {}",
                type_name(other)
            ))),
        }
    }
}

/// The parameter error of every handler.
pub fn missing(name: &str) -> RpcError {
    RpcError::bad_request(format!("No data for argument: {name}"))
}

/// The real server's words: a text stands without quotes.
fn unconvertible(name: &str, kind: &str, value: &Value) -> RpcError {
    let received = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    RpcError::bad_request(format!(
        "Unable to convert argument [{name}] to <class '{kind}'>: value received: {received}"
    ))
}

/// What the real server calls the type of a value.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

fn is_hint(hint: &str) -> bool {
    matches!(hint, "int" | "float" | "bool" | "json" | "str")
}

fn hinted(name: &str, hint: &str, text: &str) -> Result<Value, RpcError> {
    let converted = match hint {
        "int" => text.parse::<i64>().ok().map(Value::from),
        "float" => text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::from),
        "bool" => match text.to_ascii_lowercase().as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        "json" => serde_json::from_str(text).ok(),
        _ => Some(Value::from(text)),
    };
    converted.ok_or_else(|| unconvertible(name, hint, &Value::from(text)))
}

/// Keys and values of a query string, decoded, in order; a key without `=` has an empty value.
pub fn query_pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_convert_and_reserved_keys_vanish() {
        let args = Args::from_query(
            "limit:int=5&x:float=1.5&b:bool=True&value:json=%7B%22a%22%3A1%7D&n=a+b&_=1&token=t",
        )
        .expect("converts");
        assert_eq!(
            Value::Object(args.0),
            json!({"limit": 5, "x": 1.5, "b": true, "value": {"a": 1}, "n": "a b"})
        );
        let error = Args::from_query("limit:int=five").expect_err("no number");
        assert_eq!(error.status, 400);
        let text = "Unable to convert argument [limit] to <class 'int'>: value received: five";
        assert_eq!(error.message, text);
    }

    #[test]
    fn an_object_query_names_objects_and_fields() {
        let args = Args::from_object_query(
            "print_stats&toolhead=position,homed_axes&fan_generic%20aux_fan=&connection_id=5",
        );
        assert_eq!(
            args.0["objects"],
            json!({"print_stats": null, "toolhead": ["position", "homed_axes"], "fan_generic aux_fan": null})
        );
    }

    #[test]
    fn strings_are_converted_by_the_handler() {
        let args = Args::from_query("limit=7&since=1.5&force=TRUE&all=no").expect("plain");
        assert_eq!(args.opt_count("limit"), Ok(Some(7)));
        let bound = |value: Value| Args(Map::from_iter([("limit".to_owned(), value)])).opt_count("limit");
        for (value, count) in
            [(json!(-1), 0), (json!("-1"), 0), (json!(50.0), 50), (json!(7.9), 7), (json!(true), 1)]
        {
            assert_eq!(bound(value), Ok(Some(count)));
        }
        assert!(bound(json!("five")).is_err() && bound(json!("1.5")).is_err());
        assert_eq!(args.opt_number("since"), Ok(Some(1.5)));
        assert_eq!(args.flag("force"), Ok(true));
        assert!(args.flag("all").is_err());
        assert_eq!(args.text("none").expect_err("missing").message, "No data for argument: none");
        let list = Args(Map::from_iter([("items".to_owned(), json!(5))])).texts("items");
        let text = "Invalid value received for argument 'items'.  Expected List type, received int";
        assert_eq!(list.expect_err("no list").message, text);
    }
}
