//! What both applications do with their command line, and how they begin and end.

use std::env;
use std::io;
use std::process::ExitCode;

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Runs an application on this thread, on the address of `--listen ADDRESS:PORT`, until SIGTERM.
pub fn run<Application>(serve: impl FnOnce(TcpListener) -> Application) -> ExitCode
where
    Application: Future<Output = io::Result<()>>,
{
    let Some(address) = listen_address() else {
        eprintln!("--listen ADDRESS:PORT is needed, and nothing else");
        return ExitCode::from(2);
    };
    let ended = Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        runtime.block_on(async {
            let mut terminated = signal(SignalKind::terminate())?;
            let listener = TcpListener::bind(&address).await?;
            println!("listening on {}", listener.local_addr()?);
            tokio::select! {
                ended = serve(listener) => ended,
                _ = terminated.recv() => Ok(()),
            }
        })
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen_address() -> Option<String> {
    let mut arguments = env::args().skip(1);
    let named = arguments.next()? == "--listen";
    let address = arguments.next()?;
    (named && arguments.next().is_none()).then_some(address)
}
