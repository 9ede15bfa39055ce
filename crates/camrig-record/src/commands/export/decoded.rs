//! The decoded frames of a recorded frameset, and those computed from them: points, and aligned depth.

use bytes::Bytes;
use camrig::frame::{
    AlignDepth, CameraInfo, DepthView, Extrinsics, Frame, FrameHeader, POINT_BYTES, PointCloud,
    PointCloudError, PointsView, Role, Stream, StreamInfo,
};
use camrig::{encode_pcd, encode_ply};
use camrig_image::LightImage;

use crate::read::{FrameSetError, ReadFrameSet, image_data, is_stored, shown_header, write_pixels};

/// The decoded frames of a frameset.
pub(in super::super) struct Decoded(Vec<(FrameHeader, Bytes)>);

impl Decoded {
    /// Decodes a frameset.
    ///
    /// # Errors
    /// If the recording is damaged there.
    pub(in super::super) fn new(frameset: &ReadFrameSet) -> Result<Self, FrameSetError> {
        let headers: Vec<_> = frameset.record.frames.iter().map(shown_header).collect();
        // The sizes come from a file and are unverified.
        camrig::frame::Layout::of(&headers)?;
        let frames = frameset.record.frames.iter().zip(&frameset.images).zip(headers);
        let frames = frames.map(|((frame, message), header)| {
            let data = image_data(frame, message.clone())?;
            if is_stored(frame, &data) {
                return Ok((header, data));
            }
            let mut pixels = vec![0; header.size_bytes() as usize];
            write_pixels(frame, &data, &mut pixels)?;
            Ok((header, pixels.into()))
        });
        frames.collect::<Result<_, FrameSetError>>().map(Self)
    }

    pub(super) fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        // Each was created with the length given by its header.
        self.0.iter().filter_map(|(header, pixels)| Frame::new(header, &pixels[..]).ok())
    }

    /// Returns the frame of this stream.
    pub(super) fn frame(&self, stream: Stream) -> Option<Frame<'_>> {
        self.frames().find(|frame| frame.stream() == stream)
    }

    /// Returns the first depth image.
    pub(in super::super) fn depth(&self, unit_meters: f32) -> Option<DepthView<'_>> {
        self.frames().find_map(|frame| DepthView::new(frame, unit_meters, None))
    }

    /// Returns the color image, where it is one that can be shown.
    ///
    /// # Errors
    /// If it is a JPEG that cannot be decoded.
    pub(super) fn color(&self) -> Result<Option<LightImage<'_>>, PointsError> {
        let color = self.frame(Stream::COLOR).map(LightImage::new).transpose();
        color.map(Option::flatten).map_err(|error| PointsError::Color(error.to_string()))
    }

    /// Replaces depth by depth in the pixels of color. Without depth, does nothing.
    ///
    /// # Errors
    /// If an image has another size than the calibration; then depth is removed.
    pub(super) fn align(&mut self, align: &AlignDepth, unit_meters: f32) -> Result<(), PointCloudError> {
        let is_depth = |(header, pixels): &(FrameHeader, Bytes)| {
            Frame::new(header, &pixels[..])
                .ok()
                .and_then(|frame| DepthView::new(frame, unit_meters, None))
                .is_some()
        };
        let Some(index) = self.0.iter().position(is_depth) else { return Ok(()) };
        let (header, pixels) = self.0.remove(index);
        let frame = Frame::new(&header, &pixels[..]).ok();
        if let Some(depth) = frame.and_then(|frame| DepthView::new(frame, unit_meters, None)) {
            self.0.insert(index, (align.header(&header), align.align(&depth)?.into()));
        }
        Ok(())
    }

    /// Returns the frameset's points as a file, either recorded or computed from its depth; `None` without either.
    pub(super) fn points(
        &self,
        cloud: &Result<PointCloud, PointsError>,
        depth_unit_meters: f32,
        format: PointsFormat,
    ) -> Result<Option<Vec<u8>>, PointsError> {
        if let Some(points) = self.frames().find_map(PointsView::new) {
            return Ok(Some(format.encode(&points)));
        }
        let Some(depth) = self.depth(depth_unit_meters) else { return Ok(None) };
        let header = PointCloud::header(depth.frame().header());
        let points = self.points_of(&depth, cloud.as_ref().map_err(PointsError::clone)?)?;
        let frame = Frame::new(&header, &points).ok();
        Ok(frame.and_then(PointsView::new).map(|points| format.encode(&points)))
    }

    /// Returns the points of a depth image, with the colors of the frameset: a point for each pixel.
    pub(in super::super) fn points_of(
        &self,
        depth: &DepthView<'_>,
        cloud: &PointCloud,
    ) -> Result<Vec<u8>, PointsError> {
        let mut points = vec![0; cloud.len() * POINT_BYTES as usize];
        let color = self.color()?;
        cloud.write(depth, color.as_ref().and_then(LightImage::view).as_ref(), &mut points)?;
        Ok(points)
    }
}

/// File format of points.
#[derive(Clone, Copy, Debug)]
pub(super) enum PointsFormat {
    Ply,
    Pcd,
}

impl PointsFormat {
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Ply => "ply",
            Self::Pcd => "pcd",
        }
    }

    fn encode(self, points: &PointsView<'_>) -> Vec<u8> {
        match self {
            Self::Ply => encode_ply(points),
            Self::Pcd => encode_pcd(points),
        }
    }
}

/// The reason why a camera's depth cannot become points.
#[derive(Clone, Debug, thiserror::Error)]
pub(in super::super) enum PointsError {
    #[error("the camera has no depth")]
    NoDepth,
    #[error("its color is a JPEG that cannot be decoded: {0}")]
    Color(String),
    #[error(transparent)]
    Cloud(#[from] PointCloudError),
}

/// Creates the converter of a camera's depth to points.
pub(in super::super) fn point_cloud(info: &CameraInfo) -> Result<PointCloud, PointsError> {
    let depth = info.stream_of(Role::Depth).ok_or(PointsError::NoDepth)?;
    let color =
        info.stream(Stream::COLOR).filter(|color| color.intrinsics.is_some() && color.to_depth.is_some());
    Ok(PointCloud::new(depth, color)?)
}

/// The reason why a camera's depth cannot be aligned to its color.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum AlignError {
    #[error("the camera has no {0}")]
    Lacks(&'static str),
    #[error(transparent)]
    Calibration(#[from] PointCloudError),
}

/// Creates the converter of a camera's depth to the pixels of its color, and the resulting description: depth has the
/// intrinsics and the position of color.
pub(super) fn aligned(info: &CameraInfo) -> Result<(AlignDepth, CameraInfo), AlignError> {
    let depth = info.stream_of(Role::Depth).ok_or(AlignError::Lacks("depth"))?;
    let color = info.stream(Stream::COLOR).ok_or(AlignError::Lacks("color"))?;
    let align = AlignDepth::new(depth, color)?;
    let from_depth = color.to_depth.map(|to_depth| to_depth.inverse());
    let mut then = info.clone();
    for stream in &mut then.streams {
        if stream.stream == depth.stream {
            *stream = StreamInfo { to_depth: Some(Extrinsics::IDENTITY), ..align.stream(depth) };
        } else if stream.stream == color.stream {
            stream.to_depth = Some(Extrinsics::IDENTITY);
        } else {
            stream.to_depth = stream.to_depth.zip(from_depth).map(|(own, next)| next.after(&own));
        }
    }
    Ok((align, then))
}
