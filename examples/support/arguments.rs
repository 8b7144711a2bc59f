//! The arguments that every example takes, and how it serves.

use std::io::{Write, stdout};
use std::process::exit;

use fanfare::{ConnectionStateRecovery, DriverKind, ListenAddress, StateFile, TlsOptions};
use lexopt::Parser;
use lexopt::prelude::*;

/// Where to listen and on how many shards.
pub struct Arguments {
    listen: Vec<String>,
    shards: Option<usize>,
    client: Option<String>,
    driver: DriverKind,
    hand_over: Option<String>,
    state: Option<String>,
    metrics: Option<String>,
    tls: Tls,
}

/// The files of TLS.
#[derive(Default)]
struct Tls {
    certificate: Option<String>,
    key: Option<String>,
    hosts: Vec<(String, String, String)>,
    client_authority: Option<String>,
}

/// Where to listen when nobody says.
const DEFAULT: &str = "127.0.0.1:3000";

const USAGE: &str =
    "  --listen ADDRESS:PORT   where to listen (127.0.0.1:3000); also unix:PATH, systemd or
                          systemd:NAME, and several times
  --shards COUNT          threads that serve (one for each core)
  --driver NAME           auto (io_uring where it can be used, else epoll), io_uring or epoll
  --hand-over PATH        a Unix socket by which the next process takes the place of this one
  --tls-certificate FILE, --tls-key FILE
                          speak TLS with this certificate chain; SIGHUP reads the files again
  --tls-host NAME=CERTIFICATE,KEY
                          another certificate for clients who ask for this host; several times
  --tls-client-authority FILE
                          clients must have a certificate that one of these has signed
  --state FILE            clients that come back have their state again, also after a restart
  --metrics ADDRESS       where to answer /metrics, /live and /ready; a port alone is of 127.0.0.1
  --client FOLDER         the dist folder of the npm package socket.io-client";

impl Arguments {
    /// Those of this process.
    #[allow(dead_code, reason = "an example that takes more arguments uses `read_with`")]
    pub fn read() -> Arguments {
        Arguments::read_with("", |_, _| Ok(false))
    }

    /// Those of this process, of which `more` takes some. Says how to use them, and ends the
    /// process, when they are wrong or `--help` is one of them.
    pub fn read_with(
        more_usage: &str,
        mut more: impl FnMut(&str, &mut Parser) -> Result<bool, lexopt::Error>,
    ) -> Arguments {
        parse(&mut more).unwrap_or_else(|error| match error {
            Some(error) => {
                eprintln!("fanfare: {error}\n{USAGE}{more_usage}");
                exit(2);
            }
            None => {
                println!("{USAGE}{more_usage}");
                exit(0);
            }
        })
    }

    /// Puts them into the options of a server.
    pub fn apply(&self, builder: fanfare::Builder) -> fanfare::Builder {
        let mut builder = builder.driver(self.driver);
        if let Some(shards) = self.shards {
            builder = builder.shards(shards);
        }
        if let Some(path) = &self.hand_over {
            builder = builder.hand_over_at(path);
        }
        if let Some(path) = &self.state {
            builder = builder.connection_state_recovery(ConnectionStateRecovery {
                state_file: Some(StateFile::new(path)),
                ..ConnectionStateRecovery::default()
            });
        }
        if let Some(address) = &self.metrics {
            builder = builder.metrics(address);
        }
        if let Some(options) = self.tls.options() {
            builder = builder.tls(options);
        }
        for address in &self.listen {
            builder = builder.listen(address);
        }
        match &self.client {
            Some(folder) => builder.client_folder(folder),
            None => builder,
        }
    }
}

impl Tls {
    fn options(&self) -> Option<TlsOptions> {
        let mut options = TlsOptions::pem_files(self.certificate.as_ref()?, self.key.as_ref()?);
        for (name, certificate, key) in &self.hosts {
            options = options.host(name, certificate, key);
        }
        match &self.client_authority {
            Some(file) => Some(options.client_authority(file)),
            None => Some(options),
        }
    }

