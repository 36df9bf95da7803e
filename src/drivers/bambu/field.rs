//! Tolerant readers of single report fields.
//!
//! Firmware writes the same field as number, string, bool or empty string, by version (bambu.md T11); whatever cannot be
//! read is `None`, and only that field is lost.

use serde_json::Value;

/// Longest text taken from a report, in characters.
pub(super) const MAX_TEXT: usize = 512;

/// The value below a path such as `/device/bed/info/0/temp`. Not `Value::pointer`, which makes two strings of each step,
/// hundreds of times for each report.
pub(super) fn at<'a>(tree: &'a Value, path: &str) -> &'a Value {
    let step = |value: &'a Value, key: &str| match value {
        Value::Object(fields) => fields.get(key),
        Value::Array(items) => key.parse().ok().and_then(|index: usize| items.get(index)),
        _ => None,
    };
    path.split('/').skip(1).try_fold(tree, step).unwrap_or(&Value::Null)
}

/// The elements of a list; empty for anything else (bambu.md T44).
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A finite number, also from text.
pub(super) fn num(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite())
}

/// A whole number, also from text or a whole float.
pub(super) fn int(value: &Value) -> Option<i64> {
    if let Some(whole) = value.as_i64() {
        return Some(whole);
    }
    let number = num(value)?.round();
    // Both bounds are exactly representable; beyond them `as` would saturate silently.
    (-9.0e15..=9.0e15).contains(&number).then_some(number as i64)
}

/// A whole number from 0 to 2^32-1; negative 32-bit numbers are taken as their bits (bambu.md T12).
pub(super) fn bits32(value: &Value) -> Option<u32> {
    let number = int(value)?;
    u32::try_from(number).ok().or_else(|| i32::try_from(number).ok().map(i32::cast_unsigned))
}

/// A whole number that fits the wanted type.
pub(super) fn small<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    T::try_from(int(value)?).ok()
}

/// Text of at most [`MAX_TEXT`] characters without control characters; numbers become text. Empty text is `None`.
pub(super) fn text(value: &Value) -> Option<String> {
    let raw = match value {
        Value::String(text) => crate::model::text::one_line(text, MAX_TEXT),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!raw.is_empty()).then_some(raw)
}

/// On or off, in every spelling seen: bool, 0/1, "enable"/"disable", "on"/"off", "HAS_SDCARD_NORMAL".
pub(super) fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(on) => Some(*on),
        Value::Number(_) => int(value).map(|n| n != 0),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "enable" | "enabled" | "has_sdcard_normal" => Some(true),
            "false" | "0" | "off" | "disable" | "disabled" | "no_sdcard" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A hexadecimal text without prefix, in either case, up to 128 bits (bambu.md 3.11).
pub(super) fn hex(value: &Value) -> Option<u128> {
    match value {
        Value::String(text) if !text.is_empty() => u128::from_str_radix(text.trim(), 16).ok(),
        _ => None,
    }
}

/// One bit of a bit field.
pub(super) fn bit(bits: u128, index: u32) -> bool {
    bits.checked_shr(index).is_some_and(|shifted| shifted & 1 == 1)
}

/// Two 16-bit numbers in one: current value below, target above (bambu.md 3.7).
pub(super) fn packed(value: &Value) -> Option<(f64, f64)> {
    let both = bits32(value)?;
    Some((f64::from(both & 0xFFFF), f64::from(both >> 16)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_number_is_read_in_every_spelling() {
        for value in [json!(15), json!(15.0), json!("15"), json!(" 15 ")] {
            assert_eq!((int(&value), num(&value)), (Some(15), Some(15.0)), "{value}");
        }
        for value in [json!(""), json!(null), json!([15]), json!({"a": 1}), json!("NaN"), json!("inf")] {
            assert_eq!((int(&value), num(&value)), (None, None), "{value}");
        }
        assert_eq!(int(&json!(1e300)), None);
        assert_eq!(bits32(&json!(-1_066_934_785)), Some(3_228_032_511));
        assert_eq!(bits32(&json!(1_u64 << 40)), None);
        assert_eq!(small::<u8>(&json!("300")), None);
    }

    #[test]
    fn switches_and_bit_fields() {
        assert_eq!(flag(&json!("HAS_SDCARD_NORMAL")), Some(true));
        assert_eq!(flag(&json!("disable")), Some(false));
        assert_eq!(flag(&json!("perhaps")), None);
        assert_eq!(hex(&json!("60029FD1a3ff9cb7")), Some(0x6002_9FD1_A3FF_9CB7));
        assert_eq!(hex(&json!("xyz")), None);
        assert_eq!(packed(&json!(16_056_565)), Some((245.0, 245.0)));
        assert_eq!(packed(&json!(26)), Some((26.0, 0.0)));
    }
}
