//! The arguments that every example takes.

use std::process::exit;

/// Where to listen and on how many shards.
pub struct Arguments {
    pub listen: String,
    pub shards: Option<usize>,
    pub client: Option<String>,
}

impl Arguments {
    /// Those of this process; says how to use it and ends it when they are wrong.
    pub fn read(default_listen: &str) -> Arguments {
        parse(default_listen).unwrap_or_else(|error| {
            eprintln!("{error}\nusage: --listen ADDRESS:PORT --shards COUNT --client FOLDER");
            exit(2);
        })
    }

    /// Puts them into the options of a server.
    pub fn apply(&self, mut builder: fanfare::Builder) -> fanfare::Builder {
        if let Some(shards) = self.shards {
            builder = builder.shards(shards);
        }
        match &self.client {
            Some(folder) => builder.client_folder(folder),
            None => builder,
        }
    }
}

fn parse(default_listen: &str) -> Result<Arguments, lexopt::Error> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_env();
    let mut arguments = Arguments { listen: default_listen.into(), shards: None, client: None };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("listen") => arguments.listen = parser.value()?.string()?,
            Long("shards") => arguments.shards = Some(parser.value()?.parse()?),
            Long("client") => arguments.client = Some(parser.value()?.string()?),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(arguments)
}

/// Serves until SIGTERM, and says where; or why not, in one line.
#[allow(dead_code, reason = "the engine example has a server of another type")]
pub fn serve(server: fanfare::Result<fanfare::Server>, listen: &str) {
    let served = server.and_then(|server| {
        let running = server.spawn(listen)?;
        println!("listening on http://{}", running.address());
        server.wait(running)
    });
    if let Err(error) = served {
        eprintln!("fanfare: {error}");
        exit(1);
    }
}
