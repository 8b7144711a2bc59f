//! What both applications do with their command line, and how they begin and end.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Connections that may wait to be accepted. Of more than tokio's own 128 at once, some would have
/// to try again a second later.
const BACKLOG: u32 = 1024;

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
            let listener = listen(address)?;
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

fn listen_address() -> Option<SocketAddr> {
    let mut arguments = env::args().skip(1);
    let named = arguments.next()? == "--listen";
    let address = arguments.next()?.parse().ok()?;
    (named && arguments.next().is_none()).then_some(address)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
