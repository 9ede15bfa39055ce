//! Tests of the checks of options, with the texts of all refusals.

use super::*;
use crate::processing::Processing;

fn request(options: &str) -> Result<CameraRequest, String> {
    let options: Options = toml::from_str(options).map_err(|error| error.message().to_owned())?;
    CameraRequest::new(&options).map_err(|error| error.to_string())
}

#[test]
fn a_camera_is_live_or_recorded() {
    let stream =
        |stream, profile: &str, format| StreamRequest { stream, profile: profile.parse().unwrap(), format };
    assert_eq!(
        request("serial = '1'\ndepth = '640x480@30'\ncolor = '848x480@15'\ncolor_format = 'yuyv'"),
        Ok(CameraRequest {
            source: SourceRequest::Live(LiveRequest {
                selection: Selection::Serial("1".into()),
                allow_usb2: false,
                reset: false,
                settings: Settings::default(),
                record_to: None,
            }),
            streams: vec![
                stream(Stream::COLOR, "848x480@15", Some(PixelFormat::Yuyv.into())),
                stream(Stream::DEPTH, "640x480@30", Some(PixelFormat::Z16.into())),
            ],
            processing: Processing::default(),
        }),
    );
    assert_eq!(
        request("file = 'a.bag'\ninfrared_2 = '640x480@30'\nreal_time = false"),
        Ok(CameraRequest {
            source: SourceRequest::File(FileRequest {
                path: "a.bag".into(),
                real_time: false,
                repeat: false,
                start_offset: None,
            }),
            streams: vec![stream(Stream::INFRARED_2, "640x480@30", None)],
            processing: Processing::default(),
        }),
    );
}

