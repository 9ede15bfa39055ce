//! The streams that cross, as the options of `wire-in` have them: `depth = "z16 848x480@30"`. Pure.

use camrig_frame::{Clock, DeviceProfile, Format, PixelFormat, Stream};

/// Returns the text of a stream; `None` if its format cannot be read from a text.
pub(crate) fn text(stream: &DeviceProfile) -> Option<String> {
    let text = format!("{} {}", stream.format, stream.profile);
    (read(stream.stream.name(), &text).ok()? == *stream).then_some(text)
}

/// Reads a stream.
///
/// # Errors
/// A line that names the stream.
pub(crate) fn read(name: &str, text: &str) -> Result<DeviceProfile, String> {
    let refused =
        || format!("stream `{name}` is `{text}`; expected a format and a profile, such as `z16 848x480@30`");
    let stream = Stream::new(name).map_err(|error| error.to_string())?;
    let (format, profile) = text.split_once(' ').ok_or_else(refused)?;
    let format = match format {
        Format::MOTION_NAME => Format::Motion,
        Format::POINTS_NAME => Format::Points,
        name => Format::Image(PixelFormat::named(name).ok_or_else(refused)?),
    };
    let profile = profile.parse().map_err(|_| refused())?;
    Ok(DeviceProfile { stream, format, profile })
}

/// Returns the clock of a name.
pub(crate) fn clock(name: &str) -> Option<Clock> {
    [Clock::Hardware, Clock::Global, Clock::System].into_iter().find(|clock| clock.name() == name)
}

#[cfg(test)]
mod tests {
    use camrig_frame::{DType, StreamProfile};

    use super::*;

    #[test]
    fn a_stream_is_read_as_it_was_written() {
        let profile: StreamProfile = "64x48@30".parse().unwrap();
        for (name, format, expected) in [
            ("depth", Format::Image(PixelFormat::Z16), "z16 64x48@30"),
            ("points", Format::Points, "xyzrgb 64x48@30"),
            ("gyro", Format::Motion, "motion 64x48@30"),
        ] {
            let stream = DeviceProfile { stream: Stream::new(name).unwrap(), format, profile };
            assert_eq!(text(&stream).as_deref(), Some(expected));
            assert_eq!(read(name, expected), Ok(stream));
        }
        let tensor = Format::Tensor(DType::F32);
        assert_eq!(text(&DeviceProfile { stream: Stream::DEPTH, format: tensor, profile }), None);
        assert_eq!(
            read("depth", "z17 64x48@30").unwrap_err(),
            "stream `depth` is `z17 64x48@30`; expected a format and a profile, such as `z16 848x480@30`"
        );
    }
}
