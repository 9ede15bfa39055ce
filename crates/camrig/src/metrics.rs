//! Serves a rig's `/status` and `/metrics`, in builds with the feature `metrics`.

#[cfg(feature = "metrics")]
mod server {
    use std::io;
    use std::net::SocketAddr;

    use camrig_http::{Access, AccessError, Server};

    /// The address and the access rule of the metrics of a topology.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct MetricsSpec {
        listen: SocketAddr,
        access: Access,
    }

    /// The port of the example in errors.
    const EXAMPLE_PORT: u16 = 9464;

    impl MetricsSpec {
        /// Parses an address and a token.
        ///
        /// # Errors
        /// If one is malformed, or other machines can reach the address and there is no token.
        pub(crate) fn parse(listen: &str, token: Option<&str>) -> Result<Self, AccessError> {
            let (listen, access) = Access::parse(listen, token, EXAMPLE_PORT)?;
            Ok(Self { listen, access })
        }
    }

    /// A server of metrics, until it is dropped.
    pub(crate) struct MetricsServer(Server);

    impl MetricsServer {
        /// Serves the metrics of the rig whose status socket is `rig`.
        ///
        /// # Errors
        /// When the address is in use or does not belong to this machine.
        pub(crate) fn start(MetricsSpec { listen, access }: &MetricsSpec, rig: &str) -> io::Result<Self> {
            let server = Server::start("metrics", *listen, access.clone(), camrig_http::routes(rig));
            server.map(Self).map_err(|error| {
                io::Error::new(error.kind(), format!("metrics cannot be served at {listen}: {error}"))
            })
        }

        /// Returns the address on which it listens.
        pub(crate) fn address(&self) -> SocketAddr {
            self.0.address()
        }
    }
}

/// A build without a server: no value of these types exists.
#[cfg(not(feature = "metrics"))]
mod server {
    use std::io;
    use std::net::SocketAddr;

    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) enum MetricsSpec {}

    #[derive(Debug, thiserror::Error)]
    #[error("this program has no metrics server: build camrig with its feature `metrics`")]
    pub(crate) struct NoServer;

    impl MetricsSpec {
        pub(crate) fn parse(_: &str, _: Option<&str>) -> Result<Self, NoServer> {
            Err(NoServer)
        }
    }

    pub(crate) enum MetricsServer {}

    impl MetricsServer {
        pub(crate) fn start(spec: &MetricsSpec, _: &str) -> io::Result<Self> {
            match *spec {}
        }

        pub(crate) fn address(&self) -> SocketAddr {
            match *self {}
        }
    }
}

pub(crate) use self::server::{MetricsServer, MetricsSpec};
