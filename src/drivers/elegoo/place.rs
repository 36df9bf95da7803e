//! Where a file of the printer lies. In our listing the internal storage is the top, the USB stick a folder below it,
//! and the printer's own timelapse videos another.

use std::sync::{Mutex, PoisonError};

use crate::model::UnixSeconds;
use crate::model::text::base_name;
use crate::printer::RemoteFile;

const USB: &str = "usb/";
const VIDEOS: &str = "timelapse/";

/// A medium a job can be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Medium {
    #[default]
    Internal,
    Usb,
}

/// A path of our listing, without its folder: the printer is only ever told base names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Job(Medium, String),
    /// A video by its name here, see [`Videos`].
    Video(String),
}

impl Place {
    /// Reads a path of our listing.
    pub fn of(path: &str) -> Self {
        let path = path.trim_start_matches('/');
        let name = base_name(path).to_owned();
        if path.starts_with(VIDEOS) {
            Place::Video(name)
        } else if path.starts_with(USB) {
            Place::Job(Medium::Usb, name)
        } else {
            Place::Job(Medium::Internal, name)
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Place::Job(_, name) | Place::Video(name) => name,
        }
    }
}

/// The path in our listing.
pub fn path(medium: Medium, name: &str) -> String {
    match medium {
        Medium::Internal => name.to_owned(),
        Medium::Usb => format!("{USB}{name}"),
    }
}

/// A video that the printer made of a print.
#[derive(Debug, Clone, PartialEq)]
pub struct Video {
    /// As the printer's history names it.
    pub url: String,
    /// 0 where it is not told.
    pub size: u64,
    pub modified: Option<UnixSeconds>,
    /// False while it is pictures only; the printer makes the film when asked.
    pub made: bool,
}

impl Video {
    /// Name in our listing: the printer's, told apart by nothing else.
    pub fn name(&self) -> &str {
        base_name(&self.url)
    }
}

/// The videos of the last reading of the history.
#[derive(Debug, Default)]
pub struct Videos(Mutex<Vec<Video>>);

impl Videos {
    /// Keeps what was read and lists it.
    pub fn keep(&self, videos: Vec<Video>) -> Vec<RemoteFile> {
        let listed = videos.iter().map(|video| RemoteFile {
            path: format!("{VIDEOS}{}", video.name()),
            size: video.size,
            directory: false,
            modified: video.modified,
        });
        let listed: Vec<RemoteFile> = listed.collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = videos;
        if listed.is_empty() {
            return listed;
        }
        let folder = RemoteFile {
            path: VIDEOS.trim_end_matches('/').to_owned(),
            directory: true,
            ..RemoteFile::default()
        };
        std::iter::once(folder).chain(listed).collect()
    }

    pub fn find(&self, name: &str) -> Option<Video> {
        let videos = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        videos.iter().find(|video| video.name() == name).cloned()
    }
}

/// The stick as a folder with its files.
pub fn on_stick(files: Vec<RemoteFile>) -> impl Iterator<Item = RemoteFile> {
    let folder =
        RemoteFile { path: USB.trim_end_matches('/').to_owned(), directory: true, ..RemoteFile::default() };
    let inside = files
        .into_iter()
        .filter(|file| !file.directory && !file.path.contains('/'))
        .map(|file| RemoteFile { path: path(Medium::Usb, &file.path), ..file });
    std::iter::once(folder).chain(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_medium_and_nothing_leaves_its_folder() {
        let job = |medium, name: &str| Place::Job(medium, name.to_owned());
        assert_eq!(Place::of("a.gcode"), job(Medium::Internal, "a.gcode"));
        assert_eq!(Place::of("/usb/a.gcode"), job(Medium::Usb, "a.gcode"));
        assert_eq!(Place::of("usb/../../etc/a.gcode"), job(Medium::Usb, "a.gcode"));
        assert_eq!(Place::of("timelapse/a.mp4"), Place::Video("a.mp4".into()));
        assert_eq!(path(Medium::Usb, Place::of("usb/a.gcode").name()), "usb/a.gcode");
    }

    #[test]
    fn videos_are_found_by_their_name_in_the_listing() {
        let videos = Videos::default();
        let video = Video { url: "/local/tlp/a.mp4".into(), size: 5, modified: None, made: true };
        let listed = videos.keep(vec![video.clone()]);
        assert_eq!(
            listed.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
            ["timelapse", "timelapse/a.mp4"]
        );
        assert_eq!((videos.find("a.mp4"), videos.find("b.mp4")), (Some(video), None));
        assert!(videos.keep(Vec::new()).is_empty() && videos.find("a.mp4").is_none());
    }
}
