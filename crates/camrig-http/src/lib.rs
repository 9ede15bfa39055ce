//! A small HTTP server on its own thread, with access rules, and the routes `/status` and `/metrics` of a rig.
//!
//! * this module: the server and the two routes
//! * `api`: the HTTP API, which changes a rig
//! * `access`: the rules that decide whether a request is answered
//! * `places`: bounds the number of open connections, and decides which one is closed for a new one
//! * `connection`: one connection, with its time-outs
//!
//! It does not depend on pages or cameras: its callers add their own routes.
#![forbid(unsafe_code)]

mod access;
mod api;
mod connection;
mod places;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use axum::{Extension, Router};
use camrig_status::{RigStatus, prometheus, socket, spawn_thread};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::oneshot;

pub use self::access::{Access, AccessError};
pub use self::api::{OPENAPI, api, no_api};
use self::connection::Connection;
use self::places::Places;

/// The maximum number of open connections. A browser opens six, and one WebSocket per page.
const CONNECTIONS_MAX: usize = 128;

/// The time for the header of a request, and between two requests. Prometheus requests every 15 s by default.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum size of the header of a request, in bytes. A browser sends the cookies of all programs on a host.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The name of this machine, which a browser resolves to either loopback address.
const LOCALHOST: &str = "localhost";

/// An HTTP server that runs until it is dropped.
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `routes` on a thread called `name`, to clients that `access` permits.
    ///
    /// If `listen` has the address 127.0.0.1 or `[::1]`, it serves the other of these too, if that port is free there:
    /// `localhost` may mean either.
    ///
    /// # Errors
    /// When the address is in use or does not belong to this machine.
    pub fn start(name: &str, listen: SocketAddr, access: Access, routes: Router) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let listeners: Vec<_> = std::iter::once(listener).chain(other_loopback(address)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let routes = routes.layer(from_fn_with_state(access.at(address), access::check));
        let serve = async move {
            let places = Places::new(CONNECTIONS_MAX);
            for listener in listeners {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::spawn(accept(listener, places.clone(), routes.clone()));
            }
            // Dropping the runtime closes open connections: a page may stay open for days.
            let _ = stopped.await;
            io::Result::Ok(())
        };
        let serve = move || {
            if let Err(error) = runtime.block_on(serve) {
                log::error!("the server at {address} ended: {error}");
            }
            // Does not wait for blocking threads: nothing needs their results.
            runtime.shutdown_background();
        };
        let thread = spawn_thread(name, serve)?;
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

/// Binds the other address of `localhost` than this one.
fn other_loopback(address: SocketAddr) -> Option<TcpListener> {
    let other: IpAddr = match address.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Ipv4Addr::LOCALHOST.into(),
        _ => return None,
    };
    let other = SocketAddr::new(other, address.port());
    TcpListener::bind(other).inspect_err(|error| log::debug!("{other} is not served: {error}")).ok()
}

/// Serves every connection, each in a task of its own.
async fn accept(mut listener: tokio::net::TcpListener, places: Places, routes: Router) {
    loop {
        let (stream, peer) = Listener::accept(&mut listener).await;
        let Some(place) = places.take(peer.ip()) else { continue };
        let marker = place.marker();
        let service = TowerToHyperService::new(routes.clone().layer(Extension(marker.clone())));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(Connection::new(stream, place)), service)
            .with_upgrades();
        let task = tokio::spawn(async move {
            // The peer has disconnected, or was too slow.
            let _ = connection.await;
        });
        marker.served_by(task.abort_handle());
    }
}

/// Returns the routes `/status` (JSON) and `/metrics` (Prometheus) of the rig whose status socket is `rig`.
pub fn routes(rig: &str) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .with_state(RigName(rig.into()))
}

#[derive(Clone)]
struct RigName(Arc<str>);

async fn status(State(rig): State<RigName>) -> Response {
    answer(rig, "application/json", |status| serde_json::to_string(status).unwrap_or_default()).await
}

