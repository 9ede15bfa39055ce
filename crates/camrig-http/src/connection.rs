//! One connection: it occupies a place, and ends when its peer receives nothing for too long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::places::HeldPlace;

/// The time in which a peer has to receive some of the sent bytes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// A connection. It occupies its place until it is dropped.
pub(crate) struct Connection<S> {
    stream: S,
    /// Runs while the peer receives nothing.
    stuck: Option<Pin<Box<Sleep>>>,
    _place: HeldPlace,
}

impl<S> Connection<S> {
    pub(crate) fn new(stream: S, place: HeldPlace) -> Self {
        Self { stream, stuck: None, _place: place }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        match stuck.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;
    use crate::places::Places;

    /// The bytes that a pipe holds.
    const HELD: usize = 4;

    /// Sends this many bytes to a peer that receives those of a full pipe after each of these pauses. Returns the result, and
    /// the time that it took, on a clock on which pauses take no time.
    fn send(bytes: usize, pauses: Vec<Duration>) -> (io::Result<()>, Duration) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let (stream, mut peer) = duplex(HELD);
            let place = Places::new(1).take(Ipv4Addr::LOCALHOST.into()).unwrap();
            let mut connection = Connection::new(stream, place);
            tokio::spawn(async move {
                for pause in pauses {
                    sleep(pause).await;
                    peer.read_exact(&mut [0; HELD]).await.unwrap();
                }
                // It stays open.
                std::future::pending::<()>().await;
            });
            let (bytes, start) = (vec![1; bytes], Instant::now());
            // A day, to end where nothing else does.
            let sent = tokio::time::timeout(Duration::from_secs(86_400), connection.write_all(&bytes));
            (sent.await.unwrap(), start.elapsed())
        })
    }

    #[test]
    fn a_peer_that_receives_nothing_is_given_up() {
        let (sent, time) = send(2 * HELD, Vec::new());
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(time.as_secs(), WRITE_TIMEOUT.as_secs());
        // Also after it has received some of them.
        let (sent, _) = send(3 * HELD, vec![Duration::ZERO]);
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_slow_peer_is_waited_for() {
        let pause = WRITE_TIMEOUT * 3 / 4;
        let (sent, time) = send(4 * HELD, vec![pause; 3]);
        sent.unwrap();
        assert!(time > 2 * WRITE_TIMEOUT);
    }
}
