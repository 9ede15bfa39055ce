//! `camrig-usbcam`: emulated RealSense cameras for this machine's kernel, or for a guest's.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use camrig_usbcam::descriptors::Speed;
use camrig_usbcam::device::{Identity, board_serial};
use camrig_usbcam::faults::{Action, CAMERAS_MAX, firmware};
use camrig_usbcam::models::{MODELS, Model};
use camrig_usbcam::server::{EmulatedCamera, Link, Settings};
use camrig_usbcam::vhci;
use clap::{Parser, Subcommand};

/// Emulates RealSense D4xx cameras over USB/IP
#[derive(Parser)]
#[command(name = "camrig-usbcam")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start cameras on TCP ports of 127.0.0.1
    Serve(Serve),
    /// Keep cameras attached to this machine's kernel (root, module vhci-hcd)
    Attach {
        /// Number of cameras
        #[arg(value_parser = clap::value_parser!(u16).range(1..=CAMERAS_MAX as i64))]
        cameras: u16,
        /// Host on which the cameras are served
        #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
        host: IpAddr,
        /// Port of the first camera
        #[arg(long, default_value_t = 34_000)]
        port: u16,
        /// Attach at USB 2 ports
        #[arg(long)]
        usb2: bool,
    },
    /// Serve cameras and keep them attached to this machine's kernel, until Ctrl-C
    Here(Serve),
}

#[derive(clap::Args)]
struct Serve {
    /// Number of cameras
    #[arg(value_parser = clap::value_parser!(u16).range(1..=CAMERAS_MAX as i64))]
    cameras: u16,
    /// Model of each camera; the last one is repeated
    #[arg(long, value_delimiter = ',', default_value = "d405", value_parser = model)]
    models: Vec<&'static Model>,
    /// Firmware version, 5.16.0.1 by default
    #[arg(long, value_parser = firmware_version)]
    firmware: Option<Firmware>,
    /// Port of the first camera; the others follow
    #[arg(long, default_value_t = 34_000)]
    port: u16,
    /// Port of 127.0.0.1 that takes commands, one a line
    #[arg(long, default_value_t = 33_999)]
    control: u16,
    /// File of commands to carry out at the start, one a line
    #[arg(long)]
    script: Option<PathBuf>,
    /// Data rate that all cameras share, in megabits per second
    #[arg(long)]
    megabits: Option<u64>,
    /// Cameras are on a USB 2 link
    #[arg(long)]
    usb2: bool,
    /// Write every transfer to standard error
    #[arg(long)]
    log: bool,
}

#[derive(Clone, Copy)]
struct Firmware([u8; 4]);

fn model(name: &str) -> Result<&'static Model, String> {
    let names = || MODELS.map(|model| model.name).join(", ");
    Model::by_name(name).ok_or_else(|| format!("expected one of: {}", names()))
}

fn firmware_version(text: &str) -> Result<Firmware, String> {
    firmware(text).map(Firmware).ok_or_else(|| "expected four numbers below 256, as in 5.16.0.1".to_owned())
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(serve) => serve.start().and_then(|bus| control(&serve, &bus)),
        Command::Attach { cameras, host, port, usb2 } => attach(cameras, host, port, usb2),
        Command::Here(serve) => serve.start().and_then(|bus| {
            let speed = serve.speed();
            for (index, camera) in bus.cameras.iter().enumerate() {
                let address = camera.address();
                std::thread::Builder::new().spawn(move || {
                    if let Err(error) = vhci::keep_attached(index, address, speed) {
                        let _ = writeln!(io::stderr(), "error: {error}");
                        std::process::exit(1);
                    }
                })?;
            }
            control(&serve, &bus)
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Serve {
    fn speed(&self) -> Speed {
        if self.usb2 { Speed::High } else { Speed::Super }
    }

    fn start(&self) -> io::Result<Bus> {
        let link = Link::new(self.megabits);
        let cameras = (0..usize::from(self.cameras)).map(|index| {
            let last = self.models.len() - 1;
            let serial = (230_000_001_001 + index).to_string();
            let model = self.models[index.min(last)];
            let firmware = self.firmware.map_or(model.firmware, |firmware| firmware.0);
            let settings = Settings {
                model,
                identity: Identity { board_serial: board_serial(&serial), serial, firmware },
                speed: self.speed(),
                port: self.port + index as u16,
                log: self.log,
            };
            EmulatedCamera::start(index, settings, Arc::clone(&link))
        });
        Ok(Bus { cameras: cameras.collect::<io::Result<_>>()?, link })
    }
}

/// The cameras, and the link that they share.
struct Bus {
    cameras: Vec<EmulatedCamera>,
    link: Arc<Link>,
}

fn attach(cameras: u16, host: IpAddr, port: u16, usb2: bool) -> io::Result<()> {
    let speed = if usb2 { Speed::High } else { Speed::Super };
    let threads = (0..cameras).map(|index| {
        let address = SocketAddr::new(host, port + index);
        std::thread::Builder::new().spawn(move || vhci::keep_attached(index.into(), address, speed))
    });
    let threads: Vec<_> = threads.collect::<io::Result<_>>()?;
    // Each ends on an error only.
    threads
        .into_iter()
        .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))))
}

