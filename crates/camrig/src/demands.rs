//! The USB demand of cameras, by their drivers.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use camrig_usb::UsbDemand;

use crate::driver::Driver;

/// The USB demand of each driver's cameras.
#[derive(Clone, Default)]
pub(crate) struct UsbDemands {
    of_drivers: BTreeMap<String, DemandOf>,
}

/// Returns the demand of options, which are of the driver's type.
type DemandOf = Arc<dyn Fn(&dyn Any) -> Option<UsbDemand> + Send + Sync>;

impl UsbDemands {
    /// Registers the function from the options of the driver called `name` to their demand.
    pub(crate) fn add<D: Driver>(&mut self, name: &str, demand: fn(&D::Options) -> Option<UsbDemand>) {
        let of_typed = move |options: &dyn Any| options.downcast_ref().and_then(demand);
        self.of_drivers.insert(name.to_owned(), Arc::new(of_typed));
    }

    /// Returns the demand of `options`; `None` if the camera is not on USB, or its demand is not known.
    pub(crate) fn of(&self, driver: &str, options: &dyn Any) -> Option<UsbDemand> {
        self.of_drivers.get(driver)?(options)
    }
}
