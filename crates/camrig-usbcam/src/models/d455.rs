//! D455: as a D435 with a longer baseline. Its motion sensors, which are HID devices, are not emulated.

use super::{D400_RATES, D400_SIZES, Model, d435};

pub(super) static D455: Model = Model {
    name: "d455",
    product: "Intel(R) RealSense(TM) Depth Camera 455",
    product_id: 0x0B5C,
    functions: d435::FUNCTIONS,
    sizes: D400_SIZES,
    rates: D400_RATES,
    global_shutter: true,
    projector: true,
    baseline_mm: 95.0,
    depth_unit_um: 1000,
    // librealsense cannot open one of 5.16 or later whose motion sensors the kernel does not show.
    firmware: [5, 15, 1, 0],
};
