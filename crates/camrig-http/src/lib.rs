//! A small HTTP server on its own thread, with access rules, and the routes `/status` and `/metrics` of a rig.
//!
//! * this module: the server and the two routes
//! * `access`: the rules that decide whether a request is answered
//! * `listener`: bounds the number of open connections
//!
//! It knows no page and no camera: its callers add their own routes.
#![forbid(unsafe_code)]

mod access;
mod listener;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use camrig_status::{RigStatus, prometheus, socket};
use tokio::sync::oneshot;

pub use self::access::{Access, AccessError};
use self::listener::Bounded;

/// The maximum number of open connections. A browser opens six, and one WebSocket per page.
const CONNECTIONS_MAX: usize = 128;

/// An HTTP server that runs until it is dropped.
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `routes` on a thread called `name`, to clients that `access` permits.
    ///
    /// # Errors
    /// When the address is in use or does not belong to this machine.
    pub fn start(name: &str, listen: SocketAddr, access: Access, routes: Router) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let access = access.at(address);
        let routes = routes.layer(from_fn_with_state(access, access::check));
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let listener = Bounded::new(listener, CONNECTIONS_MAX);
            tokio::select! {
                served = async { axum::serve(listener, routes).await } => served,
                // Dropping the runtime closes open connections: a page may stay open for days.
                _ = stopped => Ok(()),
            }
        };
        let serve = move || {
            if let Err(error) = runtime.block_on(serve) {
                log::error!("the server at {address} ended: {error}");
            }
            // Does not wait for blocking threads: nothing needs their results.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(serve)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the address on which it listens, with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Stops the server. The address is free again when this returns.
impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        // The thread has already printed its panic; it must not cause another one.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Returns the routes `/status` (JSON) and `/metrics` (Prometheus) of the rig whose status socket is `rig`.
pub fn routes(rig: &str) -> Router {
    Router::new().route("/status", get(status)).route("/metrics", get(metrics)).with_state(Rig(rig.into()))
}

#[derive(Clone)]
struct Rig(Arc<str>);

async fn status(State(rig): State<Rig>) -> Response {
    answer(rig, "application/json", |status| serde_json::to_string(status).unwrap_or_default()).await
}

async fn metrics(State(rig): State<Rig>) -> Response {
    answer(rig, prometheus::CONTENT_TYPE, prometheus::text).await
}

async fn answer(rig: Rig, content_type: &'static str, text: fn(&RigStatus) -> String) -> Response {
    match status_of(&rig.0).await {
        Ok(status) => ([(header::CONTENT_TYPE, content_type)], text(&status)).into_response(),
        Err(error) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("the rig does not answer: {error}\n")).into_response()
        }
    }
}

/// Reads the status of the rig whose status socket is `rig`, without blocking the caller's thread.
///
/// # Errors
/// The errors of [`socket::read`].
pub async fn status_of(rig: &str) -> io::Result<RigStatus> {
    let rig = rig.to_owned();
    tokio::task::spawn_blocking(move || socket::read(&rig)).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};
    use std::time::Duration;

    use super::*;

    fn ask(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET /hello HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        stream
    }

    fn answer(mut stream: &TcpStream) -> String {
        let mut start = [0; 15];
        stream.read_exact(&mut start).unwrap();
        String::from_utf8(start.to_vec()).unwrap()
    }

    #[test]
    fn a_connection_beyond_the_maximum_waits_for_another_to_close() {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let routes = Router::new().route("/hello", get(|| async { "hello" }));
        let server = Server::start("test", listen, Access::new(listen, None).unwrap(), routes).unwrap();
        let mut open: Vec<_> = (0..CONNECTIONS_MAX).map(|_| ask(server.address())).collect();
        assert!(open.iter().all(|stream| answer(stream) == "HTTP/1.1 200 OK"));
        let late = ask(server.address());
        drop(open.pop());
        assert_eq!(answer(&late), "HTTP/1.1 200 OK");
    }

    #[test]
    fn the_address_is_free_when_the_server_is_gone() {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let start = |listen| Server::start("test", listen, Access::new(listen, None).unwrap(), Router::new());
        let server = start(listen).unwrap();
        let address = server.address();
        let _open = ask(address);
        assert_eq!(start(address).map(|_| ()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(server);
        assert_eq!(start(address).unwrap().address(), address);
    }
}
