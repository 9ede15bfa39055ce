//! Tests of the rendered pictures: every pixel against the exact value.

use camrig_frame::{ColorView, DepthView, Format, Frame, Intrinsics, PixelFormat};
use camrig_image::LightImage;

use super::*;
use crate::synthetic::world::Surface;

/// Options for every model, format and stream, and sizes of many aspect ratios down to one pixel.
const EVERY_KIND: [&str; 11] = [
    "",
    "seed = 5\nmodel = 'd405'\ninfrared = '848x480@30'",
    "seed = 6\nmodel = 'd405'\ndepth = '424x240@90'\ncolor = '480x270@90'\ncolor_format = 'bgr8'",
    "seed = 7\ndepth = '640x480@6'\ncolor = '320x240@6'\ncolor_format = 'yuyv'\ninfrared = '480x270@6'",
    "model = 'any'\ndepth = '64x48@30'\ncolor = '75x31@30'\ncolor_format = 'yuyv'\ninfrared = '5x9@30'",
    "seed = 9\nmodel = 'any'\ndepth = '1x1@1000'\ncolor = '2x300@1000'",
    "color = '424x240@30'\ncolor_format = 'uyvy'\ninfrared = '424x240@30'\ninfrared_format = 'y16'",
    "color = '424x240@30'\ncolor_format = 'rgba8'",
    "color = '424x240@30'\ncolor_format = 'bgra8'",
    "color = '848x480@30'\ncolor_format = 'mjpeg'",
    "seed = 10\nmodel = 'any'\ndepth = '300x2@100'\ncolor = 'off'",
];

#[test]
fn every_depth_pixel_is_exact_to_one_unit() {
    for options in EVERY_KIND {
        let mut camera = camera(options);
        let mut bodies_seen = 0;
        for number in [0, 1, 77, 100_000] {
            let (header, pixels) = images(&mut camera, number)
                .into_iter()
                .find(|(header, _)| header.stream == Stream::DEPTH)
                .unwrap();
            let unit = camera.info().depth_unit_meters;
            let depth = DepthView::new(Frame::new(&header, &pixels).unwrap(), unit, None).unwrap();
            let (width, height) = header.payload.size().unwrap();
            for y in 0..height {
                for x in 0..width {
                    let truth = camera.scene.depth_meters_at(number, x, y);
                    let seen = depth.meters(x, y).map(f64::from);
                    let close = match (truth, seen) {
                        (Some(truth), Some(seen)) => (truth - seen).abs() <= f64::from(unit),
                        (truth, seen) => truth == seen,
                    };
                    assert!(close, "{options}: #{number} at {x}, {y}: {seen:?} m instead of {truth:?} m");
                    let sight = camera.scene.sight(Stream::DEPTH, number, x, y);
                    bodies_seen += u32::from(matches!(sight.surface, Surface::Body(_)));
                }
            }
        }
        assert!(bodies_seen > 0, "{options}: no body is ever seen");
    }
}

#[test]
fn every_color_pixel_has_the_color_of_its_object() {
    for options in EVERY_KIND {
        let mut camera = camera(options);
        for number in [0, 31] {
            for (header, pixels) in images(&mut camera, number) {
                let Some(color) = ColorView::new(Frame::new(&header, &pixels).unwrap()) else { continue };
                // One level of brightness, and where two pixels share their chroma its rounding error.
                let format = color.format();
                let (width, height) = header.payload.size().unwrap();
                let in_pairs = matches!(format, PixelFormat::Yuyv | PixelFormat::Uyvy);
                let tolerance = if in_pairs { 6 } else { 1 };
                for y in code_rows(&header)..height {
                    for x in 0..width {
                        let truth = |x| camera.scene.sight(header.stream, number, x, y);
                        let (sight, neighbor) = (truth(x), truth((x ^ 1).min(width - 1)));
                        if in_pairs && sight.rgb != neighbor.rgb {
                            // Two pixels share their chroma.
                            continue;
                        }
                        if in_pairs && x ^ 1 >= width {
                            continue;
                        }
                        let rgb = match format {
                            PixelFormat::Y8 | PixelFormat::Y16 => {
                                let [r, g, b] = sight.rgb.map(u32::from);
                                [((77 * r + 150 * g + 29 * b + 128) >> 8) as u8; 3]
                            }
                            _ => sight.rgb,
                        };
                        let seen = color.rgb(x, y).unwrap();
                        let close = rgb.iter().zip(seen).all(|(a, b)| a.abs_diff(b) <= tolerance);
                        let stream = header.stream;
                        assert!(close, "{options}: {stream} #{number} at {x}, {y}: {seen:?} for {sight:?}");
                    }
                }
            }
        }
    }
}

/// The maximum mean difference of a channel between an image and its JPEG.
const JPEG_TOLERANCE: f64 = 3.0;

#[test]
fn a_jpeg_shows_the_rendered_image_and_has_the_same_bytes_each_time() {
    let options = |format: &str| format!("color = '424x240@30'\nseed = 5\ncolor_format = '{format}'");
    let (mut plain, mut coded) = (camera(&options("rgb8")), camera(&options("mjpeg")));
    for number in [0, 31, 100_000] {
        let (_, expected) = images(&mut plain, number).remove(0);
        let (header, jpeg) = images(&mut coded, number).remove(0);
        assert!(jpeg == images(&mut camera(&options("mjpeg")), number).remove(0).1);
        assert!(jpeg.len() < expected.len() / 4, "{} bytes", jpeg.len());
        let image = LightImage::new(Frame::new(&header, &jpeg).unwrap()).unwrap().unwrap();
        let seen = image.view().unwrap().to_rgb8();
        let sum: u32 = seen.iter().zip(&expected).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        let mean = f64::from(sum) / expected.len() as f64;
        assert!(mean < JPEG_TOLERANCE, "#{number}: {mean}");
    }
}

