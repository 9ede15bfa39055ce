//! The files of the page: one HTML, one stylesheet, a few scripts, all compiled into the program.
//!
//! The page sends requests only to its own server, and its content security policy forbids others.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::IntoResponse;
use axum::routing::get;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($path:literal $content_type:expr, $file:literal;)*) => {
        &[$(($path, $content_type, include_str!(concat!("page/", $file)))),*]
    };
}

const FILES: &[(&str, &str, &str)] = files! {
    "/" "text/html; charset=utf-8", "index.html";
    "/style.css" "text/css; charset=utf-8", "style.css";
    "/icon.svg" "image/svg+xml", "icon.svg";
    "/main.js" JAVASCRIPT, "main.js";
    "/server.js" JAVASCRIPT, "server.js";
    "/tile.js" JAVASCRIPT, "tile.js";
    "/pane.js" JAVASCRIPT, "pane.js";
    "/facts.js" JAVASCRIPT, "facts.js";
    "/depth.js" JAVASCRIPT, "depth.js";
    "/overlay.js" JAVASCRIPT, "overlay.js";
    "/cloud.js" JAVASCRIPT, "cloud.js";
    "/points.js" JAVASCRIPT, "points.js";
    "/orbit.js" JAVASCRIPT, "orbit.js";
    "/address.js" JAVASCRIPT, "address.js";
    "/api.js" JAVASCRIPT, "api.js";
    "/guides.js" JAVASCRIPT, "guides.js";
    "/keys.js" JAVASCRIPT, "keys.js";
    "/matching.js" JAVASCRIPT, "matching.js";
    "/option.js" JAVASCRIPT, "option.js";
    "/panel.js" JAVASCRIPT, "panel.js";
    "/plot.js" JAVASCRIPT, "plot.js";
    "/recordings.js" JAVASCRIPT, "recordings.js";
    "/scale.js" JAVASCRIPT, "scale.js";
    "/theme.js" JAVASCRIPT, "theme.js";
    "/layout.js" JAVASCRIPT, "layout.js";
};

/// Returns a route per file of the page.
pub(crate) fn routes() -> Router {
    FILES.iter().fold(Router::new(), |router, &(path, content_type, text)| {
        let headers = [
            (CONTENT_TYPE, content_type),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            // Another rig may use the same address later.
            (CACHE_CONTROL, "no-store"),
        ];
        router.route(path, get(move || async move { (headers, text).into_response() }))
    })
}
