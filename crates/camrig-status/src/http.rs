//! A small HTTP server on a thread of its own, for `/status`, `/metrics` and whatever else an actor shows.
//!
//! It deliberately knows no page and no camera: whoever starts it brings further routes.

mod access;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::oneshot;

pub use self::access::Access;
use crate::{RigStatus, prometheus, socket};

/// A server that answers until it drops.
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `routes` to those who have `access`, on a thread called `name`.
    ///
    /// # Errors
    /// When the address is taken or not this machine's.
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
            tokio::select! {
                served = async { axum::serve(listener, routes).await } => served,
                // Connections that are open go with the runtime: a page may be open for days.
                _ = stopped => Ok(()),
            }
        };
        let serve = move || {
            if let Err(error) = runtime.block_on(serve) {
                log::error!("the server at {address} ended: {error}");
            }
            // What a blocking thread still does is nobody's any more.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(serve)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens, with the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The address is free again when this returns.
impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic of the server was printed, and is no reason for another one.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// `/status` and `/metrics` of the rig whose status socket is called `rig`.
pub fn routes(rig: &str) -> Router {
    Router::new().route("/status", get(status)).route("/metrics", get(metrics)).with_state(Rig(rig.into()))
}

#[derive(Clone)]
struct Rig(std::sync::Arc<str>);

async fn status(State(rig): State<Rig>) -> Response {
    answer(rig, "application/json", |status| serde_json::to_string(status).unwrap_or_default()).await
}

async fn metrics(State(rig): State<Rig>) -> Response {
    answer(rig, prometheus::CONTENT_TYPE, prometheus::text).await
}

async fn answer(rig: Rig, content_type: &'static str, text: fn(&RigStatus) -> String) -> Response {
    match read(&rig.0).await {
        Ok(status) => ([(header::CONTENT_TYPE, content_type)], text(&status)).into_response(),
        Err(error) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("the rig does not answer: {error}\n")).into_response()
        }
    }
}

/// The status of the rig whose socket is called `rig`, without holding up the thread.
///
/// # Errors
/// As [`socket::read`].
pub async fn read(rig: &str) -> io::Result<RigStatus> {
    let rig = rig.to_owned();
    tokio::task::spawn_blocking(move || socket::read(&rig)).await.map_err(io::Error::other)?
}
