//! Access rules: requests from this machine, or requests that carry the token.
//!
//! A server without a token listens on a loopback address only. Every program on the machine can reach it, and so
//! can every page that a browser there shows. Two rules keep foreign pages out: `Host` must name this machine
//! (otherwise a page could resolve a name of its own to a loopback address), and `Origin`, if present, must be the
//! server's own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cookie::{Cookie, SameSite};
use subtle::ConstantTimeEq;

use crate::LOCALHOST;
use crate::places::Marker;

/// The characters of a token: those that need no escape in an address or a cookie.
const TOKEN_CHARACTERS: &str = "letters, digits, `-` and `_`";

/// The length of a token, in characters.
const TOKEN_LENGTH: RangeInclusive<usize> = 8..=128;

/// The name of the query parameter that carries the token.
const TOKEN_PARAMETER: &str = "token";

/// The maximum number of characters of a malformed address that an error shows.
const ADDRESS_SHOWN_MAX: usize = 64;

/// The path that exchanges a token in the query for a cookie.
const FIRST_PATH: &str = "/";

/// The rule that decides whether a server answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access(Arc<Rules>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rules {
    token: Option<String>,
    /// Whether pages of other origins are answered that give the token, or come from this machine without one.
    for_viewers: bool,
    /// The name of the cookie. It contains the port, because all ports of a host share cookies.
    cookie: String,
}

/// The reason why an address and a token are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The address is malformed.
    #[error("`listen` is `{listen}`; it must be an address and a port, such as `127.0.0.1:{port}`")]
    Address {
        /// The text.
        listen: String,
        /// The port of the example.
        port: u16,
    },
    /// Other machines can reach the address, and there is no token.
    #[error(
        "`listen` is {0}, which others can reach: `token` is needed, a secret of {start} to {end} {TOKEN_CHARACTERS}",
        start = TOKEN_LENGTH.start(),
        end = TOKEN_LENGTH.end()
    )]
    TokenMissing(SocketAddr),
    /// The token has another length or other characters.
    #[error(
        "`token` is not of {start} to {end} {TOKEN_CHARACTERS}",
        start = TOKEN_LENGTH.start(),
        end = TOKEN_LENGTH.end()
    )]
    BadToken,
}

impl AccessError {
    /// Returns the names of the options that the error is about, the most likely one first.
    pub fn options(&self) -> &'static [&'static str] {
        match self {
            Self::Address { .. } => &["listen"],
            Self::TokenMissing(_) | Self::BadToken => &["token", "listen"],
        }
    }
}

impl Access {
    /// Parses the options `listen` and `token` of a server: an address, such as `127.0.0.1:8470` or `localhost:8470`, and a
    /// secret. The error about a malformed address shows one with this `port`.
    ///
    /// # Errors
    /// If the address is malformed, and as [`Self::new`].
    pub fn parse(listen: &str, token: Option<&str>, port: u16) -> Result<(SocketAddr, Self), AccessError> {
        let Some(address) = parse_listen(listen) else {
            let shown = listen.chars().filter(|letter| !letter.is_control()).take(ADDRESS_SHOWN_MAX);
            return Err(AccessError::Address { listen: shown.collect(), port });
        };
        Ok((address, Self::new(address, token)?))
    }

    /// Permits requests from this machine when `token` is `None`, and requests that carry the token otherwise.
    ///
    /// # Errors
    /// If the token is malformed, or `listen` is not a loopback address and there is no token.
    pub fn new(listen: SocketAddr, token: Option<&str>) -> Result<Self, AccessError> {
        match token {
            None if !listen.ip().is_loopback() => return Err(AccessError::TokenMissing(listen)),
            Some(token) if !is_token(token) => return Err(AccessError::BadToken),
            _ => {}
        }
        let token = token.map(str::to_owned);
        Ok(Self(Arc::new(Rules { token, for_viewers: false, cookie: String::new() })))
    }

    /// Returns the same rule for a server without a page of its own, to which pages of other programs connect: it answers
    /// pages of any origin that give the token in the query and, without a token, pages of this machine.
    #[must_use]
    pub fn for_viewers(self) -> Self {
        let token = self.0.token.clone();
        Self(Arc::new(Rules { token, for_viewers: true, cookie: String::new() }))
    }

    /// Returns the same rule for the address on which the server listens.
    pub(crate) fn at(self, address: SocketAddr) -> Self {
        let (token, for_viewers) = (self.0.token.clone(), self.0.for_viewers);
        Self(Arc::new(Rules { token, for_viewers, cookie: format!("camrig-{}", address.port()) }))
    }

    /// Returns the query that admits a browser, `?token=...`; empty without a token.
    pub fn query(&self) -> String {
        self.0.token.as_ref().map(|token| format!("?{TOKEN_PARAMETER}={token}")).unwrap_or_default()
    }
}

