//! Runs the program as a user does.

#[path = "../../testing.rs"]
mod testing;

use testing::{output, program};

#[test]
fn the_main_loop_gets_measurements_and_stops_the_rig() {
    let (stdout, stderr, status) = output(&mut program(env!("CARGO_BIN_EXE_embed")));
    let lines: Vec<_> = stdout.lines().collect();
    let [first, second, third, exit] = lines.as_slice() else { panic!("four lines: {stdout}") };
    for line in [first, second, third] {
        let meters: f32 = line.strip_suffix(" m").expect("metres").parse().expect("a number");
        assert!(meters > 0.1 && meters < 20.0, "{line}");
    }
    assert_eq!(*exit, "stopped as asked");
    assert_eq!((stderr.as_str(), status), ("", Some(0)));
}
