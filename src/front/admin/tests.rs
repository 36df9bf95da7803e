//! The gateway's own routes against printers that are not there.
