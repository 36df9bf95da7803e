//! Addresses of requests, and how media are to travel (RFC 2326 sections 3.2, 12.39).

use percent_encoding::percent_decode_str;

/// What a request is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// `rtsp://host:port` without a login; `None` where the address has none.
    pub site: Option<String>,
    /// First part of the path: the printer.
    pub name: String,
    pub query: &'a str,
}

impl<'a> Target<'a> {
    /// Takes an address apart: `rtsp://host:8554/p1s`, `/p1s/trackID=0`, `*`.
    pub fn of(url: &'a str) -> Self {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (site, path) = match address.split_once("://") {
            None => (None, address),
            Some((scheme, rest)) => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                let host = authority.rsplit_once('@').map_or(authority, |(_login, host)| host);
                (Some(format!("{}://{host}", scheme.to_ascii_lowercase())), path)
            }
        };
        let name = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        Self { site, name: percent_decode_str(name).decode_utf8_lossy().into_owned(), query }
    }
}

/// The channels for media and reports that a `Transport` header asks for; `None` where it allows no interleaved TCP.
pub(super) fn channels(header: &str) -> Option<(u8, u8)> {
    header.split(',').find_map(|choice| {
        let mut fields = choice.trim().split(';').map(str::trim);
        if !fields.next()?.eq_ignore_ascii_case("RTP/AVP/TCP") {
            return None;
        }
        let mut channels = (0, 1);
        for field in fields {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            match key.to_ascii_lowercase().as_str() {
                "interleaved" => {
                    let (media, reports) = value.split_once('-').unwrap_or((value, ""));
                    let media: u8 = media.parse().ok()?;
                    let reports =
                        if reports.is_empty() { media.checked_add(1)? } else { reports.parse().ok()? };
                    channels = (media, reports);
                }
                "mode" if !value.trim_matches('"').eq_ignore_ascii_case("play") => return None,
                "multicast" => return None,
                _ => {}
            }
        }
        (channels.0 != channels.1).then_some(channels)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_every_form() {
        for (url, site, name, query) in [
            ("rtsp://host:8554/p1s", Some("rtsp://host:8554"), "p1s", ""),
            ("RTSP://bob:pa%40ss@host/p1s/", Some("rtsp://host"), "p1s", ""),
            ("rtsps://[::1]:8554/x1c/trackID=0?token=A", Some("rtsps://[::1]:8554"), "x1c", "token=A"),
            ("/p1s", None, "p1s", ""),
            ("rtsp://host", Some("rtsp://host"), "", ""),
            ("*", None, "*", ""),
        ] {
            let found = Target::of(url);
            assert_eq!(
                (found.site.as_deref(), found.name.as_str(), found.query),
                (site, name, query),
                "{url}"
            );
        }
    }

    #[test]
    fn only_interleaved_tcp_is_taken() {
        for (header, expected) in [
            ("RTP/AVP/TCP;unicast;interleaved=0-1", Some((0, 1))),
            ("RTP/AVP/TCP;interleaved=4", Some((4, 5))),
            (
                "RTP/AVP;unicast;client_port=5000-5001, RTP/AVP/TCP;unicast;interleaved=2-3;mode=\"PLAY\"",
                Some((2, 3)),
            ),
            ("RTP/AVP/TCP", Some((0, 1))),
            ("RTP/AVP;unicast;client_port=5000-5001", None),
            ("RTP/AVP/UDP;multicast", None),
            ("RTP/AVP/TCP;interleaved=0-1;mode=record", None),
            ("RTP/AVP/TCP;interleaved=255", None),
            ("RTP/AVP/TCP;interleaved=x-y", None),
            ("RTP/AVP/TCP;interleaved=7-7", None),
            ("", None),
        ] {
            assert_eq!(channels(header), expected, "{header}");
        }
    }
}
