//! Serves one viewer over its WebSocket: it advertises the channels, and sends the newest framesets of those that the viewer
//! subscribes to. Messages of a viewer are bounded in size, and kept only if their channel exists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message as Packet, WebSocket, WebSocketUpgrade};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::time::{sleep_until, timeout};

use super::cameras::{AdvertisedCamera, Cameras};
use super::protocol::{Advertised, Asked, ERROR, SUBPROTOCOLS, Subscription, Told, data};
use crate::record::{ChannelOf, ContentOf};

/// Maximum number of viewers at the same time.
const VIEWERS_MAX: usize = 16;

/// Maximum size of a message of a viewer, in bytes.
const ASKED_BYTES_MAX: usize = 256 << 10;

/// Maximum number of subscriptions of a viewer to one channel.
const SUBSCRIPTIONS_MAX: usize = 8;

/// The interval at which the viewer is pinged.
const PING: Duration = Duration::from_secs(20);

/// The time without an answer, or for sending a message, after which a viewer is considered gone.
const SILENCE: Duration = Duration::from_secs(60);

/// The state that all viewers share.
#[derive(Clone)]
struct Viewers {
    cameras: Arc<Cameras>,
    frame_time: Duration,
    name: Arc<str>,
    session: Arc<str>,
    open: Arc<AtomicUsize>,
}

/// The place of a viewer, until this is dropped.
struct ViewerPlace(Arc<AtomicUsize>);

impl Drop for ViewerPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns the route of the WebSocket.
pub(super) fn route(cameras: Arc<Cameras>, frame_time: Duration, name: String) -> Router {
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let session = began.as_millis().to_string().into();
    let viewers = Viewers { cameras, frame_time, name: name.into(), session, open: Arc::default() };
    Router::new().route("/", get(open)).with_state(viewers)
}

