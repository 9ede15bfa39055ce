//! Who is answered: on this machine its own pages and programs, from elsewhere who knows the token.
//!
//! A server without a token listens on a loopback address only. It is reached by everybody on the machine,
//! and by any page that a browser there shows: so the names under which it is asked have to be the machine's
//! own, or a foreign page could give it a name of its own, and an `Origin` has to be the server's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The characters of a token: those that need no escape in an address or a cookie.
const TOKEN_CHARACTERS: &str = "letters, digits, `-` and `_`";

/// The shortest and the longest token.
const TOKEN_LENGTH: std::ops::RangeInclusive<usize> = 8..=128;

/// Who may ask a server.
#[derive(Clone, Debug)]
pub struct Access(Arc<Rules>);

#[derive(Clone, Debug)]
struct Rules {
    token: Option<String>,
    /// Cookies of a host are shared by its ports.
    cookie: String,
}

impl Access {
    /// Who may ask a server that listens on `listen`: everybody on this machine, or who knows the `token`.
    ///
    /// # Errors
    /// When the token is none, or is missing although others than this machine could ask.
    pub fn new(listen: SocketAddr, token: Option<&str>) -> Result<Self, String> {
        match token {
            None if !listen.ip().is_loopback() => {
                return Err(format!(
                    "`listen` is {listen}, which others can reach: `token` is needed, a secret of \
                     {} to {} {TOKEN_CHARACTERS}",
                    TOKEN_LENGTH.start(),
                    TOKEN_LENGTH.end()
                ));
            }
            Some(token) if !is_token(token) => {
                return Err(format!(
                    "`token` is not of {} to {} {TOKEN_CHARACTERS}",
                    TOKEN_LENGTH.start(),
                    TOKEN_LENGTH.end()
                ));
            }
            _ => {}
        }
        Ok(Self(Arc::new(Rules { token: token.map(str::to_owned), cookie: String::new() })))
    }

    /// The same, at the address that the server got.
    pub(super) fn at(self, address: SocketAddr) -> Self {
        let token = self.0.token.clone();
        Self(Arc::new(Rules { token, cookie: format!("camrig-{}", address.port()) }))
    }

    /// What has to follow the server's address for a browser to be let in; may be empty.
    pub fn query(&self) -> String {
        self.0.token.as_ref().map(|token| format!("?token={token}")).unwrap_or_default()
    }
}

fn is_token(token: &str) -> bool {
    TOKEN_LENGTH.contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Lets a request pass, or says why not.
pub(super) async fn check(State(Access(rules)): State<Access>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if let Some(origin) = text(headers, &header::ORIGIN) {
        let own = text(headers, &header::HOST)
            .is_some_and(|host| origin.split_once("://").is_some_and(|(_, origin)| origin == host));
        if !own {
            return refuse(StatusCode::FORBIDDEN, "pages of other origins are not answered");
        }
    }
    let Some(token) = &rules.token else {
        return if text(headers, &header::HOST).is_some_and(is_this_machine) {
            next.run(request).await
        } else {
            refuse(StatusCode::FORBIDDEN, "ask for localhost")
        };
    };
    if let Some(given) = token_of_query(request.uri()) {
        if !is_same(given, token) {
            return refuse(StatusCode::UNAUTHORIZED, "this is not the token");
        }
        // The token leaves the address line, and so the browser's history, for a cookie.
        if request.uri().path() == "/" {
            let cookie = format!("{}={token}; Path=/; HttpOnly; SameSite=Strict", rules.cookie);
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                let headers = [
                    (header::SET_COOKIE, cookie),
                    (header::LOCATION, HeaderValue::from_static("/")),
                    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                ];
                return (StatusCode::SEE_OTHER, headers).into_response();
            }
        }
        return next.run(request).await;
    }
    let bearer = text(headers, &header::AUTHORIZATION).and_then(|text| text.strip_prefix("Bearer "));
    let cookies = text(headers, &header::COOKIE).unwrap_or_default().split("; ");
    let mut given = cookies.filter_map(|cookie| {
        cookie.split_once('=').filter(|(name, _)| *name == rules.cookie).map(|(_, value)| value)
    });
    if bearer.or_else(|| given.next()).is_some_and(|given| is_same(given, token)) {
        return next.run(request).await;
    }
    refuse(StatusCode::UNAUTHORIZED, "a token is needed: open /?token=TOKEN, or send it as a bearer")
}

fn refuse(code: StatusCode, why: &str) -> Response {
    (code, format!("{why}\n")).into_response()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn token_of_query(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token="))
}

/// `localhost`, or a loopback address, with any port.
fn is_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Takes as long for a token that is nearly right as for any other of the same length.
fn is_same(given: &str, token: &str) -> bool {
    let differences = given.bytes().zip(token.bytes()).fold(0, |all, (one, other)| all | (one ^ other));
    given.len() == token.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_these_names_and_no_others() {
        for host in ["localhost", "localhost:80", "127.0.0.1:9464", "127.8.9.1", "[::1]:80", "[::1]"] {
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
            Access::new(listen("0.0.0.0:80"), None).unwrap_err(),
            "`listen` is 0.0.0.0:80, which others can reach: `token` is needed, a secret of 8 to 128 \
             letters, digits, `-` and `_`"
        );
        for token in ["short", "with space", "with;semicolon"] {
            let error = Access::new(listen("0.0.0.0:80"), Some(token)).unwrap_err();
            assert_eq!(error, "`token` is not of 8 to 128 letters, digits, `-` and `_`");
        }
    }

    #[test]
    fn a_token_is_the_same_when_every_letter_is() {
        assert!(is_same("secret-1", "secret-1"));
        for given in ["", "secret-", "secret-2", "secret-11"] {
            assert!(!is_same(given, "secret-1"), "{given}");
        }
    }
}
