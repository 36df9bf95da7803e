//! `moongate login`, `logout`: a user's login at the gateway, kept for the other commands.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::client::{Client, ClientError, GatewayArgs};
use super::{EXIT_FAILED, until_stopped};
use crate::secret::Secret;

/// Bytes of a line that is read; a password has 256 at most.
const LONGEST: u64 = 4096;

#[derive(Debug, clap::Args)]
pub struct LoginArgs {
    /// The user's name; asked for where it is not given.
    pub user: Option<String>,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

#[derive(Debug, clap::Args)]
pub struct LogoutArgs {
    /// Only forget the login on this machine: the gateway is not told, other programs of the user stay logged in.
    #[arg(long)]
    pub here: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

pub async fn login(args: &LoginArgs, client: &Client) -> Result<ExitCode, ClientError> {
    if client.is_readable_on_the_way() {
        complain!(
            "{} is not HTTPS: the password and the login can be read on their way through the network.",
            client.base()
        );
    }
    let asked = args.user.clone();
    let Some(answers) = until_stopped(on_a_thread(move || answers(asked))).await else {
        // The shell goes on in a line of its own.
        let _nobody_sees = ask("\n");
        return Ok(ExitCode::from(EXIT_FAILED));
    };
    let (user, password) = answers?;
    let user = client.log_in(&user, &password).await?;
    println!("{user} is logged in at {}.", client.base());
    if client.shows_a_key() {
        complain!("MOONGATE_API_KEY is set: the commands show that key and not this login.");
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn logout(args: &LogoutArgs, client: &Client) -> Result<ExitCode, ClientError> {
    let Some(user) = client.kept_user()? else {
        println!("Nobody is logged in at {}.", client.base());
        return Ok(ExitCode::SUCCESS);
    };
    let told = if args.here { Ok(()) } else { client.log_out().await };
    // Whatever the gateway said: who logs out wants nothing left on this machine.
    client.forget_login()?;
    match told {
        Ok(()) if args.here => println!("The login of {user} at {} is forgotten here.", client.base()),
        Ok(()) => println!("{user} is logged out at {}, in all programs.", client.base()),
        Err(ClientError::LoginEnded { .. }) => {
            println!("The login of {user} at {} had ended already.", client.base());
        }
        Err(error) => {
            complain!(
                "the login of {user} is forgotten here, but it goes on at the gateway until it is told (log in and out again):"
            );
            return Err(error);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Name and password from the terminal, or the password from what is piped in.
fn answers(user: Option<String>) -> Result<(String, Secret), ClientError> {
    let failed = |error: std::io::Error| ClientError::Failed(format!("no answer can be read: {error}."));
    let missing = |what: &str| ClientError::Failed(format!("there is no {what}: nothing is sent."));
    let stdin = std::io::stdin();
    let asks = stdin.is_terminal();
    let user = match user {
        Some(user) => user,
        None if asks => {
            ask("User: ").map_err(failed)?;
            let name = line(&mut stdin.lock()).map_err(failed)?;
            String::from_utf8_lossy(&name).trim().to_owned()
        }
        None => {
            return Err(ClientError::Failed(
                "whose password comes on standard input? Name the user: moongate login NAME.".to_owned(),
            ));
        }
    };
    if user.is_empty() {
        return Err(missing("name"));
    }
    let password = if asks {
        ask("Password: ").map_err(failed)?;
        let hidden = Hidden::begin().map_err(failed)?;
        let password = line(&mut stdin.lock());
        drop(hidden);
        // The one that was typed is not shown either.
        ask("\n").map_err(failed)?;
        password.map_err(failed)?
    } else {
        line(&mut stdin.lock()).map_err(failed)?
    };
    let text = std::str::from_utf8(&password)
        .map_err(|_| ClientError::Failed("the password is no text in UTF-8.".to_owned()))?;
    if text.is_empty() {
        return Err(missing("password"));
    }
    Ok((user, Secret::new(text)))
}

/// Questions go where complaints go: standard output is for answers.
fn ask(text: &str) -> std::io::Result<()> {
    let mut output = std::io::stderr();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// One line without its end.
fn line(input: &mut impl BufRead) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::new());
    input.take(LONGEST).read_until(b'\n', &mut line)?;
    for end in [b'\n', b'\r'] {
        if line.last() == Some(&end) {
            line.pop();
        }
    }
    Ok(line)
}

/// The terminal does not show what is typed while this lives.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> std::io::Result<Self> {
        let shown = tcgetattr(std::io::stdin())?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // What was typed before the question is no answer to it.
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(shown))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _terminal_gone = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Runs what waits for the keyboard on a thread that the end of the program does not wait for. The terminal is as it was
/// afterwards, also where somebody stops the command meanwhile.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    let _as_it_was = AsItWas(tcgetattr(std::io::stdin()).ok());
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _nobody_waits = tell.send(work());
    });
    told.await.unwrap_or_else(|_| Err(ClientError::Failed("no answer can be read.".to_owned())))
}

/// Puts the terminal back.
struct AsItWas(Option<Termios>);

impl Drop for AsItWas {
    fn drop(&mut self) {
        if let Some(modes) = &self.0 {
            let _terminal_gone = tcsetattr(std::io::stdin(), OptionalActions::Now, modes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_as_it_is() {
        for (given, expected) in [
            ("secret\n", "secret"),
            ("  two words \r\nmore\n", "  two words "),
            ("no end", "no end"),
            ("", ""),
            ("\n", ""),
        ] {
            let read = line(&mut given.as_bytes()).expect("read");
            assert_eq!(read.as_slice(), expected.as_bytes());
        }
        assert_eq!(line(&mut "x".repeat(1 << 20).as_bytes()).expect("read").len() as u64, LONGEST);
    }
}