#[test]
fn options_of_another_source_or_stream_are_refused() {
    for (options, message) in [
        ("file = 'a.bag'\nreset = true", "`reset` is for a live camera, not for a `file`"),
        (
            "any = true\ndepth = '640x480@30'\nexposure_region = [9, 0, 9, 5]",
            "`exposure_region` is empty: it is left, top, right and bottom, and [9, 0, 9, 5] has no pixels",
        ),
        (
            "any = true\ndepth = '640x480@30'\nexposure_region = [0, 0, 9, 9]\nset.exposure = 8500",
            "`exposure_region` needs automatic exposure, which `exposure` in `set` turns off; remove one of them",
        ),
        (
            "any = true\ncolor = '640x480@30'\nexposure_region_color = [0, 0, 9, 9]\n\
             set_color.enable_auto_exposure = false",
            "`exposure_region_color` needs automatic exposure, which `enable_auto_exposure` in `set_color` turns off; \
             remove one of them",
        ),
        (
            "any = true\ndepth = '640x480@30'\ncolor = '640x480@30'\nalign = 'depth-to-color'\n\
             filters.rotation = {}",
            "`align` and the filter `rotation` exclude each other: only depth is rotated",
        ),
        (
            "any = true\ndepth = '640x480@30'\ninfrared_format = 'y16'",
            "`infrared_format` needs `infrared_1` or `infrared_2`",
        ),
    ] {
        assert_eq!(request(options), Err(message.to_owned()), "{options}");
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for (options, message) in [
        (
            "",
            "no camera is given: a live one by `serial`, `port`, `name` or `any = true`, or a recorded one by \
             `file`",
        ),
        (
            "serial = '1'\nfile = 'a.bag'",
            "a live camera and a `file` exclude each other: a camera is live or recorded",
        ),
        ("port = '2-1'\nany = true", "`port` and `any` exclude each other: one of them selects the camera"),
        ("any = false", "`any` must be true or omitted"),
        ("file = 'a.bag'\nallow_usb2 = true", "`allow_usb2` is for a live camera, not for a `file`"),
        ("serial = ' '", "`serial` is empty"),
        (
            "serial = '1'",
            "no stream of images is given; expected one of: `depth`, `color`, `infrared_1`, `infrared_2`, \
             `confidence`, each such as \"640x480@30\", or `streams`",
        ),
        (
            "file = 'a.bag'\naccel = 100\ngyro = 200",
            "no stream of images is given; expected one of: `depth`, `color`, `infrared_1`, `infrared_2`, \
             `confidence`, each such as \"640x480@30\", or `streams`",
        ),
        (
            "any = true\ndepth = '640x480@30'\ngyro = 0",
            "`gyro`: frame rate 0 is out of range; it must be 1 to 1000 frames per second",
        ),
        (
            "serial = '1'\ndepth = '640x480@30'\nrepeat = true",
            "`real_time` and `repeat` are for a `file`, not for a live camera",
        ),
        (
            "file = 'a.bag'\ncolor_format = 'rgb8'",
            "`color_format` is for a live camera: a `file` has the format that was recorded",
        ),
        (
            "any = true\ndepth = '640x480@30'\nset = { exposur = 1 }",
            "librealsense has no option `exposur`; did you mean `exposure`?",
        ),
        (
            "any = true\ndepth = '640x480@30'\nset_color = { nonsense_and_more = 1 }",
            "librealsense has no option `nonsense_and_more`",
        ),
        (
            "any = true\nset = { exposure = [1] }",
            "invalid type: sequence, expected a number, `true`, `false` or the name of a value",
        ),
        (
            "any = true\ncolor = '640x480@30'\nfilters.spatial = {}",
            "`filters` are for depth, and there is no `depth` stream",
        ),
        (
            "any = true\ndepth = '640x480@30'\nalign = 'depth-to-color'",
            "`align` needs both a `depth` and a `color` stream",
        ),
        (
            "any = true\ndepth = '640x480@30'\ncolor = '640x480@30'\ncolor_format = 'yuyv'\n\
             align = 'color-to-depth'",
            "color in `yuyv` cannot be aligned to depth; `rgb8`, `bgr8`, `rgba8` and `bgra8` can",
        ),
        (
            "file = 'a.bag'\nfilters.decimation = { filter_magnitude = 9 }",
            "option `filter_magnitude` of filter `decimation` is 9: it must be 1 to 8 in steps of 1",
        ),
        (
            "file = 'a.bag'\nfilters.threshold = { min = 1 }",
            "filter `threshold` has no option `min`; it has: `min_distance`, `max_distance`",
        ),
        (
            "file = 'a.bag'\nfilters.hole_filling = { holes_fill = 'all' }",
            "option `holes_fill` of filter `hole_filling` is \"all\": expected one of: \"fill from left\", \
             \"farest from around\", \"nearest from around\"",
        ),
        (
            "any = true\ndepth = '640x480@30'\nstart_offset_millis = 5",
            "`start_offset_millis` is for a `file`, not for a live camera",
        ),
        (
            "file = 'a.bag'\nreal_time = false\nstart_offset_millis = 5",
            "`start_offset_millis` and `real_time = false` exclude each other: a file that is not played in real \
             time cannot begin at a time",
        ),
        (
            "file = 'a.bag'\nstart_offset_millis = 86400001",
            "`start_offset_millis` is 86400001; it must be 0 to 86400000",
        ),
        ("file = 'a.bag'\npreset = 'a.json'", "`preset` is for a live camera, not for a `file`"),
        ("serial = '1'\ndepth = '640x480'", "stream profile `640x480` is not of the form `640x480@30`"),
        (
            "serial = '1'\ncolor_format = 'jpeg'",
            "unknown variant `jpeg`, expected one of `rgb8`, `bgr8`, `rgba8`, `bgra8`, `yuyv`, `uyvy`, `y8`, `y16`, \
             `mjpeg`, `z16`, `distance`, `disparity32`",
        ),
    ] {
        assert_eq!(request(options), Err(message.to_owned()), "{options}");
    }
}

/// Returns the requested streams, each with profile and format.
fn of(options: &str, live: bool) -> Result<Vec<String>, String> {
    let options: Options = toml::from_str(options).map_err(|error| error.message().to_owned())?;
    let requests = requested(&options, live).map_err(|error| error.to_string())?;
    let shown = |StreamRequest { stream, profile, format }: StreamRequest| {
        let format = format.map_or("any".to_owned(), |format| format.to_string());
        format!("{stream} {profile} {format}")
    };
    Ok(requests.into_iter().map(shown).collect())
}

#[test]
fn every_stream_has_a_format() {
    let options = "color = '4x4@30'\ncolor_format = 'mjpeg'\ninfrared_1 = '4x4@30'\ninfrared_2 = '4x4@30'\n\
                   infrared_format = 'y16'\nconfidence = '4x4@30'\ngyro = 200\n\
                   streams = { color-2 = { profile = '8x8@15' }, infrared = { profile = '4x4@30', format = 'rgb8' }, \
                   depth = { profile = '4x4@30', format = 'distance' }, fisheye-1 = { profile = '4x4@30' } }";
    assert_eq!(
        of(options, true).unwrap(),
        [
            "color 4x4@30 mjpeg",
            "depth 4x4@30 distance",
            "infrared-1 4x4@30 y16",
            "infrared-2 4x4@30 y16",
            "confidence 4x4@30 y8",
            "gyro 400x1@200 motion",
            "color-2 8x8@15 rgb8",
            "fisheye-1 4x4@30 y8",
            "infrared 4x4@30 rgb8",
        ],
    );
    let recorded = "color = '4x4@30'\nstreams = { infrared = { profile = '4x4@30', format = 'rgb8' } }";
    assert_eq!(of(recorded, false).unwrap(), ["color 4x4@30 any", "infrared 4x4@30 rgb8"]);
}

#[test]
fn contradictions_are_refused() {
    for (options, message) in [
        ("color_format = 'mjpeg'", "`color_format` needs `color`"),
        ("infrared_format = 'y16'", "`infrared_format` needs `infrared_1` or `infrared_2`"),
        (
            "streams = { Color = { profile = '4x4@30' } }",
            "`streams`: `Color` is not the name of a stream, which has 1 to 32 of `a-z`, `0-9` and `-`",
        ),
        (
            "streams = { gyro = { profile = '4x4@30' } }",
            "`streams`: `gyro` is an option of its own: its rate",
        ),
        (
            "depth = '4x4@30'\nstreams = { depth = { profile = '4x4@30' } }",
            "stream `depth` is requested twice: by its own option and in `streams`",
        ),
    ] {
        assert_eq!(of(options, true), Err(message.to_owned()));
    }
}

#[test]
fn a_file_is_claimed_however_it_is_written() {
    let claim = |path: &str| {
        let options = format!("any = true\ndepth = '640x480@30'\nrecord_to = '{path}'");
        toml::from_str::<Options>(&options).unwrap().claims().remove(1)
    };
    assert_eq!((claim("a.bag"), claim("./a.bag")), ("file a.bag".into(), "file a.bag".into()));
    assert_eq!(claim(&absolute("a.bag").unwrap().display().to_string()), "file a.bag");
    assert_ne!(claim("a.bag"), claim("b/a.bag"));
}

#[test]
fn the_schema_has_the_defaults_that_apply() {
    let schema = schemars::schema_for!(Options);
    let default = |option: &str| {
        let value = schema.as_value().pointer(&format!("/properties/{option}/default"));
        value.map(ToString::to_string).unwrap_or_default()
    };
    let Ok(CameraRequest { source: SourceRequest::File(file), .. }) = request("file = 'a.bag'") else {
        panic!()
    };
    assert_eq!(
        (default("real_time"), default("repeat")),
        (file.real_time.to_string(), file.repeat.to_string())
    );
    let live = "any = true\ncolor = '4x4@30'\ninfrared_1 = '4x4@30'";
    let Ok(CameraRequest { source: SourceRequest::Live(request), .. }) = request(live) else { panic!() };
    assert_eq!(default("allow_usb2"), request.allow_usb2.to_string());
    let shown = |stream: &str, option: &str| format!("{stream} 4x4@30 {}", default(option).trim_matches('"'));
    assert_eq!(
        of(live, true).unwrap(),
        [shown("color", "color_format"), shown("infrared-1", "infrared_format")]
    );
}
