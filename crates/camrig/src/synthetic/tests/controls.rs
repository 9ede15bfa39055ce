//! Tests of the options of an open camera: seen in its pictures, refused with the choices.

use camrig_frame::PixelFormat;

use super::*;
use crate::synthetic::controls::Appearance;

#[test]
fn controls_show_in_pictures_which_follow_from_the_metadata() {
    let options = "seed = 3\nmodel = 'any'\ndepth = '64x48@30'\ncolor = '128x96@30'\ninfrared = '64x48@30'";
    let mut camera = camera(options);
    let scene = Scene::of(&camera.info()).unwrap();
    let brightness = |camera: &mut Synthetic, stream| {
        let images = images(camera, 7);
        let (header, pixels) = images.iter().find(|(header, _)| header.stream == stream).unwrap();
        let mut again = vec![0; pixels.len()];
        scene.render(stream, 7, &header.metadata, &mut again);
        assert!(again == *pixels, "{stream}");
        // Without the code in the first rows.
        let rest = &pixels[pixels.len() / 4..];
        rest.iter().map(|&level| u64::from(level)).sum::<u64>() as f64 / rest.len() as f64
    };
    let number = ControlValue::Number;
    let auto = [Stream::COLOR, Stream::INFRARED_1].map(|stream| brightness(&mut camera, stream));
    for (name, value, share) in
        [("exposure", 4250.0, 0.5), ("exposure", 8500.0, 1.0), ("exposure", 2125.0, 0.25)]
    {
        assert_eq!(camera.set(name, &number(value)).unwrap(), number(value));
        for (stream, auto) in [Stream::COLOR, Stream::INFRARED_1].into_iter().zip(auto) {
            let own = brightness(&mut camera, stream);
            assert!((own - share * auto).abs() < 1.0, "{value} {stream}: {own} of {auto}");
        }
    }
    camera.set("gain", &number(32.0)).unwrap();
    assert!((brightness(&mut camera, Stream::COLOR) - 0.5 * auto[0]).abs() < 1.0);
    let values = |camera: &Synthetic| {
        let controls = camera.controls().into_iter();
        controls.map(|it| format!("{} {}", it.name, it.value.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(values(&camera), ["auto_exposure false", "exposure 2125", "gain 32", "emitter true"]);
    camera.set("auto_exposure", &ControlValue::Switch(true)).unwrap();
    assert!((brightness(&mut camera, Stream::COLOR) - auto[0]).abs() < 1e-9);
    camera.set("emitter", &ControlValue::Switch(false)).unwrap();
    let holes = |camera: &mut Synthetic| {
        let images = images(camera, 7);
        let (_, depth) = images.iter().find(|(header, _)| header.stream == Stream::DEPTH).unwrap();
        depth.chunks_exact(2).filter(|depth| **depth == [0, 0]).count()
    };
    assert!(holes(&mut camera) >= 64 * 48 / 2);
    brightness(&mut camera, Stream::DEPTH);
}

#[test]
fn half_the_exposure_is_half_as_bright_in_every_format() {
    for format in PixelFormat::ALL.into_iter().filter(|format| format.is_light()) {
        let (size, levels) = (format.bytes_per_pixel() as usize, [200_u8, 100]);
        let [mut pixels, half] = levels.map(|level| {
            let pixel = |odd| format.encode_rgb(odd, [level; 3])[..size].to_vec();
            [pixel(false), pixel(true)].concat()
        });
        let mut metadata = Metadata::EMPTY;
        Controls::new(Some(4250), None, true).show(0, &mut metadata);
        Appearance::of(&metadata).apply(format, 2, &mut pixels);
        // Luminance of YUYV has an offset in some conventions.
        let near = |(one, other): (&u8, &u8)| one.abs_diff(*other) <= 8;
        assert!(pixels.iter().zip(&half).all(near), "{format}: {pixels:?}, {half:?}");
    }
}

#[test]
fn controls_are_refused_with_the_choices_and_options_set_them() {
    let mut own = camera("exposure = 1000\nemitter = false");
    let values: Vec<_> = own.controls().into_iter().map(|it| it.value.unwrap().to_string()).collect();
    assert_eq!(values, ["false", "1000", "16", "false"]);
    let mut refused = |name: &str, value| own.set(name, &value).unwrap_err().to_string();
    assert_eq!(
        refused("exposure", ControlValue::Number(0.0)),
        "option `exposure` is 0: it must be 1 to 165000 in steps of 1"
    );
    assert_eq!(
        refused("gain", ControlValue::Number(16.5)),
        "option `gain` is 16.5: it must be 16 to 248 in steps of 1"
    );
    assert_eq!(
        refused("contrast", ControlValue::Number(1.0)),
        "a synthetic camera has no option `contrast`; it has: `auto_exposure`, `exposure`, `gain`, `emitter`"
    );
    let options: SyntheticOptions = toml::from_str("exposure = 0\ngain = 249").unwrap();
    let wrong = Synthetic::check(&options).unwrap_err().to_string();
    assert_eq!(
        wrong,
        "exposure 0 is out of range; it must be 1 to 165000; gain 249 is out of range; it must be 16 to 248"
    );
}
