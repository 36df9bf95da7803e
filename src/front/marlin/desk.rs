//! What a port needs of the printer's services, so that the dialogue can be driven without them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::catalog::NameChanges;
use crate::gcode::translate::FilamentWord;
use crate::jobs::{Intended, StartRequest};
use crate::library::{Entry, Upload};
use crate::model::Command;
use crate::printer::PrinterHandle;
use crate::station::Station;

/// Names given to files, kept for good: one space of the store for each printer.
const NAMES: &str = "serial_names";

/// Errors are sentences for the user.
pub trait Desk: Send + Sync {
    fn printer(&self) -> &PrinterHandle;
    /// Sends a command; `Cancel` also ends transfers and starts. The note is what the user should know although it worked.
    fn send(&self, command: Command) -> BoxFuture<'_, Result<Option<String>, String>>;
    /// Takes an emergency stop back and looks at the printer anew. As [`Self::send`].
    fn restart(&self) -> BoxFuture<'_, Result<Option<String>, String>>;
    /// Resolves when the job is paused, however late it begins, or when the pause was withdrawn.
    fn pause(&self) -> BoxFuture<'_, Result<(), String>>;
    fn list(&self) -> BoxFuture<'_, Result<Vec<Entry>, String>>;
    /// Words about filament; what they answer is the note.
    fn filament(&self, words: Vec<FilamentWord>) -> BoxFuture<'_, Result<Option<String>, String>>;
    /// From now on a cancel withdraws the start that will be asked for.
    fn intend(&self) -> Intended;
    /// Withdraws the starts that are asked for.
    fn withdraw(&self);
    fn start(&self, request: StartRequest, intended: Intended) -> BoxFuture<'_, Result<(), String>>;
    /// Starts a streamed file, which does not say what it is to be printed with: with the filament that is loaded.
    fn start_streamed(&self, path: String, intended: Intended) -> BoxFuture<'_, Result<(), String>>;
    fn delete(&self, path: String) -> BoxFuture<'_, Result<(), String>>;
    fn begin(&self, name: String) -> BoxFuture<'_, Result<Box<dyn Sink>, String>>;
    fn names(&self) -> BTreeMap<String, String>;
    fn remember(&self, names: NameChanges);
    /// Resolves when files may have changed; `false` when it never will again.
    fn files_changed(&self) -> Box<dyn Changes>;
}

/// A file that is being written into the library.
pub trait Sink: Send {
    fn write(&mut self, piece: Bytes) -> BoxFuture<'_, Result<(), String>>;
    /// Returns the path of what can be printed of it. Dropping instead leaves nothing behind.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<String, String>>;
}

/// News of files.
pub trait Changes: Send {
    fn next(&mut self) -> BoxFuture<'_, bool>;
}

impl Desk for Station {
    fn printer(&self) -> &PrinterHandle {
        &self.printer
    }

