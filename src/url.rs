//! What is encoded in an address. The unreserved characters stay as they are (RFC 3986, 2.3): they are readable, and not
//! every printer's server decodes what needs no encoding.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// In one step of a path, or the value of a query.
pub const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In a path of several steps.
pub const PATH: &AsciiSet = &SEGMENT.remove(b'/');
