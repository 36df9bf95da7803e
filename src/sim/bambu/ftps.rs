//! Implicit FTPS server with the printer's dialect (dossier 5.1 to 5.3): login, command table, replies.
//!
//! `transfer` moves bytes over data connections, `storage` maps names to files.

mod storage;
mod transfer;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::core::{Core, lock};
use super::listen::PATIENCE;
use storage::Storage;

/// An idle control connection is dropped without a word after this time (dossier 5.2).
const IDLE: Duration = Duration::from_secs(300);
const LINE_CAP: u64 = 4096;

/// One control connection.
struct Session {
    core: Arc<Core>,
    control: BufReader<TlsStream<TcpStream>>,
    storage: Storage,
    user: String,
    logged_in: bool,
    /// PROT P asked for.
    protected: bool,
    passive: Option<TcpListener>,
    rename_from: Option<String>,
}

/// Serves one TCP connection.
pub(super) async fn handle(core: Arc<Core>, stream: TcpStream) -> io::Result<()> {
    let control = timeout(PATIENCE, core.ftps_acceptor().accept(stream)).await??;
    let storage = Storage::new(core.root.clone());
    let mut session = Session {
        core,
        control: BufReader::new(control),
        storage,
        user: String::new(),
        logged_in: false,
        protected: false,
        passive: None,
        rename_from: None,
    };
    session.reply("220 (vsFTPd 3.0.5)").await?;
    loop {
        let Some(line) = timeout(IDLE, session.line()).await?? else { return Ok(()) };
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        if !session.command(&verb.to_ascii_uppercase(), argument).await? {
            return Ok(());
        }
    }
}

impl Session {
    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut bytes = Vec::new();
        let mut limited = tokio::io::AsyncReadExt::take(&mut self.control, LINE_CAP);
        if limited.read_until(b'\n', &mut bytes).await? == 0 {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned()))
    }

    async fn reply(&mut self, text: &str) -> io::Result<()> {
        let stream = self.control.get_mut();
        stream.write_all(format!("{text}\r\n").as_bytes()).await?;
        stream.flush().await
    }

    /// Runs one command; false ends the session.
    async fn command(&mut self, verb: &str, argument: &str) -> io::Result<bool> {
        match verb {
            "USER" => {
                self.user = argument.to_owned();
                self.reply("331 Please specify the password.").await?;
            }
            "PASS" => {
                self.logged_in = self.core.login_accepted(&self.user, argument);
                let answer = if self.logged_in { "230 Login successful." } else { "530 Login incorrect." };
                self.reply(answer).await?;
            }
            "QUIT" => {
                self.reply("221 Goodbye.").await?;
                return Ok(false);
            }
            "FEAT" | "REST" | "OPTS" => self.reply("502 Command not implemented.").await?,
            "PBSZ" => self.reply("200 PBSZ set to 0.").await?,
            "PROT" => self.protect(argument).await?,
            "NOOP" => self.reply("200 NOOP ok.").await?,
            "SYST" => self.reply("215 UNIX Type: L8").await?,
            _ if !self.logged_in => self.reply("530 Please login with USER and PASS.").await?,
            "TYPE" => self.reply("200 Switching to Binary mode.").await?,
            "PASV" | "EPSV" => self.open_passive(verb).await?,
            "LIST" | "NLST" | "RETR" | "STOR" => self.transfer(verb, argument).await?,
            "PORT" | "EPRT" => self.reply("500 Illegal PORT command.").await?,
            _ => self.file_command(verb, argument).await?,
        }
        Ok(true)
    }

    async fn protect(&mut self, level: &str) -> io::Result<()> {
        use super::models::DataChannel;
        match (level.to_ascii_uppercase().as_str(), self.core.data_channel()) {
            ("P", DataChannel::Clear) => self.reply("536 PROT P unsupported.").await,
            ("P", _) => {
                self.protected = true;
                self.reply("200 PROT now Private.").await
            }
            ("C", DataChannel::Clear) => self.reply("200 PROT now Clear.").await,
            _ => self.reply("536 PROT level not supported.").await,
        }
    }

    /// The address in the answer is useless on purpose: clients must use the control host (dossier 5.1 step 3).
    async fn open_passive(&mut self, verb: &str) -> io::Result<()> {
        let listener = TcpListener::bind((self.core.options.address, 0)).await?;
        let port = listener.local_addr()?.port();
        self.passive = Some(listener);
        let text = if verb == "EPSV" {
            format!("229 Entering Extended Passive Mode (|||{port}|).")
        } else {
            format!("227 Entering Passive Mode (0,0,0,0,{},{}).", port >> 8, port & 0xff)
        };
        self.reply(&text).await
    }

    async fn file_command(&mut self, verb: &str, argument: &str) -> io::Result<()> {
        let missing = !lock(&self.core.printer).storage;
        let answer = match verb {
            _ if missing => "550 Failed: no storage.".to_owned(),
            "PWD" => format!("257 \"{}\" is the current directory", self.storage.current()),
            "CWD" => outcome(self.storage.enter(argument), "250 Directory successfully changed."),
            "CDUP" => outcome(self.storage.enter(".."), "250 Directory successfully changed."),
            "SIZE" => self.storage.size(argument).map_or(FAILED.to_owned(), |size| format!("213 {size}")),
            "MDTM" => self.storage.modified(argument).map_or(FAILED.to_owned(), |time| format!("213 {time}")),
            "DELE" => outcome(self.storage.delete(argument), "250 Delete operation successful."),
            "MKD" => outcome(self.storage.make(argument), &format!("257 \"{argument}\" created")),
            "RMD" => outcome(self.storage.remove(argument), "250 Remove directory operation successful."),
            "RNFR" if self.storage.exists(argument) => {
                self.rename_from = Some(argument.to_owned());
                "350 Ready for RNTO.".to_owned()
            }
            "RNFR" => FAILED.to_owned(),
            "RNTO" => match self.rename_from.take() {
                Some(from) => outcome(self.storage.rename(&from, argument), "250 Rename successful."),
                None => "503 RNFR required first.".to_owned(),
            },
            "AVBL" => "213 4294967296".to_owned(),
            "MLSD" | "MLST" => "500 Unknown command.".to_owned(),
            _ => "502 Command not implemented.".to_owned(),
        };
        self.reply(&answer).await
    }
}

const FAILED: &str = "550 Failed to open file.";

fn outcome(result: io::Result<()>, done: &str) -> String {
    if result.is_ok() { done.to_owned() } else { FAILED.to_owned() }
}