async fn open(
    State(viewers): State<Viewers>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else {
        let text =
            "this is for Foxglove and Lichtblick: open a connection to this address there, with ws://\n";
        return (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")], text).into_response();
    };
    let place = ViewerPlace(Arc::clone(&viewers.open));
    if viewers.open.fetch_add(1, Ordering::Relaxed) >= VIEWERS_MAX {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many viewers are connected\n").into_response();
    }
    let upgrade = upgrade.max_message_size(ASKED_BYTES_MAX).max_frame_size(ASKED_BYTES_MAX);
    let upgrade = upgrade.protocols(SUBPROTOCOLS);
    if upgrade.selected_protocol().is_none() {
        let text = format!("expected one of the subprotocols: {}\n", SUBPROTOCOLS.join(", "));
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    upgrade.on_upgrade(|socket| async move {
        let _place = place;
        let mut session = Session { viewers, version: 0, shown: Vec::new(), subscribed: BTreeMap::new() };
        // The viewer is gone, with or without an error.
        let _ = session.run(socket).await;
    })
}

/// A viewer.
struct Session {
    viewers: Viewers,
    /// The version of the advertised channels, and their cameras.
    version: u64,
    shown: Vec<ViewedCamera>,
    /// By channel: the numbers that the viewer chose.
    subscribed: BTreeMap<u64, BTreeSet<u32>>,
}

/// A camera that was advertised to a viewer.
struct ViewedCamera {
    shown: Arc<AdvertisedCamera>,
    /// The count of the last frameset that was sent, and the earliest time of the next one.
    count: u64,
    due: Instant,
    /// The time of the last sample of each channel: samples of two framesets are in order.
    sampled: BTreeMap<u64, u64>,
}

impl Drop for Session {
    fn drop(&mut self) {
        for channel in std::mem::take(&mut self.subscribed).into_keys() {
            self.leave(channel);
        }
    }
}

impl Session {
    async fn run(&mut self, mut socket: WebSocket) -> Option<()> {
        let mut changes = self.viewers.cameras.changes();
        let info = Told::ServerInfo {
            name: &self.viewers.name,
            capabilities: [],
            session_id: &self.viewers.session,
        };
        send(&mut socket, text(&info)?).await?;
        let (mut silent_at, mut ping_at) = (Instant::now() + SILENCE, Instant::now() + PING);
        loop {
            for packet in self.news()? {
                send(&mut socket, packet).await?;
            }
            let now = Instant::now();
            for index in 0..self.shown.len() {
                // Encoded before anything is sent: a viewer that is slow holds no frameset.
                for packet in self.frames(index, now) {
                    send(&mut socket, packet).await?;
                }
            }
            let due = self.shown.iter().map(|seen| seen.due).filter(|&due| due > now).min();
            let wake_at = due.into_iter().chain([ping_at, silent_at]).min()?;
            tokio::select! {
                packet = socket.recv() => {
                    silent_at = Instant::now() + SILENCE;
                    match packet?.ok()? {
                        Packet::Text(asked) => {
                            for packet in self.handle(&asked)? {
                                send(&mut socket, packet).await?;
                            }
                        }
                        Packet::Close(_) => return None,
                        _ => {}
                    }
                }
                changed = changes.changed() => changed.ok()?,
                () = sleep_until(wake_at.into()) => {
                    let now = Instant::now();
                    if now >= silent_at {
                        return None;
                    }
                    if now >= ping_at {
                        ping_at = now + PING;
                        send(&mut socket, Packet::Ping(Vec::new().into())).await?;
                    }
                }
            }
        }
    }

    /// Returns the messages about channels that were added or removed.
    fn news(&mut self) -> Option<Vec<Packet>> {
        let Some((version, shown)) = self.viewers.cameras.shown_since(self.version) else {
            return Some(Vec::new());
        };
        self.version = version;
        let is_known =
            |of: &Arc<AdvertisedCamera>| self.shown.iter().any(|seen| Arc::ptr_eq(&seen.shown, of));
        let new: Vec<_> = shown.iter().filter(|of| !is_known(of)).cloned().collect();
        let is_gone = |seen: &ViewedCamera| !shown.iter().any(|of| Arc::ptr_eq(of, &seen.shown));
        let gone: Vec<_> = self.shown.extract_if(.., |seen| is_gone(seen)).collect();
        let gone: Vec<_> = gone.iter().flat_map(|seen| seen.shown.channels.keys().copied()).collect();
        self.subscribed.retain(|channel, _| !gone.contains(channel));
        let mut packets = Vec::new();
        if !gone.is_empty() {
            packets.push(text(&Told::Unadvertise { channel_ids: gone })?);
        }
        if !new.is_empty() {
            let channels = new.iter().flat_map(|of| &of.channels);
            let channels = channels.map(|(&id, channel)| Advertised::new(id, channel)).collect();
            packets.push(text(&Told::Advertise { channels })?);
        }
        let due = Instant::now();
        let seen = |shown| ViewedCamera { shown, count: 0, due, sampled: BTreeMap::new() };
        self.shown.extend(new.into_iter().map(seen));
        Some(packets)
    }

    /// Returns the messages of a camera's newest frameset that are subscribed to, unless they were sent or are not due.
    fn frames(&mut self, index: usize, now: Instant) -> Vec<Packet> {
        let Self { viewers, shown, subscribed, .. } = self;
        let Some(seen) = shown.get_mut(index).filter(|seen| seen.due <= now) else { return Vec::new() };
        let Some(newest) = viewers.cameras.newest(&seen.shown, seen.count) else { return Vec::new() };
        seen.count = newest.count;
        // Counts from the due time, not from now: otherwise the rate would stay below the one that is allowed.
        seen.due = now.max(seen.due + viewers.frame_time);
        let mut packets = Vec::new();
        for (id, channel) in &seen.shown.channels {
            let Some(numbers) = subscribed.get(id) else { continue };
            let (ContentOf::Frame(stream) | ContentOf::Samples(stream)) = channel.content else { continue };
            let Some(encoded) = viewers.cameras.encode(&newest, stream) else { continue };
            let last = seen.sampled.entry(*id).or_default();
            let mut samples = Vec::new();
            for sample in &encoded.samples {
                *last = newest.log_time.saturating_sub(sample.before_nanos).max(*last);
                samples.push((*last, &sample.message));
            }
            for &number in numbers {
                if matches!(channel.content, ContentOf::Frame(_)) {
                    packets.push(Packet::binary(data(number, newest.log_time, &encoded.message)));
                } else {
                    packets
                        .extend(samples.iter().map(|(at, sample)| Packet::binary(data(number, *at, sample))));
                }
            }
        }
        packets
    }

    /// Handles a request of a viewer. Returns the answers; `None` if it cannot be understood.
    fn handle(&mut self, asked: &str) -> Option<Vec<Packet>> {
        match serde_json::from_str(asked).ok()? {
            Asked::Subscribe { subscriptions } => {
                let answers = subscriptions.iter().map(|subscription| self.subscribe(subscription));
                Some(answers.collect::<Vec<_>>().into_iter().flatten().collect())
            }
            Asked::Unsubscribe { subscription_ids } => {
                for id in subscription_ids {
                    let found = self.subscribed.iter().find(|(_, numbers)| numbers.contains(&id));
                    let Some(channel) = found.map(|(&channel, _)| channel) else { continue };
                    let numbers = self.subscribed.entry(channel).or_default();
                    numbers.remove(&id);
                    if numbers.is_empty() {
                        self.subscribed.remove(&channel);
                        self.leave(channel);
                    }
                }
                Some(Vec::new())
            }
            Asked::Other => Some(Vec::new()),
        }
    }

    /// Subscribes to a channel. Returns its message, if it is one that does not change.
    fn subscribe(&mut self, subscription: &Subscription) -> Option<Packet> {
        let &Subscription { id, channel_id } = subscription;
        let seen = self.shown.iter().find(|seen| seen.shown.channels.contains_key(&channel_id));
        let Some((shown, channel)) =
            seen.and_then(|seen| Some((&seen.shown, seen.shown.channels.get(&channel_id)?)))
        else {
            let message = format!("there is no channel {channel_id}");
            return text(&Told::Status { level: ERROR, message: &message });
        };
        let is_used = self.subscribed.values().any(|numbers| numbers.contains(&id));
        let is_full =
            self.subscribed.get(&channel_id).is_some_and(|numbers| numbers.len() >= SUBSCRIPTIONS_MAX);
        if is_used || is_full {
            let message = format!("the subscription {id} is one too many");
            return text(&Told::Status { level: ERROR, message: &message });
        }
        let numbers = self.subscribed.entry(channel_id).or_default();
        if numbers.is_empty() && channel.is_of_framesets() {
            self.viewers.cameras.subscribe(shown);
        }
        numbers.insert(id);
        let ContentOf::Once(message) = &channel.content else { return None };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(Packet::binary(data(id, now.as_nanos() as u64, message)))
    }

    /// Ends the subscription to a channel.
    fn leave(&self, channel: u64) {
        let seen = self.shown.iter().find(|seen| seen.shown.channels.contains_key(&channel));
        if let Some(seen) = seen
            && seen.shown.channels.get(&channel).is_some_and(ChannelOf::is_of_framesets)
        {
            self.viewers.cameras.unsubscribe(&seen.shown);
        }
    }
}

fn text(told: &Told<'_>) -> Option<Packet> {
    serde_json::to_string(told).ok().map(Packet::text)
}

async fn send(socket: &mut WebSocket, packet: Packet) -> Option<()> {
    timeout(SILENCE, socket.send(packet)).await.ok()?.ok()
}
