//! Tests of emulated faults, and of the reasons by which their losses are counted.

use super::*;

#[test]
fn an_unplugged_camera_fails_by_name() {
    for (name, pace) in [("paced", "paced = true"), ("hurried", "paced = false")] {
        let mut rig = Rig::called(name, &format!("{TINY}unplug_at = 0.003\nserial = 'S7'\n{pace}"));
        let error = loop {
            match rig.capture() {
                Ok(_) => drop(rig.link.take()),
                Err(error) => break error,
            }
        };
        assert!(error.is_unavailable());
        assert_eq!(error.to_string(), "the device with serial S7 was unplugged, as option `unplug_at` asks");
        assert!(rig.capture().is_err(), "it stays unplugged");
        assert!(rig.camera.captured <= 3);
    }
}

#[test]
fn an_unplugged_device_cannot_be_opened_until_it_is_back() {
    let open = |replug_after: &str| {
        let options = format!("{TINY}unplug_at = 0\nserial = 'S8'\npaced = false\n{replug_after}");
        Synthetic::open("doorway", toml::from_str(&options).unwrap())
    };
    let mut rig = Rig::called("doorway", &format!("{TINY}unplug_at = 0\nserial = 'S8'\npaced = false"));
    assert!(rig.capture().is_err());
    assert!(open("").is_err_and(|error| error.is_unavailable()));
    assert!(open("replug_after = 1000").is_err_and(|error| error.is_unavailable()));
    // It is unplugged only once.
    rig.camera = open("replug_after = 0").unwrap();
    assert_eq!(rig.numbers(3), [0, 1, 2]);
}

#[test]
fn a_wedged_device_needs_a_reset() {
    let options = format!("{TINY}stall_at = 0.003\nwedge_until_reset = true\npaced = false");
    let mut rig = Rig::called("wedged", &options);
    assert_eq!(rig.numbers(3), [0, 1, 2]);
    assert_eq!(rig.capture().unwrap(), Captured::Nothing);
    rig.camera = camera_called("wedged", &options);
    assert_eq!(rig.capture().unwrap(), Captured::Nothing);
    Synthetic::reset("wedged", &toml::from_str(&options).unwrap()).unwrap();
    rig.camera = camera_called("wedged", &options);
    // It stalls only once.
    assert_eq!(rig.numbers(5), [0, 1, 2, 3, 4]);
}

#[test]
fn a_silent_stream_is_named_and_counted_while_others_continue() {
    let options =
        format!("{TINY}stall_at = 0.003\nstall_stream = 'color'\nwedge_until_reset = true\npaced = false");
    let mut rig = Rig::called("mute", &options);
    let timeout = Duration::from_millis(20);
    rig.output.expect_all_streams(timeout);
    let deadline = Instant::now() + Duration::from_secs(60);
    let silent = loop {
        let streams = rig.frameset().header().frames.len();
        assert_eq!(streams, if rig.camera.number <= 3 { 2 } else { 1 });
        if let Some(silent) = rig.output.silent_stream() {
            break silent;
        }
        assert!(Instant::now() < deadline, "no stream is silent");
    };
    assert_eq!(silent, Stream::COLOR);
    let counts = rig.counters.streams();
    let of = |stream| counts.iter().find(|counts| counts.stream == stream).unwrap();
    assert_eq!((of(Stream::COLOR).frames, of(Stream::COLOR).silences, of(Stream::DEPTH).silences), (3, 1, 0));
    assert!(of(Stream::DEPTH).frames > 3 && !rig.counters.awaits_streams());

    // An instance without color is not a success.
    rig.camera = camera_called("mute", &options);
    rig.output.expect_all_streams(timeout);
    rig.frameset();
    assert!(rig.counters.awaits_streams());
    Synthetic::reset("mute", &toml::from_str(&options).unwrap()).unwrap();
    rig.camera = camera_called("mute", &options);
    rig.frameset();
    assert!(!rig.counters.awaits_streams());
}

#[test]
fn a_stalled_camera_delivers_nothing_until_it_is_unplugged() {
    let mut rig = Rig::called("stalled", &format!("{TINY}stall_at = 0.003\npaced = false"));
    assert_eq!(rig.numbers(3), [0, 1, 2]);
    for _ in 0..5 {
        assert_eq!(rig.capture().unwrap(), Captured::Nothing);
    }
    let mut rig = Rig::called("pulled", &format!("{TINY}stall_at = 0.003\nunplug_at = 1\npaced = false"));
    assert_eq!(rig.numbers(3), [0, 1, 2]);
    assert!(rig.capture().is_err());
}

