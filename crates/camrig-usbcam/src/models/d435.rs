//! D435: a depth function and a color function.

use super::{D400_RATES, D400_SIZES, Format, Function, Model, VideoStream};

pub(super) static D435: Model = Model {
    name: "d435",
    product: "Intel(R) RealSense(TM) Depth Camera 435",
    product_id: 0x0B07,
    functions: FUNCTIONS,
    motion_interface: None,
    sizes: D400_SIZES,
    rates: D400_RATES,
    global_shutter: true,
    projector: true,
    baseline_mm: 50.0,
    depth_unit_um: 1000,
    firmware: [5, 16, 0, 1],
};

/// The functions of models whose color has an imager of its own.
pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        control_interface: 0,
        extension_unit: true,
        streams: &[
            VideoStream { interface: 1, format: Format::Z16 },
            VideoStream { interface: 2, format: Format::Y8 },
        ],
    },
    Function {
        control_interface: 3,
        extension_unit: false,
        streams: &[VideoStream { interface: 4, format: Format::Yuy2 }],
    },
];
