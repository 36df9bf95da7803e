//! The printers of this gateway, in the order of the configuration.

use std::sync::Arc;

use super::PrinterHandle;

/// Cheap to clone; the set is fixed for the life of the process.
#[derive(Clone, Default)]
pub struct Registry {
    printers: Arc<[PrinterHandle]>,
}

impl Registry {
    pub fn new(printers: Vec<PrinterHandle>) -> Self {
        Self { printers: printers.into() }
    }

    pub fn iter(&self) -> impl Iterator<Item = &PrinterHandle> {
        self.printers.iter()
    }

    /// By its configured name.
    pub fn get(&self, name: &str) -> Option<&PrinterHandle> {
        self.printers.iter().find(|printer| printer.name() == name)
    }

    pub fn len(&self) -> usize {
        self.printers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.printers.is_empty()
    }
}
