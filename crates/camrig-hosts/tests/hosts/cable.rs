//! A cable to an address of this machine: it delays, limits the rate, and can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// Maximum number of bytes that are carried in one piece.
const CHUNK_BYTES: usize = 16384;

/// Maximum number of chunks on their way in one direction.
const CHUNKS_MAX: usize = 256;

/// How a cable carries bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quality {
    pub(crate) delay: Duration,
    /// The most that is added to the delay, at random.
    pub(crate) jitter: Duration,
    /// The rate in each direction; `None` for no limit.
    pub(crate) mbps: Option<u32>,
}

/// While it is cut, nothing comes through, and no connection ends.
pub(crate) struct Cable {
    pub(crate) address: String,
    whole: Arc<Whole>,
    ends: Ends,
}

type Whole = (Mutex<bool>, Condvar);

/// The connections; `None` while there can be none.
type Ends = Arc<Mutex<Option<Vec<TcpStream>>>>;

impl Cable {
    pub(crate) fn to(far: &str) -> Self {
        Self::of(Quality::default(), far)
    }

    pub(crate) fn of(quality: Quality, far: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let whole = Arc::new((Mutex::new(true), Condvar::new()));
        let ends: Ends = Arc::new(Mutex::new(Some(Vec::new())));
        let (state, known, far) = (Arc::clone(&whole), Arc::clone(&ends), far.to_owned());
        // It ends with the tests.
        spawn(move || {
            for near in listener.incoming().flatten() {
                // No process listens there: the connection ends immediately.
                let Ok(far) = TcpStream::connect(&far) else { continue };
                match &mut *known.lock().unwrap() {
                    Some(known) => known.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]),
                    None => continue,
                }
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    to.set_nodelay(true).unwrap();
                    let (chunks, carried) = sync_channel(CHUNKS_MAX);
                    spawn(move || read(from, quality, |chunk| chunks.send(chunk).is_ok()));
                    let state = Arc::clone(&state);
                    spawn(move || write(&carried, to, quality, &state));
                }
            }
        });
        Self { address, whole, ends }
    }

    /// Ends all connections, with what is on its way, and has no further one before [`Self::connect`].
    pub(crate) fn disconnect(&self) {
        for end in self.ends.lock().unwrap().take().into_iter().flatten() {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn connect(&self) {
        *self.ends.lock().unwrap() = Some(Vec::new());
    }

    pub(crate) fn set_whole(&self, whole: bool) {
        *self.whole.0.lock().unwrap() = whole;
        self.whole.1.notify_all();
    }
}

/// Bytes, and when they arrive.
type Chunk = (Instant, Vec<u8>);

fn read(mut from: TcpStream, quality: Quality, mut carry: impl FnMut(Chunk) -> bool) {
    let mut bytes = [0; CHUNK_BYTES];
    let mut random = fastrand::Rng::with_seed(1);
    let mut last = Instant::now();
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        // Messages arrive in the order in which they were sent.
        last = last.max(Instant::now() + quality.delay + quality.jitter.mul_f64(random.f64()));
        if !carry((last, bytes[..count].to_vec())) {
            break;
        }
    }
}

fn write(chunks: &Receiver<Chunk>, mut to: TcpStream, quality: Quality, (whole, changed): &Whole) {
    // When the cable is free again.
    let mut free = Instant::now();
    for (arrival, bytes) in chunks {
        sleep(arrival.max(free).saturating_duration_since(Instant::now()));
        drop(changed.wait_while(whole.lock().unwrap(), |whole| !*whole).unwrap());
        let bits = bytes.len() as u32 * 8;
        let time = quality.mbps.map_or(Duration::ZERO, |mbps| Duration::from_micros(1) * bits / mbps);
        free = free.max(arrival) + time;
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
