//! The channels of a camera for viewers: topics, schemas, and the messages that are the same for all framesets.

use std::collections::BTreeMap;
use std::io;

use camrig::frame::{CameraInfo, Format, Payload, Stream, Timestamp};
use foxglove::Schema;
use foxglove::messages::{CameraCalibration, CompressedImage, FrameTransform, PointCloud, RawImage};

use super::encode::WrittenCamera;
use crate::format::{
    MOTION_JSON_SCHEMA, MOTION_SCHEMA, NAME_KEY, STREAM_KEY, TENSOR_ENCODING, TENSOR_SCHEMA,
};
use crate::{images, ros};

/// A channel of a camera.
pub(crate) struct ChannelOf {
    pub(crate) topic: String,
    pub(crate) schema: Schema,
    /// Encoding of the messages.
    pub(crate) encoding: String,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) content: ContentOf,
}

/// The messages of a channel.
pub(crate) enum ContentOf {
    /// One message for each frame of a stream.
    Frame(Stream),
    /// One message for each sample of a stream of motion.
    Samples(Stream),
    /// One message, which does not change.
    Once(Vec<u8>),
}

/// Returns the metadata of all channels of a camera.
pub(crate) fn metadata(source: &WrittenCamera) -> BTreeMap<String, String> {
    let WrittenCamera { name, info, .. } = source;
    let text = |key: &str, value: String| (key.to_owned(), value);
    BTreeMap::from([
        text(NAME_KEY, name.clone()),
        text("serial", info.serial.clone()),
        text("model", info.model.clone()),
        text("depth_unit_meters", info.depth_unit_meters.to_string()),
    ])
}

/// Returns the channels of a camera's frames, and of its calibration at this time.
///
/// # Errors
/// If a message has no schema.
pub(crate) fn of(source: &WrittenCamera, taken: Timestamp) -> io::Result<Vec<ChannelOf>> {
    let WrittenCamera { name, info, frames, jpeg, .. } = source;
    let of_camera = metadata(source);
    let mut channels = Vec::new();
    if let Some(message) = images::root_transform(name, info, taken) {
        let (schema, metadata) = (known(images::schema::<FrameTransform>())?, of_camera.clone());
        let (topic, encoding) = (format!("/{name}/transform"), "protobuf".to_owned());
        channels.push(ChannelOf { topic, schema, encoding, metadata, content: ContentOf::Once(message) });
    }
    for &(stream, format) in frames {
        let mut metadata = of_camera.clone();
        metadata.insert(STREAM_KEY.to_owned(), stream.name().to_owned());
        let mut add = |what: &str, schema: Schema, content| {
            let encoding = encoding_of(&schema, info, stream).to_owned();
            let topic = format!("/{name}/{stream}/{what}");
            channels.push(ChannelOf { topic, schema, encoding, metadata: metadata.clone(), content });
        };
        let (what, schema) = match format {
            Format::Image(_) if *jpeg && images::takes_jpeg(stream, format) => {
                ("image", known(images::schema::<CompressedImage>())?)
            }
            Format::Image(_) if source.depth_form(format).is_some() => ("image", ros::schema(ros::IMAGE)),
            Format::Image(_) => ("image", known(images::schema::<RawImage>())?),
            Format::Encoded(_) => ("image", known(images::schema::<CompressedImage>())?),
            Format::Points => ("points", known(images::schema::<PointCloud>())?),
            Format::Motion => {
                ("samples", Schema::new(MOTION_SCHEMA, "jsonschema", MOTION_JSON_SCHEMA.as_bytes()))
            }
            Format::Tensor(_) => ("tensor", named(TENSOR_SCHEMA)),
            Format::Message(schema) => ("message", named(schema.as_str())),
        };
        add(what, schema, ContentOf::Frame(stream));
        if format == Format::Motion {
            add("imu", ros::schema(ros::IMU), ContentOf::Samples(stream));
        }
        let Some(described) = info.stream(stream) else { continue };
        if let Some(intrinsics) = &described.intrinsics {
            let message = images::calibration(name, stream, taken, intrinsics);
            add("calibration", known(images::schema::<CameraCalibration>())?, ContentOf::Once(message));
        }
        if let Some(message) = images::transform(name, described, taken) {
            add("transform", known(images::schema::<FrameTransform>())?, ContentOf::Once(message));
        }
    }
    Ok(channels)
}

fn known(schema: Option<Schema>) -> io::Result<Schema> {
    schema.ok_or_else(|| io::Error::other("a message has no schema"))
}

/// Returns a schema without a description, known only by its name.
fn named(name: &str) -> Schema {
    Schema::new(name, "", b"".as_slice())
}

/// Returns the encoding of messages. It is determined by that of their schema, if that has one.
fn encoding_of<'a>(schema: &Schema, info: &'a CameraInfo, stream: Stream) -> &'a str {
    match schema.encoding.as_str() {
        "jsonschema" => "json",
        ros::SCHEMA_ENCODING => ros::ENCODING,
        "" => match info.stream(stream).map(|info| &info.payload) {
            Some(Payload::Message { encoding, .. }) => encoding.as_str(),
            _ => TENSOR_ENCODING,
        },
        _ => "protobuf",
    }
}
