//! The messages of Foxglove's WebSocket protocol: JSON texts, and binary messages with data.
//!
//! See <https://github.com/foxglove/ws-protocol/blob/main/docs/spec.md>. The subprotocol of Foxglove's newer SDK has the
//! same messages.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::record::ChannelOf;

/// The subprotocols that are spoken, the newest first.
pub(super) const SUBPROTOCOLS: [&str; 2] = ["foxglove.sdk.v1", "foxglove.websocket.v1"];

/// First byte of a binary message with data.
const MESSAGE_DATA: u8 = 1;

/// A text that the server sends.
#[derive(Debug, Serialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Told<'a> {
    ServerInfo { name: &'a str, capabilities: [&'a str; 0], session_id: &'a str },
    Advertise { channels: Vec<Advertised<'a>> },
    Unadvertise { channel_ids: Vec<u64> },
    Status { level: u8, message: &'a str },
}

/// The level of an error in a status.
pub(super) const ERROR: u8 = 2;

/// A channel as it is advertised.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Advertised<'a> {
    id: u64,
    topic: &'a str,
    encoding: &'a str,
    schema_name: &'a str,
    schema_encoding: &'a str,
    schema: String,
    metadata: &'a BTreeMap<String, String>,
}

impl<'a> Advertised<'a> {
    pub(super) fn new(id: u64, channel: &'a ChannelOf) -> Self {
        let ChannelOf { topic, schema, encoding, metadata, .. } = channel;
        let (schema_encoding, data) = (schema.encoding.as_str(), &schema.data[..]);
        let schema_text = match schema_encoding {
            // JSON has no bytes.
            "protobuf" => BASE64_STANDARD.encode(data),
            _ => String::from_utf8_lossy(data).into_owned(),
        };
        Self {
            id,
            topic,
            encoding,
            schema_name: &schema.name,
            schema_encoding,
            schema: schema_text,
            metadata,
        }
    }
}

/// A text that a viewer sends. Others, for features that the server does not have, are ignored.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Asked {
    Subscribe {
        subscriptions: Vec<Subscription>,
    },
    Unsubscribe {
        subscription_ids: Vec<u32>,
    },
    #[serde(other)]
    Other,
}

/// A subscription, whose number the viewer chooses.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subscription {
    pub(super) id: u32,
    pub(super) channel_id: u64,
}

/// Returns the binary message with data of a subscription.
pub(super) fn data(subscription: u32, log_time: u64, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(13 + message.len());
    bytes.push(MESSAGE_DATA);
    bytes.extend(subscription.to_le_bytes());
    bytes.extend(log_time.to_le_bytes());
    bytes.extend_from_slice(message);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_protocol() {
        let text = |told: &Told<'_>| serde_json::to_string(told).unwrap();
        let info = Told::ServerInfo { name: "camrig", capabilities: [], session_id: "7" };
        assert_eq!(text(&info), r#"{"op":"serverInfo","name":"camrig","capabilities":[],"sessionId":"7"}"#);
        let gone = Told::Unadvertise { channel_ids: vec![3] };
        assert_eq!(text(&gone), r#"{"op":"unadvertise","channelIds":[3]}"#);
        let asked = |text: &str| serde_json::from_str::<Asked>(text);
        let subscribe = r#"{"op":"subscribe","subscriptions":[{"id":1,"channelId":2}]}"#;
        let Asked::Subscribe { subscriptions } = asked(subscribe).unwrap() else { panic!() };
        assert_eq!((subscriptions[0].id, subscriptions[0].channel_id), (1, 2));
        assert!(matches!(asked(r#"{"op":"getParameters","parameterNames":[]}"#), Ok(Asked::Other)));
        for wrong in ["", "[]", r#"{"op":"subscribe"}"#, r#"{"op":"unsubscribe","subscriptionIds":[-1]}"#] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
        assert_eq!(data(2, 3, b"x"), [1, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, b'x']);
    }
}
