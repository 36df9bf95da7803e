//! What clients ask for in the query string.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::percent_decode_str;

use crate::camera::{CameraHub, Frame};

/// `action` of the convention that all clients use.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    Stream,
    Snapshot,
    None,
    Unknown(String),
}

impl Action {
    /// Tolerant of what clients append: OctoPrint and Mainsail add cache busters after `&`, `?` or bare.
    pub fn of(query: Option<&str>) -> Self {
        match pairs(query).find(|(key, _)| key == "action").map(|(_, value)| value) {
            None => Action::None,
            Some(value) if value == "stream" => Action::Stream,
            Some(value) if value == "snapshot" => Action::Snapshot,
            Some(value) => Action::Unknown(value.chars().take(40).collect()),
        }
    }
}

/// Size and rate.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct View {
    /// Pixels.
    pub max_width: Option<u32>,
    /// The least time between two pictures.
    pub interval: Option<Duration>,
    /// Show a dark picture instead of nothing while the camera is dark.
    pub placeholder: bool,
}

impl View {
    /// Reads `max_width` (16 to 8192), `fps` (0.01 to 120) and `placeholder`; other keys are left alone.
    pub fn of(query: Option<&str>) -> Result<Self, String> {
        let mut view = View::default();
        for (key, value) in pairs(query) {
            match key.as_str() {
                "max_width" | "width" => {
                    let width = value.parse().ok().filter(|width| (16..=8192).contains(width));
                    view.max_width = Some(width.ok_or("max_width must be a number of pixels, 16 to 8192")?);
                }
                "fps" => {
                    let fps = value.parse::<f64>().ok().filter(|fps| (0.01..=120.0).contains(fps));
                    let fps = fps.ok_or("fps must be a number, 0.01 to 120")?;
                    view.interval = Some(Duration::from_secs_f64(1.0 / fps));
                }
                "placeholder" => view.placeholder = value != "0" && value != "false",
                _ => {}
            }
        }
        Ok(view)
    }

    /// The bytes to send for `frame`.
    pub async fn data(self, hub: &CameraHub, frame: &Arc<Frame>) -> Bytes {
        match self.max_width {
            None => frame.data.clone(),
            Some(width) => hub.shrink(frame, width).await,
        }
    }
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = (String, String)> + '_ {
    query.unwrap_or_default().split(['&', '?', ';']).filter(|part| !part.is_empty()).map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (text(key), text(value))
    })
}

fn text(encoded: &str) -> String {
    percent_decode_str(encoded).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_queries_that_clients_send() {
        let stream = "action=stream&1732150000";
        for (query, action) in [
            (Some("action=stream"), Action::Stream),
            (Some(stream), Action::Stream),
            (Some("action=snapshot?t=17"), Action::Snapshot),
            (Some("cacheBust=3&action=snapshot&token=ab%20c"), Action::Snapshot),
            (Some("action=reboot"), Action::Unknown("reboot".to_owned())),
            (Some(""), Action::None),
            (None, Action::None),
        ] {
            assert_eq!(Action::of(query), action, "{query:?}");
        }
    }

    #[test]
    fn limits_are_checked_and_named() {
        let view = View::of(Some("action=stream&fps=4&max_width=320&_=1")).unwrap();
        assert_eq!((view.interval, view.max_width), (Some(Duration::from_millis(250)), Some(320)));
        assert_eq!(View::of(None), Ok(View::default()));
        for wrong in ["fps=0", "fps=NaN", "fps=x", "max_width=4", "width=-1", "max_width=99999999999"] {
            let text = View::of(Some(wrong)).unwrap_err();
            assert!(text.contains("must be a number"), "{wrong}: {text}");
        }
    }
}