async fn metrics(State(rig): State<RigName>) -> Response {
    answer(rig, prometheus::CONTENT_TYPE, prometheus::text).await
}

async fn answer(rig: RigName, content_type: &'static str, text: fn(&RigStatus) -> String) -> Response {
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
    use std::net::TcpStream;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::access::parse_listen;
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

    /// Starts a server on an address of this machine, with a route `/hello`.
    fn hello(token: Option<&str>) -> Server {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let routes = Router::new().route("/hello", get(|| async { "hello" }));
        Server::start("test", listen, Access::new(listen, token).unwrap(), routes).unwrap()
    }

    #[test]
    fn idle_connections_do_not_block_new_ones() {
        for token in [None, Some("secret-1")] {
            let server = hello(token);
            let idle: Vec<_> =
                (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
            let slow: Vec<_> = (0..CONNECTIONS_MAX)
                .map(|_| {
                    let mut stream = TcpStream::connect(server.address()).unwrap();
                    stream.write_all(b"GET /hello HTTP/1.1\r\nX-Slow: ").unwrap();
                    stream
                })
                .collect();
            let expected = if token.is_none() { "HTTP/1.1 200 OK" } else { "HTTP/1.1 401 Un" };
            for _ in 0..2 * CONNECTIONS_MAX {
                assert_eq!(answer(&ask(server.address())), expected);
            }
            drop((idle, slow));
        }
    }

    #[test]
    fn a_connection_that_was_let_in_outlasts_a_flood() {
        let server = hello(None);
        let mut admitted = ask(server.address());
        assert_eq!(answer(&admitted), "HTTP/1.1 200 OK");
        let mut idle: Vec<_> =
            (0..3 * CONNECTIONS_MAX).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
        // Asking on a new connection shows that the server has accepted those before it.
        assert_eq!(answer(&ask(server.address())), "HTTP/1.1 200 OK");
        // The oldest one was closed for it.
        idle[0].set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(idle[0].read(&mut [0; 64]).unwrap(), 0);
        let mut rest = [0; 256];
        let _ = admitted.read(&mut rest).unwrap();
        write!(admitted, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert_eq!(answer(&admitted), "HTTP/1.1 200 OK");
    }

    #[test]
    fn localhost_is_either_loopback_address() {
        let server = hello(None);
        assert_eq!(answer(&ask(server.address())), "HTTP/1.1 200 OK");
        let other = SocketAddr::from((Ipv6Addr::LOCALHOST, server.address().port()));
        assert_eq!(answer(&ask(other)), "HTTP/1.1 200 OK");
        drop(server);
        assert_eq!(TcpStream::connect(other).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn localhost_is_an_address_to_listen_on() {
        for (text, address) in [
            ("127.0.0.1:80", Some("127.0.0.1:80")),
            ("[::1]:80", Some("[::1]:80")),
            ("localhost:80", Some("127.0.0.1:80")),
            ("LOCALHOST:0", Some("127.0.0.1:0")),
            ("localhost", None),
            ("localhost:", None),
            ("localhost:65536", None),
            ("example.org:80", None),
        ] {
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(parse_listen(text), address, "{text}");
        }
    }

    /// Runs on the clock of a paused runtime, where time-outs take no time.
    #[test]
    fn a_head_that_does_not_end_is_not_waited_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(async {
            for begin in
                ["", "GET /hello HTTP/1.1\r\nX-Slow: ", "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"]
            {
                let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                let address = listener.local_addr().unwrap();
                let routes = Router::new().route("/hello", get(|| async { "hello" }));
                tokio::spawn(accept(listener, Places::new(1), routes));
                let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                stream.write_all(begin.as_bytes()).await.unwrap();
                let mut answer = Vec::new();
                let started = tokio::time::Instant::now();
                // Ends when the server closes the connection.
                stream.read_to_end(&mut answer).await.unwrap();
                assert!((HEAD_TIMEOUT..2 * HEAD_TIMEOUT).contains(&started.elapsed()), "{begin}");
            }
        });
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
