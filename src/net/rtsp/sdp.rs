//! The H.264 track of a session description (RFC 4566, RFC 6184 section 8.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// What is needed to set up and decode the video.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Track {
    pub payload_type: u8,
    /// Ticks per second of the RTP timestamps.
    pub clock: u32,
    /// `a=control` of the track.
    pub control: String,
    /// `a=control` of the whole session.
    pub session_control: Option<String>,
    /// Parameter sets sent out of band.
    pub parameter_sets: Vec<Bytes>,
}

/// Parameter sets taken; real ones are two.
const SETS: usize = 8;

/// The first H.264 track, if there is one.
pub(super) fn video(text: &str) -> Option<Track> {
    let mut sections = text.split("\nm=");
    let session = sections.next().unwrap_or_default();
    let session_control = attribute(session, "control:").map(str::to_owned);
    sections.filter(|media| media.starts_with("video ")).find_map(|media| {
        let (payload_type, clock) = attributes(media, "rtpmap:").find_map(|map| {
            let (number, codec) = map.split_once(' ')?;
            let mut parts = codec.trim().split('/');
            let h264 = parts.next()?.eq_ignore_ascii_case("H264");
            let clock = parts.next().and_then(|clock| clock.parse().ok()).filter(|clock| *clock > 0);
            h264.then(|| Some((number.parse().ok()?, clock.unwrap_or(90_000))))?
        })?;
        Some(Track {
            payload_type,
            clock,
            control: attribute(media, "control:").unwrap_or_default().to_owned(),
            session_control: session_control.clone(),
            parameter_sets: parameter_sets(media, payload_type),
        })
    })
}

fn parameter_sets(media: &str, payload_type: u8) -> Vec<Bytes> {
    attributes(media, "fmtp:")
        .filter_map(|format| format.split_once(' '))
        .filter(|(number, _)| number.parse() == Ok(payload_type))
        .flat_map(|(_, parameters)| parameters.split(';'))
        .filter_map(|parameter| parameter.trim().split_once('='))
        .filter(|(key, _)| key.eq_ignore_ascii_case("sprop-parameter-sets"))
        .flat_map(|(_, sets)| sets.split(','))
        .filter_map(|set| STANDARD.decode(set.trim()).ok())
        .filter(|set| !set.is_empty())
        .take(SETS)
        .map(Bytes::from)
        .collect()
}

fn attribute<'a>(section: &'a str, name: &'a str) -> Option<&'a str> {
    attributes(section, name).next()
}

fn attributes<'a>(section: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    section.lines().filter_map(move |line| line.trim().strip_prefix("a=")?.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_video_among_other_tracks() {
        let text = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=x\r\na=control:*\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/48000\r\n\
            a=control:track2\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 h264/90000\r\n\
            a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0IAKeKQFAe2AtwEBAaQeJEV,aM48gA==;profile-level-id=420029\r\na=control:track1\r\n";
        let track = video(text).unwrap();
        assert_eq!((track.payload_type, track.clock, track.control.as_str()), (96, 90_000, "track1"));
        assert_eq!(track.session_control.as_deref(), Some("*"));
        let kinds: Vec<u8> = track.parameter_sets.iter().map(|set| set[0] & 31).collect();
        assert_eq!(kinds, [7, 8]);
    }

    #[test]
    fn no_h264_is_no_track_and_bad_values_lose_only_themselves() {
        for text in [
            "",
            "v=0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H265/90000\n",
            "m=video\nm=video 0 RTP/AVP\na=rtpmap:x",
        ] {
            assert_eq!(video(text), None, "{text}");
        }
        let text = "v=0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/0\na=fmtp:96 sprop-parameter-sets=!!,\n";
        let track = video(text).unwrap();
        assert_eq!((track.clock, track.parameter_sets.len(), track.control.as_str()), (90_000, 0, ""));
    }
}