/// Carries out the script, then the commands of the control port, one connection after the other, until `quit`.
fn control(serve: &Serve, bus: &Bus) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, serve.control))?;
    if let Some(script) = &serve.script {
        let name = script.display().to_string();
        let text = std::fs::read_to_string(script)
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        if !carry_out_script(&name, &text, bus)? {
            return Ok(());
        }
    }
    let _ = writeln!(
        io::stdout(),
        "{} cameras on 127.0.0.1, ports from {}; commands on port {}",
        bus.cameras.len(),
        serve.port,
        serve.control
    );
    for connection in listener.incoming() {
        if !carry_out_lines(&connection?, bus) {
            break;
        }
    }
    Ok(())
}

/// Carries out the commands in the file called `name`. Returns false after `quit`.
fn carry_out_script(name: &str, text: &str, bus: &Bus) -> io::Result<bool> {
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |error: String| io::Error::other(format!("{name}:{}: {error}", number + 1));
        match line.parse::<Action>().map_err(|error| wrong(error.to_string()))? {
            Action::Quit => return Ok(false),
            action => act(&action, bus).map_err(wrong)?,
        };
    }
    Ok(true)
}

/// Answers each line with `ok`, counters or an error. Returns false after `quit`.
fn carry_out_lines(connection: &TcpStream, bus: &Bus) -> bool {
    let mut answer = connection;
    for line in BufReader::new(connection).lines() {
        // A peer that went away ends this connection, not the emulator.
        let Ok(line) = line else { break };
        let text = match line.parse::<Action>() {
            Ok(Action::Quit) => return false,
            Ok(action) => act(&action, bus),
            Err(error) => Err(error.to_string()),
        };
        let text = text.unwrap_or_else(|error| format!("error: {error}\n"));
        if answer.write_all(text.as_bytes()).is_err() {
            break;
        }
    }
    true
}

/// Carries out a command, and returns its answer; an error if it names a missing camera.
fn act(action: &Action, Bus { cameras, link }: &Bus) -> Result<String, String> {
    let indices = match action {
        Action::Stats => return Ok(cameras.iter().map(|camera| camera.stats() + "\n").collect()),
        Action::Wait(time) => {
            std::thread::sleep(*time);
            return Ok("ok\n".to_owned());
        }
        Action::Megabits(megabits) => {
            link.set_megabits(*megabits);
            return Ok("ok\n".to_owned());
        }
        Action::Quit => return Ok(String::new()),
        Action::Brownout(indices, _) => indices.clone(),
        Action::Unplug(index)
        | Action::UnplugAfter(index, _)
        | Action::UnplugAt(index, _)
        | Action::Plug(index)
        | Action::Port(index, _)
        | Action::Serial(index, _)
        | Action::Freeze(index, _)
        | Action::Tear(index, _)
        | Action::Late(index, _)
        | Action::Skip(index, _)
        | Action::MonitorDelay(index, _)
        | Action::MonitorError(index, _)
        | Action::BadCalibration(index, _)
        | Action::Firmware(index, _)
        | Action::ResetTime(index, _)
        | Action::Controls(index) => vec![*index],
    };
    if let Some(missing) = indices.iter().find(|&&index| index >= cameras.len()) {
        return Err(format!("no camera {missing}; there are 0 to {}", cameras.len() - 1));
    }
    if let Action::Controls(index) = action {
        return Ok(cameras[*index].controls() + "\n");
    }
    for &index in &indices {
        cameras[index].act(action);
    }
    Ok("ok\n".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fault was left out, and nobody was told.
    #[test]
    fn a_script_that_names_a_missing_camera_is_an_error() {
        let arguments = ["camrig-usbcam", "serve", "1", "--port", "0"];
        let Command::Serve(serve) = Arguments::parse_from(arguments).command else { panic!() };
        let bus = serve.start().unwrap();
        let carry_out = |text| carry_out_script("faults", text, &bus).map_err(|error| error.to_string());
        let missing = "faults:2: no camera 3; there are 0 to 0".to_owned();
        assert_eq!(carry_out("late 0 5\nunplug 3\n"), Err(missing));
        assert_eq!(carry_out("\nlate 0 5\n"), Ok(true));
        assert_eq!(carry_out("quit\nunplug 3\n"), Ok(false));
    }
}