#[test]
fn a_jpeg_of_any_size_fits_into_its_slot() {
    for size in ["1x1@30", "2x300@30", "300x2@30", "33x17@30", "1920x1080@30"] {
        let options = format!("model = 'any'\ndepth = 'off'\ncolor = '{size}'\ncolor_format = 'mjpeg'");
        let mut camera = camera(&options);
        let declared = camera.info().streams[0].payload;
        for (header, _) in images(&mut camera, 7) {
            assert_eq!(header.payload.format(), Format::Encoded(camrig_frame::MJPEG));
            assert!(declared.admits(&header.payload), "{:?} in {declared:?}", header.payload);
        }
    }
}

/// Returns the number of rows that the code covers.
fn code_rows(header: &FrameHeader) -> u32 {
    let (width, height) = header.payload.size().unwrap();
    let cell = width / 64;
    if height >= 2 * cell { cell } else { 0 }
}

fn intrinsics(camera: &Synthetic, stream: Stream) -> Intrinsics {
    camera.info().stream(stream).unwrap().intrinsics.unwrap()
}

#[test]
fn deprojected_floor_pixels_lie_in_the_floor() {
    for options in ["", "model = 'd405'", "model = 'd405'\ndepth = '640x480@30'"] {
        let mut camera = camera(options);
        let (header, pixels) = images(&mut camera, 12).pop().unwrap();
        let unit = camera.info().depth_unit_meters;
        let lens = intrinsics(&camera, Stream::DEPTH);
        let depth = DepthView::new(Frame::new(&header, &pixels).unwrap(), unit, Some(&lens)).unwrap();
        let mut found = 0;
        let (width, height) = header.payload.size().unwrap();
        for y in 0..height {
            for x in 0..width {
                if camera.scene.sight(Stream::DEPTH, 12, x, y).surface == Surface::Floor {
                    let z = f64::from(depth.meters(x, y).unwrap());
                    let point = [
                        z * f64::from((x as f32 - lens.ppx) / lens.fx),
                        z * f64::from((y as f32 - lens.ppy) / lens.fy),
                        z,
                    ];
                    let above = camera.scene.meters_above_floor(point);
                    assert!(
                        above.abs() <= f64::from(unit),
                        "{options}: {above} m above the floor at {x}, {y}"
                    );
                    found += 1;
                }
            }
        }
        assert!(found > width * height / 10, "{options}: {found} pixels of floor");
    }
}

#[test]
fn the_scene_follows_from_the_camera_info_alone() {
    let mut one = camera_called("left", EVERY_KIND[3]);
    let again = Scene::of(&one.info()).unwrap();
    for (header, pixels) in images(&mut one, 41) {
        let mut rendered = Vec::new();
        again.write(header.stream, 41, &header.metadata, &mut rendered);
        assert!(rendered == pixels, "{}", header.stream);
    }
    let info = one.info();
    assert!(Scene::of(&CameraInfo { driver: "realsense".into(), ..info.clone() }).is_none());
    assert!(Scene::of(&CameraInfo { model: "Intel RealSense D435".into(), ..info.clone() }).is_none());
    let mut other = info;
    other.streams[0].intrinsics = None;
    assert!(Scene::of(&other).is_none());
}

#[test]
fn all_cameras_and_frames_differ() {
    let mut seen = std::collections::HashSet::new();
    for name in ["left", "right", "front", "rear", "top", "wrist"] {
        let mut camera = camera_called(name, "depth = '424x240@30'\ncolor = '424x240@30'");
        for number in 0..5 {
            for (header, pixels) in images(&mut camera, number) {
                assert!(seen.insert(pixels), "{name} #{number} {}", header.stream);
            }
        }
    }
}

#[test]
fn light_images_contain_the_frames_number_and_the_seed() {
    for options in EVERY_KIND {
        let mut camera = camera(options);
        for (header, pixels) in images(&mut camera, 0x0012_3456_789a) {
            let image = LightImage::new(Frame::new(&header, &pixels).unwrap()).unwrap();
            let Some(color) = image.as_ref().and_then(LightImage::view) else { continue };
            let cell = color.frame().width() / 64;
            if code_rows(&header) > 0 {
                let bit = |index| u64::from(color.rgb(index * cell + cell / 2, cell / 2).unwrap()[0] > 127);
                let code = (0..64).fold(0, |code, index| code << 1 | bit(index));
                assert_eq!(code >> 32, 0x3456_789a, "{options}");
                assert_eq!(code as u32, Scene::seed(&camera.serial) as u32, "{options}");
            }
        }
    }
}

/// Run with `cargo test --release -p camrig --lib rendering_time -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, useful in release builds only"]
fn rendering_time() {
    for options in [
        "",
        "color_format = 'yuyv'",
        "color_format = 'mjpeg'",
        "model = 'd405'",
        "color = '1280x720@30'\ndepth = '1280x720@30'",
    ] {
        let mut camera = camera(options);
        let mut frames = images(&mut camera, 0);
        let start = Instant::now();
        let count = 300;
        for number in 0..count {
            for (header, pixels) in &mut frames {
                camera.scene.write(header.stream, number, &header.metadata, pixels);
            }
        }
        let millis = start.elapsed().as_secs_f64() * 1e3 / count as f64;
        println!(
            "{options:?}: {millis:.3} ms a frameset; six cameras at 30 Hz: {:.0} % of a core",
            millis * 18.0
        );
    }
}