#[test]
fn a_camera_with_a_drop_rate_always_loses_the_same_framesets() {
    let options = format!("{TINY}drop_rate = 0.25\nseed = 3\npaced = false");
    let mut rig = Rig::new(&options);
    let numbers = rig.numbers(600);
    assert_eq!(numbers, Rig::new(&options).numbers(600));
    assert_ne!(numbers, Rig::new(&options.replace("seed = 3", "seed = 4")).numbers(600));
    let end = numbers[599] + 1;
    let lost = end - 600;
    assert!((150..=250).contains(&lost), "{lost} of {end} are lost");
    // Framesets lost before the first one leave no gap to be counted.
    assert_eq!(rig.counters.lost(), lost - numbers[0]);
}

/// Counted as `device` before, all of them: with a late host a drop rate of 0.25 read as more.
#[test]
fn framesets_that_the_host_missed_are_no_losses_of_the_device() {
    let options = "model = 'any'\nseed = 3\ndepth = '16x12@1'\ncolor = '16x12@1'\n";
    let unpaced = format!("{options}drop_rate = 0.25\npaced = false");
    let kept = Rig::new(&unpaced).numbers(400);
    let mut rig = Rig::new(&unpaced.replace("paced = false", ""));
    let mut delivered = vec![number_without_wait(&mut rig)];
    for late in [100, 30, 3, 100] {
        pass(&mut rig, late);
        delivered.push(number_without_wait(&mut rig));
    }
    let end = *delivered.last().unwrap();
    let sent = kept.iter().filter(|&&number| number <= end).count() as u64;
    let numbers = end - kept[0] + 1;
    assert!(sent < numbers && sent > 150, "{sent} of {numbers}");
    let missed = sent - delivered.len() as u64;
    assert_eq!(rig.counters.lost_by_reason(), [numbers - sent, missed, 0, 0, 0, 0]);
}

#[test]
fn an_absent_device_loses_nothing_by_the_host() {
    let slow = TINY.replace("@1000", "@1");
    for fault in ["stall_at = 10", "unplug_at = 10"] {
        let mut rig = Rig::called(fault, &format!("{slow}{fault}"));
        assert_eq!(rig.numbers(1), [0]);
        pass(&mut rig, 100);
        while rig.capture().is_ok_and(|captured| captured == Captured::FrameSet) {}
        drop(rig.output);
        let [_, missed, ..] = rig.counters.lost_by_reason();
        assert!((8..=10).contains(&missed) && rig.counters.lost() == missed, "{fault}: {missed}");
    }
}

#[test]
fn samples_without_room_were_missed_or_have_no_image() {
    let options = "model = 'any'\nseed = 3\ncolor = 'off'\ndepth = '16x12@1'\ngyro = 100\n";
    let mut late = Rig::new(options);
    assert_eq!(samples(&late.frameset(), Stream::GYRO).len(), 1);
    pass(&mut late, 10);
    let images = late.frameset().header().frames[0].number - 1;
    assert_eq!(late.counters.lost_by_reason(), [0, images + images * 100 - 100, 0, 0, 0, 0]);

    // The device loses images, but no samples: one image in ten does not carry those of ten seconds.
    let mut rare = Rig::new(&format!("{options}paced = false\ndrop_rate = 0.9"));
    let first = rare.frameset().header().frames[0].number;
    let last = rare.numbers(20)[19];
    let [device, queue_full, no_partner, ..] = rare.counters.lost_by_reason();
    assert_eq!((device, queue_full), (last - first - 20, 0));
    assert!(no_partner > 0);
}

/// Returns the next number of a camera of one frame per second, without waiting for its time.
fn number_without_wait(rig: &mut Rig) -> u64 {
    while rig.capture().unwrap() != Captured::FrameSet {
        pass(rig, 1);
    }
    rig.link.take().unwrap().header().frames[0].number
}

#[test]
fn motion_beyond_two_seconds_is_lost_and_counted() {
    let mut rig = Rig::new("model = 'any'\ncolor = 'off'\ndepth = '16x12@30'\ngyro = 1000");
    assert_eq!(samples(&rig.frameset(), Stream::GYRO).len(), 1);
    // As if the host had been suspended for five seconds.
    rig.camera.started = Instant::now().checked_sub(Duration::from_secs(5));
    let own = samples(&rig.frameset(), Stream::GYRO);
    assert_eq!(own.len(), 2000);
    let images = rig.camera.number - 2;
    assert_eq!(rig.counters.lost(), images + own[0].0 - 1);
}
