//! The session description (RFC 4566; fields of H.264: RFC 6184 section 8.2.1).

use std::fmt::Write as _;

use bytes::Bytes;
use data_encoding::{BASE64, HEXUPPER};

/// Payload types: JPEG has a number of its own (RFC 3551), H.264 one from the free range.
pub(super) const JPEG: u8 = 26;
pub(super) const H264: u8 = 96;

/// What is described.
pub(super) enum Media {
    Jpeg,
    /// With its sequence and picture parameter set.
    H264([Bytes; 2]),
}

/// The description of one camera; `address` is the gateway's.
pub(super) fn description(title: &str, address: std::net::IpAddr, media: &Media) -> String {
    let family = if address.is_ipv4() { "IP4 0.0.0.0" } else { "IP6 ::" };
    let kind = if address.is_ipv4() { "IP4" } else { "IP6" };
    let title = crate::model::text::one_line(title, 80);
    let title = if title.is_empty() { "-" } else { &title };
    let mut out = format!(
        "v=0\r\no=- 0 1 IN {kind} {address}\r\ns={title}\r\nc=IN {family}\r\nt=0 0\r\na=tool:moongate\r\n\
         a=control:*\r\na=range:npt=now-\r\n"
    );
    let _strings_take_all = match media {
        Media::Jpeg => write!(out, "m=video 0 RTP/AVP {JPEG}\r\na=rtpmap:{JPEG} JPEG/90000\r\n"),
        Media::H264([sequence_set, picture_set]) => write!(
            out,
            "m=video 0 RTP/AVP {H264}\r\na=rtpmap:{H264} H264/90000\r\n\
             a=fmtp:{H264} packetization-mode=1;profile-level-id={};sprop-parameter-sets={},{}\r\n",
            HEXUPPER.encode(sequence_set.get(1..4).unwrap_or_default()),
            BASE64.encode(sequence_set),
            BASE64.encode(picture_set),
        ),
    };
    out.push_str("a=control:trackID=0\r\na=sendonly\r\n");
    out
}
