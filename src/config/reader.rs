//! Typed access to the tables of the file that collects mistakes instead of stopping at the first.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Mistake;
use crate::model::text::nearest;

/// Collects what is wrong while the file is read.
pub struct Mistakes<'t> {
    text: &'t str,
    found: Vec<Mistake>,
}

impl<'t> Mistakes<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { text, found: Vec::new() }
    }

    /// Notes a mistake at a place of the file.
    pub fn at(&mut self, span: Range<usize>, text: impl Into<String>) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        self.found.push(Mistake::new(before.matches('\n').count() + 1, text.into()));
    }

    /// All mistakes in the order of the file.
    pub fn into_list(mut self) -> Vec<Mistake> {
        self.found.sort_by_key(|mistake| mistake.line);
        self.found.dedup();
        self.found
    }
}

/// One table under its name in messages, e.g. `[[printer]]`.
pub struct Section<'s, 't> {
    name: &'static str,
    table: Option<&'s DeTable<'t>>,
    span: Range<usize>,
    known: Vec<&'static str>,
}

impl<'s, 't> Section<'s, 't> {
    pub fn new(name: &'static str, table: &'s DeTable<'t>, span: Range<usize>) -> Self {
        Self { name, table: Some(table), span, known: Vec::new() }
    }

    /// A table that the file leaves out.
    pub fn missing(name: &'static str) -> Self {
        Self { name, table: None, span: 0..0, known: Vec::new() }
    }

    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    fn value(&mut self, key: &'static str) -> Option<&'s Spanned<DeValue<'t>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let table = self.table?;
        table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
    }

    /// Whether the file gives the key at all, rightly or not.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Where a key's value stands, for later complaints; the table's place where it is absent.
    pub fn place(&mut self, key: &'static str) -> Range<usize> {
        self.value(key).map_or_else(|| self.span(), Spanned::span)
    }

    /// Text; numbers are taken too where `number_ok` (serials and codes are easily written without quotes).
    pub fn text(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        key: &'static str,
        number_ok: bool,
    ) -> Option<String> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(text.as_ref().trim().to_owned()),
            DeValue::Integer(number) if number_ok => Some(number.as_str().to_owned()),
            _ => {
                mistakes.at(value.span(), format!("{key} in {} must be text in quotes.", self.name));
                None
            }
        }
    }

    pub fn required(&mut self, mistakes: &mut Mistakes<'_>, key: &'static str, why: &str) -> Option<String> {
        if self.value(key).is_none() {
            let span = self.span();
            mistakes.at(span, format!("{} lacks {key}: {why}", self.name));
            return None;
        }
        let text = self.text(mistakes, key, true)?;
        if text.is_empty() {
            let place = self.place(key);
            mistakes.at(place, format!("{key} in {} is empty: {why}", self.name));
            return None;
        }
        Some(text)
    }

    pub fn flag(&mut self, mistakes: &mut Mistakes<'_>, key: &'static str, default: bool) -> bool {
        let Some(value) = self.value(key) else { return default };
        value.get_ref().as_bool().unwrap_or_else(|| {
            mistakes.at(value.span(), format!("{key} in {} must be true or false.", self.name));
            default
        })
    }

    /// A whole number within `range`.
    pub fn number(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = self.value(key)?;
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|digits| u64::from_str_radix(&digits.as_str().replace('_', ""), digits.radix()).ok())
            .filter(|number| range.contains(number));
        if number.is_none() {
            let (low, high) = (range.start(), range.end());
            mistakes.at(
                value.span(),
                format!("{key} in {} must be a whole number from {low} to {high}.", self.name),
            );
        }
        number
    }

    pub fn port(&mut self, mistakes: &mut Mistakes<'_>, key: &'static str) -> Option<u16> {
        self.number(mistakes, key, 1..=65_535).and_then(|port| u16::try_from(port).ok())
    }

    pub fn texts(&mut self, mistakes: &mut Mistakes<'_>, key: &'static str) -> Option<Vec<String>> {
        let value = self.value(key)?;
        let list = value.get_ref().as_array().map(|items| {
            items
                .iter()
                .map(|item| item.get_ref().as_str().map(ToOwned::to_owned))
                .collect::<Option<Vec<_>>>()
        });
        if let Some(Some(list)) = list {
            return Some(list);
        }
        mistakes.at(value.span(), format!("{key} in {} must be a list of texts: [\"a\", \"b\"].", self.name));
        None
    }

    /// Complains about every key that nobody asked for; call it last.
    pub fn finish(self, mistakes: &mut Mistakes<'_>) {
        for (key, _) in self.table.into_iter().flat_map(|table| table.iter()) {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let hint = nearest(name, self.known.iter().copied()).map_or_else(
                || format!("known keys are {}.", self.known.join(", ")),
                |near| format!("did you mean \"{near}\"?"),
            );
            mistakes.at(key.span(), format!("unknown key \"{name}\" in {}; {hint}", self.name));
        }
    }
}