    fn send(&self, command: Command) -> BoxFuture<'_, Result<Option<String>, String>> {
        Box::pin(async move {
            let outcome = crate::station::script::send(self, command).await;
            outcome.map(|outcome| outcome.note).map_err(|error| error.to_string())
        })
    }

    fn restart(&self) -> BoxFuture<'_, Result<Option<String>, String>> {
        Box::pin(async move {
            let outcome = crate::station::script::restart(self).await;
            outcome.map(|outcome| outcome.note).map_err(|error| error.to_string())
        })
    }

    fn pause(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(
            async move { self.jobs.pause_however_late().await.map(drop).map_err(|error| error.to_string()) },
        )
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Entry>, String>> {
        Box::pin(async move { self.library.list().await.map_err(|error| error.to_string()) })
    }

    fn filament(&self, words: Vec<FilamentWord>) -> BoxFuture<'_, Result<Option<String>, String>> {
        use crate::station::{filament_words, script::Reply};
        Box::pin(async move {
            let mut told = Vec::new();
            let mut reply = |answer: Reply| {
                let (Reply::Info(text) | Reply::Raw(text) | Reply::Error(text)) = answer;
                told.push(text);
            };
            let done = filament_words::run(self, words, &mut reply).await;
            done.map(|()| (!told.is_empty()).then(|| told.join(" "))).map_err(|error| error.to_string())
        })
    }

    fn intend(&self) -> Intended {
        self.jobs.intend()
    }

    fn withdraw(&self) {
        self.jobs.withdraw();
    }

    fn start(&self, request: StartRequest, intended: Intended) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            self.jobs.start_intended(request, intended).await.map_err(|error| error.to_string())
        })
    }

    fn start_streamed(&self, path: String, intended: Intended) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let active = self.printer.state().device.filament.active;
            let loaded = active.filter(|_| self.printer.capabilities().filament.map);
            let mapping = loaded.map(|slot| vec![Some(slot)]);
            let request = StartRequest { file: path, mapping, ..StartRequest::default() };
            self.jobs.start_intended(request, intended).await.map_err(|error| error.to_string())
        })
    }

    fn delete(&self, path: String) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            self.library.delete(&path).await.map(|_entry| ()).map_err(|error| error.to_string())
        })
    }

    fn begin(&self, name: String) -> BoxFuture<'_, Result<Box<dyn Sink>, String>> {
        Box::pin(async move {
            let upload = self.library.begin_upload("", &name).await.map_err(|error| error.to_string())?;
            Ok(Box::new(upload) as Box<dyn Sink>)
        })
    }

    fn names(&self) -> BTreeMap<String, String> {
        let stored = self.store.list(&space(self)).unwrap_or_else(|error| {
            tracing::warn!(%error, "The short names of files could not be read; they are made anew.");
            Vec::new()
        });
        let text = |(path, name): (String, serde_json::Value)| Some((path, name.as_str()?.to_owned()));
        stored.into_iter().filter_map(text).collect()
    }

    fn remember(&self, names: NameChanges) {
        for (path, name) in names {
            let stored = match name {
                Some(name) => self.store.put(&space(self), &path, name.into()),
                None => self.store.delete(&space(self), &path).map(drop),
            };
            if let Err(error) = stored {
                tracing::warn!(%error, "A short file name could not be stored.");
            }
        }
    }

    fn files_changed(&self) -> Box<dyn Changes> {
        Box::new(LibraryChanges { library: self.library.events(), printer: self.printer.events() })
    }
}

fn space(station: &Station) -> String {
    format!("{NAMES}:{}", station.name())
}

impl Sink for Upload {
    fn write(&mut self, piece: Bytes) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { Upload::write(self, piece).await.map_err(|error| error.to_string()) })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<String, String>> {
        Box::pin(async move {
            let uploaded = Upload::finish(*self, None, None).await.map_err(|error| error.to_string())?;
            let printable = uploaded.printable.into_iter().next();
            printable.map(|entry| entry.path).ok_or_else(|| "Nothing in the file can be printed.".to_owned())
        })
    }
}

struct LibraryChanges {
    library: tokio::sync::broadcast::Receiver<Arc<crate::library::LibraryEvent>>,
    printer: tokio::sync::broadcast::Receiver<crate::model::Event>,
}

impl Changes for LibraryChanges {
    fn next(&mut self) -> BoxFuture<'_, bool> {
        use tokio::sync::broadcast::error::RecvError;
        Box::pin(async move {
            loop {
                tokio::select! {
                    event = self.library.recv() => return !matches!(event, Err(RecvError::Closed)),
                    event = self.printer.recv() => match event {
                        Ok(crate::model::Event::PrinterFilesChanged) | Err(RecvError::Lagged(_)) => return true,
                        Ok(_) => {}
                        Err(RecvError::Closed) => return false,
                    },
                }
            }
        })
    }
}

/// Shared with the effects under way.
pub type SharedDesk = Arc<dyn Desk>;
