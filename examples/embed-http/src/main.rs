//! A rig inside an axum server: `GET /status` shows it, `POST /stop` stops it, and the server ends with it.
//!
//! `cargo run -p embed-http -- examples/embed-http/rig.toml`
#![allow(clippy::print_stdout, clippy::print_stderr)] // An example prints as short programs do.

use std::error::Error;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use camrig::prelude::*;
use camrig::{Registry, Report, Rig, RigHandle};

fn main() -> ExitCode {
    let registry = Registry::new();
    // First of all: the rig's other processes are this program, started again.
    if let Some(code) = registry.serve_worker() {
        return code;
    }
    match run(&registry) {
        Ok(report) => {
            println!("{}", report.exit);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(registry: &Registry) -> Result<Report, Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("expected a topology file")?;
    let rig = Rig::read(&path, registry)?.start()?;
    let routes = Router::new()
        .route("/status", get(status))
        .route("/stop", post(|State(rig): State<RigHandle>| async move { rig.stop() }))
        .with_state(rig.handle());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}", listener.local_addr()?);
        let ended = tokio::task::spawn_blocking(|| rig.wait());
        tokio::select! {
            served = async { axum::serve(listener, routes).await } => Err(served.err().map_or("the server ended".into(), Into::into)),
            report = ended => Ok(report?),
        }
    })
}

async fn status(State(rig): State<RigHandle>) -> impl IntoResponse {
    // Another thread answers; this one does not wait for it.
    let status = tokio::task::spawn_blocking(move || serde_json::to_string(&rig.status())).await;
    match status {
        Ok(Ok(json)) => Ok(([(header::CONTENT_TYPE, "application/json")], json)),
        Ok(Err(error)) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}
