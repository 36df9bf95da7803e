//! Tolerant reading of device JSON: a field of the wrong type is a missing field.

use serde_json::Value;

use crate::printer::sane::LONGEST;

/// A finite number, also one in quotes.
pub fn num(value: &Value, key: &str) -> Option<f64> {
    as_num(value.get(key)?)
}

/// As [`num`], of the value itself.
pub fn as_num(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// Seconds of a print or a part of it; what is longer than any print is none.
pub fn seconds(value: &Value, key: &str) -> Option<f64> {
    num(value, key).filter(|seconds| (0.0..LONGEST).contains(seconds))
}

/// A whole number; printers send ints and floats at random (elegoo.md 3.7).
pub fn int(value: &Value, key: &str) -> Option<i64> {
    as_int(value.get(key)?)
}

/// As [`int`], of the value itself.
pub fn as_int(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(on) => Some(i64::from(*on)),
        Value::Number(number) if number.is_i64() => number.as_i64(),
        // The range check makes the conversion exact enough and free of saturation.
        other => as_num(other).filter(|n| n.abs() < 9e15).map(|n| n as i64),
    }
}

/// A count that fits in 32 bits.
pub fn count(value: &Value, key: &str) -> Option<u32> {
    int(value, key).and_then(|n| u32::try_from(n).ok())
}

/// A text that is not empty.
pub fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// On or off, as boolean or number.
pub fn flag(value: &Value, key: &str) -> Option<bool> {
    int(value, key).map(|n| n != 0)
}

/// The list under `key`; empty if there is none.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A ratio from a percentage, within 0 to 1.
pub fn percent(value: &Value, key: &str) -> Option<f64> {
    num(value, key).map(|percent| (percent / 100.0).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn odd_types_are_read_or_lost_alone() {
        let value = json!({"a": "12.5", "b": 3.0, "c": true, "d": [1], "e": "x", "f": 1e300, "g": " "});
        assert_eq!(num(&value, "a"), Some(12.5));
        assert_eq!(int(&value, "b"), Some(3));
        assert_eq!(flag(&value, "c"), Some(true));
        for key in ["d", "e", "f", "g", "h"] {
            assert_eq!(int(&value, key), None, "{key}");
        }
        assert_eq!(text(&value, "g"), None);
        assert_eq!(count(&json!({"n": -1}), "n"), None);
        let long = json!({"a": 0, "b": 86400.5, "c": -1, "d": 1e300});
        assert_eq!(
            ["a", "b", "c", "d"].map(|key| seconds(&long, key)),
            [Some(0.0), Some(86400.5), None, None]
        );
    }
}
