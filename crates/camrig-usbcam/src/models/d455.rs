//! D455: as a D435 with a longer baseline and motion sensors.

use super::{D400_RATES, D400_SIZES, Model, d435};

pub(super) static D455: Model = Model {
    name: "d455",
    product: "Intel(R) RealSense(TM) Depth Camera 455",
    product_id: 0x0B5C,
    functions: d435::FUNCTIONS,
    motion_interface: Some(5),
    sizes: D400_SIZES,
    rates: D400_RATES,
    global_shutter: true,
    projector: true,
    baseline_mm: 95.0,
    depth_unit_um: 1000,
    firmware: [5, 16, 0, 1],
};
