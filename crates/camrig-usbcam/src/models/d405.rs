//! D405: one video function, whose color comes from the depth imagers.

use super::{D400_RATES, D400_SIZES, Format, Function, Model, VideoStream};

pub(super) static D405: Model = Model {
    name: "d405",
    product: "Intel(R) RealSense(TM) Depth Camera 405",
    product_id: 0x0B5B,
    functions: &[Function {
        control_interface: 0,
        extension_unit: true,
        streams: &[
            VideoStream { interface: 1, format: Format::Z16 },
            VideoStream { interface: 2, format: Format::Y8 },
            VideoStream { interface: 3, format: Format::Yuy2 },
        ],
    }],
    motion_interface: None,
    sizes: D400_SIZES,
    rates: D400_RATES,
    global_shutter: false,
    projector: false,
    baseline_mm: 18.0,
    depth_unit_um: 100,
    firmware: [5, 16, 0, 1],
};
