//! Thin wrappers around network libraries that own their traps. Know nothing of printers or clients.
