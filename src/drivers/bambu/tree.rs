//! The merged tree, packed while nobody looks: a JSON value takes several times the memory of its text, and a printer that
//! reports once a second needs it for some hundred microseconds of it.

use std::sync::OnceLock;

use serde_json::Value;

use crate::model::text;

/// One JSON value, as text or taken apart or both; empty it is `null`.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    open: OnceLock<Value>,
    /// What `open` says, where it has not been changed since.
    packed: Option<Box<str>>,
}

impl Tree {
    pub fn get(&self) -> &Value {
        self.open.get_or_init(|| unpacked(self.packed.as_deref()))
    }

    pub fn change(&mut self, change: impl FnOnce(&mut Value)) {
        let packed = self.packed.take();
        let mut value = self.open.take().unwrap_or_else(|| unpacked(packed.as_deref()));
        change(&mut value);
        self.open = value.into();
    }

    /// Keeps the text alone until somebody looks again.
    pub fn pack(&mut self) {
        if let Some(value) = self.open.take() {
            self.packed.get_or_insert_with(|| text::json(&value).into_boxed_str());
        }
    }
}

fn unpacked(text: Option<&str>) -> Value {
    // The text is our own, so it reads.
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let mut tree = Tree::default();
        assert_eq!(tree.get(), &Value::Null);
        let value = json!({"ams": {"id": "0"}, "exact": 0.1, "large": u64::MAX, "text": "\u{1}\"ü"});
        tree.change(|known| *known = value.clone());
        for _ in 0..2 {
            tree.pack();
            assert!(tree.open.get().is_none() && tree.packed.is_some());
            assert_eq!(tree.get(), &value);
        }
        tree.change(|known| known["ams"]["id"] = json!("1"));
        tree.pack();
        assert_eq!(tree.get()["ams"]["id"], "1", "what was packed before the change is not shown");
    }
}