    /// Takes an argument, if it is one of its own.
    fn read(&mut self, name: &str, parser: &mut Parser) -> Result<bool, lexopt::Error> {
        match name {
            "tls-certificate" => self.certificate = Some(parser.value()?.string()?),
            "tls-key" => self.key = Some(parser.value()?.string()?),
            "tls-host" => self.hosts.push(host(&parser.value()?.string()?)?),
            "tls-client-authority" => self.client_authority = Some(parser.value()?.string()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn check(&self) -> Result<(), lexopt::Error> {
        let is_wanted = !self.hosts.is_empty() || self.client_authority.is_some();
        match (&self.certificate, &self.key) {
            (Some(_), Some(_)) => Ok(()),
            (None, None) if !is_wanted => Ok(()),
            _ => Err("TLS takes --tls-certificate and --tls-key".into()),
        }
    }
}

/// The parts of `NAME=CERTIFICATE,KEY`.
fn host(text: &str) -> Result<(String, String, String), lexopt::Error> {
    let (name, files) = text.split_once('=').ok_or("--tls-host: NAME=CERTIFICATE,KEY")?;
    let (certificate, key) = files.split_once(',').ok_or("--tls-host: NAME=CERTIFICATE,KEY")?;
    Ok((name.to_owned(), certificate.to_owned(), key.to_owned()))
}

fn parse(
    more: &mut dyn FnMut(&str, &mut Parser) -> Result<bool, lexopt::Error>,
) -> Result<Arguments, Option<lexopt::Error>> {
    let mut parser = Parser::from_env();
    let mut arguments = Arguments {
        listen: Vec::new(),
        shards: None,
        client: None,
        driver: DriverKind::Auto,
        hand_over: None,
        state: None,
        metrics: None,
        tls: Tls::default(),
    };
    while let Some(argument) = parser.next()? {
        let Long(name) = argument else { return Err(Some(argument.unexpected())) };
        let name = name.to_owned();
        match &*name {
            "help" => return Err(None),
            "listen" => arguments.listen.push(parser.value()?.string()?),
            "shards" => arguments.shards = Some(parser.value()?.parse()?),
            "driver" => arguments.driver = parser.value()?.parse()?,
            "hand-over" => arguments.hand_over = Some(parser.value()?.string()?),
            "state" => arguments.state = Some(parser.value()?.string()?),
            "metrics" => arguments.metrics = Some(parser.value()?.string()?),
            "client" => arguments.client = Some(parser.value()?.string()?),
            other if arguments.tls.read(other, &mut parser)? => {}
            other if more(other, &mut parser)? => {}
            _ => return Err(Some(Long(&name).unexpected())),
        }
    }
    arguments.tls.check()?;
    if arguments.listen.is_empty() {
        arguments.listen.push(DEFAULT.to_owned());
    }
    Ok(arguments)
}

/// Says where a server listens and waits for its end; or says in one line why there is none.
pub fn serve<S>(
    server: fanfare::Result<S>,
    start: impl FnOnce(&S) -> fanfare::Result<fanfare::Running>,
    wait: impl FnOnce(&S, fanfare::Running) -> fanfare::Result<()>,
) {
    let served = server.and_then(|server| {
        let running = start(&server)?;
        let scheme = if running.is_encrypted() { "https" } else { "http" };
        for address in running.addresses() {
            let line = match address {
                ListenAddress::Tcp(address) => format!("listening on {scheme}://{address}"),
                other => format!("listening on {other}"),
            };
            // Whoever started it need not listen to what it says.
            drop(writeln!(stdout(), "{line}"));
        }
        if let Some(address) = running.metrics_address() {
            drop(writeln!(stdout(), "metrics on http://{address}/metrics"));
        }
        wait(&server, running)
    });
    if let Err(error) = served {
        eprintln!("fanfare: {error}");
        exit(1);
    }
}
