//! A small HTTP/1.1 GET that accepts what these printers send: Content-Length together with chunked encoding
//! (elegoo.md 3.13), malformed headers (elegoo.md 2.13), bodies without an end.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Deadline for the connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Largest head of a reply.
const MAX_HEAD: usize = 16 << 10;
/// Longest chunk-size line.
const MAX_LINE: usize = 64;
const READ: usize = 64 << 10;
/// Longest answer of an upload handler that is looked at.
const MAX_SHORT: usize = 16 << 10;

/// `host:port` for a URL or a Host header.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// A client for uploads: straight to the printer, whatever proxy the environment names.
pub fn upload_client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.connect_timeout(CONNECT).build().unwrap_or_default()
}

/// Status and body of a short reply, as long as it is at most `MAX_SHORT`.
///
/// # Errors
/// The connection broke.
pub async fn short(mut reply: reqwest::Response) -> reqwest::Result<(u16, Vec<u8>)> {
    let mut body = Vec::new();
    while let Some(piece) = reply.chunk().await? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_SHORT {
            break;
        }
    }
    Ok((reply.status().as_u16(), body))
}

/// Where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Bytes left of the current chunk; 0: a size line comes next.
    Chunked(u64),
    Length(u64),
    UntilClose,
    Done,
}

/// A reply whose body is read piece by piece.
pub struct Reply {
    pub status: u16,
    framing: Framing,
    stream: TcpStream,
    buffer: BytesMut,
}

/// Asks for `target` (path and query, percent-encoded by the caller).
///
/// # Errors
/// Connection errors, a reply that is no HTTP, and silence for longer than `limit`.
pub async fn get(host: &str, port: u16, target: &str, limit: Duration) -> io::Result<Reply> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let mut stream = timeout(CONNECT, TcpStream::connect((bare, port))).await.map_err(|_| late())??;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: moongate\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        authority(host, port)
    );
    timeout(limit, stream.write_all(request.as_bytes())).await.map_err(|_| late())??;
    let mut buffer = BytesMut::with_capacity(READ);
    let end = timeout(limit, read_head(&mut stream, &mut buffer)).await.map_err(|_| late())??;
    let head = buffer.split_to(end);
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let status = lines
        .next()
        .filter(|line| line.starts_with("HTTP/"))
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| odd("the answer is not HTTP"))?;
    let (mut length, mut chunked) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.trim().to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse::<u64>().ok(),
            "transfer-encoding" => chunked = value.to_ascii_lowercase().contains("chunked"),
            _ => {}
        }
    }
    let framing = match (chunked, length) {
        (true, _) => Framing::Chunked(0),
        (false, Some(0)) => Framing::Done,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    };
    Ok(Reply { status, framing, stream, buffer })
}

async fn read_head(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<usize> {
    loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(at + 4);
        }
        if buffer.len() > MAX_HEAD {
            return Err(odd("the head of the answer is too long"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(cut());
        }
    }
}

impl Reply {
    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// Connection errors, a body cut short, and silence for longer than `idle`.
    pub async fn piece(&mut self, idle: Duration) -> io::Result<Option<Bytes>> {
        loop {
            match self.framing {
                Framing::Done => return Ok(None),
                Framing::Chunked(0) => {
                    let size = self.chunk_size(idle).await?;
                    self.framing = if size == 0 { Framing::Done } else { Framing::Chunked(size) };
                }
                Framing::Chunked(left) | Framing::Length(left) => {
                    if self.buffer.is_empty() && self.fill(idle).await? == 0 {
                        return Err(cut());
                    }
                    return Ok(Some(self.take(left)));
                }
                Framing::UntilClose => {
                    if self.buffer.is_empty() && self.fill(idle).await? == 0 {
                        self.framing = Framing::Done;
                        return Ok(None);
                    }
                    return Ok(Some(self.buffer.split().freeze()));
                }
            }
        }
    }

    /// The whole body, up to `max` bytes.
    ///
    /// # Errors
    /// As [`Reply::piece`], and a longer body.
    pub async fn whole(&mut self, max: usize, idle: Duration) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece(idle).await? {
            if body.len() + piece.len() > max {
                return Err(odd("the answer is too long"));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn take(&mut self, left: u64) -> Bytes {
        let available = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        let now = usize::try_from(left.min(available)).unwrap_or(usize::MAX).min(self.buffer.len());
        let piece = self.buffer.split_to(now).freeze();
        let rest = left - left.min(available);
        self.framing = match self.framing {
            Framing::Chunked(_) => Framing::Chunked(rest),
            _ if rest == 0 => Framing::Done,
            _ => Framing::Length(rest),
        };
        piece
    }

    /// Reads a size line; the line end of the chunk before is skipped as an empty line.
    async fn chunk_size(&mut self, idle: Duration) -> io::Result<u64> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(at + 1);
                let line = String::from_utf8_lossy(&line);
                let digits = line.split(';').next().unwrap_or_default().trim();
                if digits.is_empty() {
                    continue;
                }
                return u64::from_str_radix(digits, 16).map_err(|_| odd("a chunk has no size"));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(odd("a chunk has no size"));
            }
            if self.fill(idle).await? == 0 {
                return Err(cut());
            }
        }
    }

    async fn fill(&mut self, idle: Duration) -> io::Result<usize> {
        self.buffer.reserve(READ);
        timeout(idle, self.stream.read_buf(&mut self.buffer)).await.map_err(|_| late())?
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut short")
}

fn odd(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const IDLE: Duration = Duration::from_secs(5);

    async fn answered(reply: &'static [u8]) -> io::Result<(u16, Vec<u8>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let serve = async {
            let (mut peer, _) = listener.accept().await?;
            let mut request = [0; 1024];
            let _length = peer.read(&mut request).await?;
            for piece in reply.chunks(7) {
                peer.write_all(piece).await?;
                peer.flush().await?;
            }
            peer.shutdown().await
        };
        let ask = async {
            let mut reply = get("127.0.0.1", port, "/x", IDLE).await?;
            Ok((reply.status, reply.whole(1000, IDLE).await?))
        };
        let (served, asked) = tokio::join!(serve, ask);
        served?;
        asked
    }

    #[tokio::test]
    async fn length_and_chunks_at_once_are_read_as_chunks() {
        let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n4;x\r\n you\r\n0\r\n\r\n";
        assert_eq!(answered(reply).await.unwrap(), (200, b"hello you".to_vec()));
    }

    #[tokio::test]
    async fn plain_bodies_end_by_length_or_close() {
        let sized = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabcdef";
        assert_eq!(answered(sized).await.unwrap(), (404, b"abc".to_vec()));
        let open = b"HTTP/1.0 200 OK\r\nExpires: %a, %d\r\n\r\nabcdef";
        assert_eq!(answered(open).await.unwrap(), (200, b"abcdef".to_vec()));
    }

    #[tokio::test]
    async fn short_and_foreign_answers_are_errors() {
        for reply in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"SSH-2.0-dropbear\r\n\r\n",
            b"",
        ] {
            assert!(answered(reply).await.is_err());
        }
    }
}
