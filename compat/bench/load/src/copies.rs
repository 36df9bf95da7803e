//! Bare copies between sockets and files: what the machine does at best.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::{Failure, frames, number, text, upload};

/// Orders: `path`, `bytes`. One thread sends over loopback what another writes to the file.
pub fn to_file(order: &Value) -> Result<Value, Failure> {
    let bytes = number(order, "bytes")?;
    let mut file = File::create(text(order, "path")?)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let place = listener.local_addr()?;
    let began = Instant::now();
    let sender = std::thread::spawn(move || -> Result<(), Failure> {
        let mut stream = TcpStream::connect(place)?;
        upload::send(&mut stream, &upload::piece(), bytes)
    });
    let (mut stream, _) = listener.accept()?;
    let mut buffer = vec![0; upload::PIECE];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count])?;
    }
    file.sync_all()?;
    sender.join().map_err(|_| "the sender failed")??;
    Ok(json!({"answered": began.elapsed().as_secs_f64()}))
}

/// Orders: `viewers`, `picture_bytes`, `pictures_per_second`, `seconds`. Processor seconds of one thread that writes
/// the same pictures to so many sockets, for each second and viewer.
pub fn fan_out(order: &Value) -> Result<Value, Failure> {
    let viewers = number(order, "viewers")?;
    let picture = vec![0x5A; number(order, "picture_bytes")? as usize];
    let pause = Duration::from_secs_f64(1.0 / order["pictures_per_second"].as_f64().unwrap_or(10.0));
    let lasting = Duration::from_secs_f64(order["seconds"].as_f64().unwrap_or(3.0));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let place = listener.local_addr()?;
    let ready = Arc::new(Barrier::new(viewers as usize + 1));
    let readers: Vec<_> = (0..viewers)
        .map(|_| {
            let ready = ready.clone();
            std::thread::spawn(move || -> Result<(), Failure> {
                let mut stream = TcpStream::connect(place)?;
                ready.wait();
                let mut buffer = vec![0; 256 << 10];
                while stream.read(&mut buffer)? > 0 {}
                Ok(())
            })
        })
        .collect();
    let mut streams = Vec::new();
    for _ in 0..viewers {
        streams.push(listener.accept()?.0);
    }
    ready.wait();
    let (began, used, mut count) = (Instant::now(), processor()?, 0u32);
    while began.elapsed() < lasting {
        for stream in &mut streams {
            stream.write_all(&picture)?;
        }
        count += 1;
        if let Some(wait) = (pause * count).checked_sub(began.elapsed()) {
            std::thread::sleep(wait);
        }
    }
    let used = (processor()? - used) / began.elapsed().as_secs_f64() / viewers as f64;
    drop(streams);
    for reader in readers {
        reader.join().map_err(|_| "a viewer failed")??;
    }
    Ok(json!({"processor_per_viewer": used, "pictures": count}))
}

/// Orders: `bytes`. A server that sends so many bytes for each HTTP request and does nothing else, one thread for each
/// connection: what a call costs before anything is done for it. Tells its `port`, and lives as long as the program.
pub fn answer_bare(order: &Value) -> Result<Value, Failure> {
    let body = "x".repeat(number(order, "bytes")? as usize);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || answer_each(stream, &answer));
        }
    });
    Ok(json!({"port": port}))
}

/// Answers until the client has gone. Requests are small and come one at a time, so each is one piece.
fn answer_each(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; 4096];
    loop {
        let count = stream.read(&mut request)?;
        if count == 0 {
            return Ok(());
        }
        if frames::find(&request[..count], b"\r\n\r\n").is_some() {
            stream.write_all(answer)?;
        }
    }
}

/// Processor seconds of this thread.
fn processor() -> Result<f64, Failure> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 * 1e-9)
}