/// Parses an address to listen on, such as `127.0.0.1:8470`; `localhost` means 127.0.0.1.
pub(crate) fn parse_listen(text: &str) -> Option<SocketAddr> {
    let localhost = || {
        let (name, port) = text.split_once(':')?;
        let port = port.parse().ok()?;
        name.eq_ignore_ascii_case(LOCALHOST).then_some((Ipv4Addr::LOCALHOST, port).into())
    };
    text.parse().ok().or_else(localhost)
}

fn is_token(token: &str) -> bool {
    TOKEN_LENGTH.contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// The decision on a request.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Pass,
    /// Store the token in a cookie and remove it from the address line, and so from the browser's history.
    StoreToken,
    Refuse(StatusCode, &'static str),
}

impl Rules {
    fn decide(&self, headers: &HeaderMap, uri: &Uri) -> Decision {
        if is_foreign_page(headers) && !self.permits_page(headers, uri) {
            return Decision::Refuse(StatusCode::FORBIDDEN, "pages of other origins are not answered");
        }
        let Some(token) = &self.token else {
            return if only_text(headers, &header::HOST).is_some_and(is_this_machine) {
                Decision::Pass
            } else {
                Decision::Refuse(StatusCode::FORBIDDEN, "ask for localhost")
            };
        };
        if let Some(given) = token_of_query(uri) {
            return match (is_same(&given, token), uri.path() == FIRST_PATH) {
                (false, _) => Decision::Refuse(StatusCode::UNAUTHORIZED, "this is not the token"),
                (true, true) if !self.for_viewers => Decision::StoreToken,
                (true, _) => Decision::Pass,
            };
        }
        let bearer = only_text(headers, &header::AUTHORIZATION).and_then(bearer);
        let given = bearer.map(str::to_owned).or_else(|| self.token_of_cookie(headers));
        if given.is_some_and(|given| is_same(&given, token)) {
            return Decision::Pass;
        }
        Decision::Refuse(
            StatusCode::UNAUTHORIZED,
            "a token is needed: open /?token=TOKEN, or send it as a bearer",
        )
    }

    /// Returns whether a page of another origin is that of a viewer. A token in a cookie does not count: a browser sends it
    /// for any page.
    fn permits_page(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let is_local = || {
            let origin = only_text(headers, &header::ORIGIN).and_then(|origin| origin.split_once("://"));
            origin.is_some_and(|(scheme, host)| matches!(scheme, "http" | "https") && is_this_machine(host))
        };
        let permits = || match &self.token {
            Some(token) => token_of_query(uri).is_some_and(|given| is_same(&given, token)),
            None => is_local(),
        };
        self.for_viewers && permits()
    }

    fn token_of_cookie(&self, headers: &HeaderMap) -> Option<String> {
        headers.get_all(header::COOKIE).iter().find_map(|value| {
            // Cookies of other programs on this host may have any bytes.
            let text = String::from_utf8_lossy(value.as_bytes());
            let mut cookies = Cookie::split_parse(text).filter_map(Result::ok);
            cookies.find(|cookie| cookie.name() == self.cookie).map(|cookie| cookie.value().to_owned())
        })
    }

    fn set_cookie(&self) -> Option<HeaderValue> {
        let cookie = Cookie::build((&self.cookie, self.token.as_ref()?))
            .path(FIRST_PATH)
            .http_only(true)
            .same_site(SameSite::Strict);
        HeaderValue::from_str(&cookie.to_string()).ok()
    }
}

/// Passes a request on, or answers with the reason why it is refused.
pub(crate) async fn check(State(Access(rules)): State<Access>, request: Request, next: Next) -> Response {
    match rules.decide(request.headers(), request.uri()) {
        Decision::Pass => {
            let connection = request.extensions().get::<Marker>().cloned();
            connection.iter().for_each(Marker::admitted);
            let response = next.run(request).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                connection.iter().for_each(Marker::becomes_page);
            }
            response
        }
        Decision::Refuse(code, reason) => (code, format!("{reason}\n")).into_response(),
        Decision::StoreToken => match rules.set_cookie() {
            Some(cookie) => {
                let headers = [
                    (header::SET_COOKIE, cookie),
                    (header::LOCATION, HeaderValue::from_static(FIRST_PATH)),
                    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                ];
                (StatusCode::SEE_OTHER, headers).into_response()
            }
            None => next.run(request).await,
        },
    }
}

/// Returns the value of a header that occurs once and is visible ASCII.
fn only_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok();
    value.filter(|_| values.next().is_none())
}

/// Returns whether a browser sent the request from a page of another origin. An origin that cannot be read is another.
fn is_foreign_page(headers: &HeaderMap) -> bool {
    let own = || {
        let (_, origin) = only_text(headers, &header::ORIGIN)?.split_once("://")?;
        Some(origin.eq_ignore_ascii_case(only_text(headers, &header::HOST)?))
    };
    headers.contains_key(header::ORIGIN) && own() != Some(true)
}

