//! Runs the program as a user does.

use std::process::Command;

#[test]
fn the_main_loop_gets_measurements_and_stops_the_rig() {
    let output = Command::new("setpriv")
        .args([
            "--pdeathsig=KILL",
            "timeout",
            "--kill-after=5",
            "60",
            "setpriv",
            "--pdeathsig=KILL",
            env!("CARGO_BIN_EXE_embed"),
        ])
        .output()
        .expect("`timeout` starts");
    let stdout = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<_> = stdout.lines().collect();
    let [first, second, third, exit] = lines.as_slice() else { panic!("four lines: {stdout}") };
    for line in [first, second, third] {
        let meters: f32 = line.strip_suffix(" m").expect("metres").parse().expect("a number");
        assert!(meters > 0.1 && meters < 20.0, "{line}");
    }
    assert_eq!(*exit, "stopped as asked");
    assert_eq!(String::from_utf8(output.stderr).expect("text"), "");
    assert_eq!(output.status.code(), Some(0));
}