/// Returns the token of an `Authorization` header, whose scheme may be written in any case.
fn bearer(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_matches(' '))
}

fn token_of_query(uri: &Uri) -> Option<String> {
    let mut pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(name, _)| name == TOKEN_PARAMETER).map(|(_, value)| value.into_owned())
}

/// Returns whether `host`, with or without a port, is `localhost` or a loopback address.
fn is_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Compares in a time that depends on the lengths only.
fn is_same(given: &str, token: &str) -> bool {
    given.as_bytes().ct_eq(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "secret-1";
    const NEEDED: &str = "a token is needed: open /?token=TOKEN, or send it as a bearer";

    fn decide(token: Option<&str>, uri: &str, headers: &[(HeaderName, &str)]) -> Decision {
        let bytes: Vec<_> = headers.iter().map(|(name, value)| (name.clone(), value.as_bytes())).collect();
        decide_bytes(token, uri, &bytes)
    }

    fn decide_bytes(token: Option<&str>, uri: &str, values: &[(HeaderName, &[u8])]) -> Decision {
        let listen = "127.0.0.1:80".parse().unwrap();
        let Access(rules) = Access::new(listen, token).unwrap().at(listen);
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        rules.decide(&headers, &uri.parse().unwrap())
    }

    #[test]
    fn the_machine_has_these_names_and_no_others() {
        for host in
            ["localhost", "localhost:80", "LocalHost:80", "127.0.0.1:9464", "127.8.9.1", "[::1]:80", "[::1]"]
        {
            assert!(is_this_machine(host), "{host}");
        }
        for host in
            ["", "example.org", "localhost.example.org:80", "10.0.0.1:80", "[::2]:80", "127.0.0.1.example:1"]
        {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn others_need_a_token() {
        let listen = |text: &str| text.parse().unwrap();
        assert!(Access::new(listen("127.0.0.1:0"), None).is_ok());
        assert_eq!(
            Access::new(listen("[::1]:0"), Some("long-enough_1")).unwrap().query(),
            "?token=long-enough_1"
        );
        assert_eq!(
            Access::new(listen("0.0.0.0:80"), None).unwrap_err().to_string(),
            "`listen` is 0.0.0.0:80, which others can reach: `token` is needed, a secret of 8 to 128 \
             letters, digits, `-` and `_`"
        );
        for token in ["short", "with space", "with;semicolon"] {
            let error = Access::new(listen("0.0.0.0:80"), Some(token)).unwrap_err();
            assert_eq!(error.to_string(), "`token` is not of 8 to 128 letters, digits, `-` and `_`");
        }
    }

    #[test]
    fn a_token_is_the_same_when_every_letter_is() {
        assert!(is_same("secret-1", TOKEN));
        for given in ["", "secret-", "secret-2", "secret-11"] {
            assert!(!is_same(given, TOKEN), "{given}");
        }
    }

    #[test]
    fn requests_of_this_machine_pass_without_a_token() {
        let (host, origin) = (header::HOST, header::ORIGIN);
        let foreign = Decision::Refuse(StatusCode::FORBIDDEN, "pages of other origins are not answered");
        for (headers, decision) in [
            (vec![(host.clone(), "localhost:80")], Decision::Pass),
            (vec![(host.clone(), "localhost:80"), (origin.clone(), "http://localhost:80")], Decision::Pass),
            (vec![(host.clone(), "localhost:80"), (origin.clone(), "http://LOCALHOST:80")], Decision::Pass),
            (vec![(host.clone(), "localhost:80"), (origin.clone(), "http://example.org")], foreign),
            (
                vec![(host, "localhost:80"), (origin, "null")],
                Decision::Refuse(StatusCode::FORBIDDEN, "pages of other origins are not answered"),
            ),
            (
                vec![(header::HOST, "example.org")],
                Decision::Refuse(StatusCode::FORBIDDEN, "ask for localhost"),
            ),
            (vec![], Decision::Refuse(StatusCode::FORBIDDEN, "ask for localhost")),
        ] {
            assert_eq!(decide(None, "/status", &headers), decision, "{headers:?}");
        }
    }

    #[test]
    fn viewers_are_pages_of_this_machine_or_have_the_token() {
        let listen = "127.0.0.1:80".parse().unwrap();
        let decide = |token: Option<&str>, uri: &str, origin: &'static str, cookie: &'static str| {
            let Access(rules) = Access::new(listen, token).unwrap().for_viewers().at(listen);
            let mut headers = HeaderMap::new();
            for (name, value) in
                [(header::HOST, "127.0.0.1:80"), (header::ORIGIN, origin), (header::COOKIE, cookie)]
            {
                headers.append(name, HeaderValue::from_static(value));
            }
            rules.decide(&headers, &uri.parse().unwrap())
        };
        let foreign = Decision::Refuse(StatusCode::FORBIDDEN, "pages of other origins are not answered");
        for origin in ["http://localhost:8080", "https://127.0.0.1", "http://[::1]:3000"] {
            assert_eq!(decide(None, "/", origin, ""), Decision::Pass, "{origin}");
        }
        for origin in
            ["https://example.org", "null", "file://", "http://localhost.example.org", "app://localhost"]
        {
            assert_eq!(decide(None, "/", origin, ""), foreign, "{origin}");
            assert_eq!(decide(Some(TOKEN), "/?token=secret-1", origin, ""), Decision::Pass, "{origin}");
            assert_eq!(decide(Some(TOKEN), "/?token=secret-2", origin, ""), foreign, "{origin}");
            assert_eq!(decide(Some(TOKEN), "/", origin, "camrig-80=secret-1"), foreign, "{origin}");
        }
    }

    #[test]
    fn an_origin_that_cannot_be_read_is_another_one() {
        let foreign = || Decision::Refuse(StatusCode::FORBIDDEN, "pages of other origins are not answered");
        let host = |text| (header::HOST, text);
        let origin = |text| (header::ORIGIN, text);
        let own: &[u8] = b"http://localhost:80";
        let local: &[u8] = b"localhost:80";
        for headers in [
            vec![host(local), origin(b"http://ex\xe4mple.org".as_slice())],
            vec![host(local), origin(b"http://localhost:80\xff".as_slice())],
            vec![host(local), origin(b"".as_slice())],
            vec![host(local), origin(own), origin(b"http://example.org".as_slice())],
            vec![host(local), host(b"example.org".as_slice()), origin(own)],
            vec![origin(own)],
        ] {
            assert_eq!(decide_bytes(None, "/", &headers), foreign(), "{headers:?}");
            let bearer = (header::AUTHORIZATION, b"Bearer secret-1".as_slice());
            let with_token = [headers, vec![bearer]].concat();
            assert_eq!(decide_bytes(Some(TOKEN), "/", &with_token), foreign(), "{with_token:?}");
        }
    }

    #[test]
    fn cookies_of_others_hide_no_token() {
        let cookie = |value| (header::COOKIE, value);
        for headers in [
            vec![cookie(b"name=J\xf6rg; camrig-80=secret-1".as_slice())],
            vec![cookie(b"a=b".as_slice()), cookie(b"camrig-80=secret-1".as_slice())],
        ] {
            assert_eq!(decide_bytes(Some(TOKEN), "/", &headers), Decision::Pass, "{headers:?}");
        }
    }

    #[test]
    fn a_token_comes_in_the_query_a_cookie_or_as_a_bearer() {
        let refused = |reason| Decision::Refuse(StatusCode::UNAUTHORIZED, reason);
        let (cookie, bearer) = (header::COOKIE, header::AUTHORIZATION);
        for (uri, headers, decision) in [
            ("/", vec![], refused(NEEDED)),
            ("/?token=secret-1", vec![], Decision::StoreToken),
            ("/?a=b&token=secret%2D1", vec![], Decision::StoreToken),
            ("/status?token=secret-1", vec![], Decision::Pass),
            ("/?token=secret-2", vec![], refused("this is not the token")),
            ("/", vec![(cookie.clone(), "a=b; camrig-80=secret-1")], Decision::Pass),
            ("/", vec![(cookie.clone(), "camrig-81=secret-1")], refused(NEEDED)),
            ("/", vec![(cookie, "camrig-80=secret-2")], refused(NEEDED)),
            ("/", vec![(bearer.clone(), "Bearer secret-1")], Decision::Pass),
            ("/", vec![(bearer.clone(), "bearer secret-1")], Decision::Pass),
            ("/", vec![(bearer.clone(), "BEARER  secret-1")], Decision::Pass),
            ("/", vec![(bearer.clone(), "Bearersecret-1")], refused(NEEDED)),
            ("/", vec![(bearer.clone(), "bearer secret-2")], refused(NEEDED)),
            ("/", vec![(bearer, "Basic secret-1")], refused(NEEDED)),
        ] {
            assert_eq!(decide(Some(TOKEN), uri, &headers), decision, "{uri} {headers:?}");
        }
    }

    #[test]
    fn the_cookie_is_for_this_port_and_out_of_reach_of_scripts() {
        let listen = "127.0.0.1:8470".parse().unwrap();
        let Access(rules) = Access::new(listen, Some(TOKEN)).unwrap().at(listen);
        assert_eq!(rules.set_cookie().unwrap(), "camrig-8470=secret-1; HttpOnly; SameSite=Strict; Path=/");
    }
}
