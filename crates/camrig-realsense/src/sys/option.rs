//! The options of sensors and filters: their names, ranges and values.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;

use realsense_sys as rs2;

use super::{Fault, call, create};

/// One kind of option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionKind(rs2::rs2_option);

/// The range of an option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OptionRange {
    pub(crate) min: f32,
    pub(crate) max: f32,
    pub(crate) step: f32,
    pub(crate) default: f32,
}

impl OptionKind {
    pub(crate) const VISUAL_PRESET: Self = Self(rs2::rs2_option_RS2_OPTION_VISUAL_PRESET);

    pub(crate) const FILTER_MAGNITUDE: Self = Self(rs2::rs2_option_RS2_OPTION_FILTER_MAGNITUDE);

    /// Returns the kind with librealsense's own name, as in pyrealsense2: `enable_auto_exposure`.
    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::all().find(|kind| kind.name() == name)
    }

    /// Returns every kind that this librealsense has.
    #[cfg(test)]
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..rs2::rs2_option_RS2_OPTION_COUNT).map(Self)
    }

    /// Returns librealsense's own name: `enable_auto_exposure`.
    pub(crate) fn name(self) -> String {
        // SAFETY: any number is allowed, and the name is a constant.
        let name = constant(unsafe { rs2::rs2_option_to_string(self.0) });
        name.unwrap_or_default().to_lowercase().replace(' ', "_")
    }
}

/// The options of a borrowed sensor or filter.
#[derive(Clone, Copy)]
pub(crate) struct OptionsView<'a> {
    options: *const rs2::rs2_options,
    _owner: PhantomData<&'a ()>,
}

impl OptionsView<'_> {
    /// # Safety
    /// They are those of something that lives as long as the view.
    pub(super) unsafe fn new(options: *const rs2::rs2_options) -> Self {
        Self { options, _owner: PhantomData }
    }

    /// Returns the available options.
    pub(crate) fn kinds(self) -> Result<Vec<OptionKind>, Fault> {
        // SAFETY: the owner is alive while it is borrowed.
        let list = create(|error| unsafe { rs2::rs2_get_options_list(self.options, error) })?;
        // SAFETY: the list is alive.
        let count = call(|error| unsafe { rs2::rs2_get_options_list_size(list.as_ptr(), error) });
        let kind = |index| {
            // SAFETY: the list is alive and has `count` entries.
            call(|error| unsafe { rs2::rs2_get_option_from_list(list.as_ptr(), index, error) })
                .map(OptionKind)
        };
        let kinds = count.and_then(|count| (0..count).map(kind).collect());
        // SAFETY: the list is this function's own, and deleted once.
        unsafe { rs2::rs2_delete_options_list(list.as_ptr()) }
        kinds
    }

    /// Returns whether an option is read-only at the moment: some can be set only while others are off.
    pub(crate) fn is_read_only(self, kind: OptionKind) -> Result<bool, Fault> {
        // SAFETY: as in `kinds`.
        call(|error| unsafe { rs2::rs2_is_option_read_only(self.options, kind.0, error) })
            .map(|read_only| read_only != 0)
    }

    /// Returns the range of an option.
    pub(crate) fn range(self, kind: OptionKind) -> Result<OptionRange, Fault> {
        let (mut min, mut max, mut step, mut default) = (0.0, 0.0, 0.0, 0.0);
        // SAFETY: as in `kinds`; each pointer is that of a variable of its type.
        call(|error| unsafe {
            rs2::rs2_get_option_range(
                self.options,
                kind.0,
                &raw mut min,
                &raw mut max,
                &raw mut step,
                &raw mut default,
                error,
            );
        })?;
        Ok(OptionRange { min, max, step, default })
    }

    /// Returns librealsense's description of an option.
    pub(crate) fn description(self, kind: OptionKind) -> Option<String> {
        // SAFETY: as in `kinds`. The text belongs to librealsense and is copied immediately.
        let text = call(|error| unsafe { rs2::rs2_get_option_description(self.options, kind.0, error) });
        text.ok().and_then(constant)
    }

    /// Returns the name of one of an option's values; `None` if its values have no names.
    pub(crate) fn value_name(self, kind: OptionKind, value: f32) -> Option<String> {
        // SAFETY: as in `kinds`. The text belongs to librealsense and is copied immediately.
        let own = call(|error| unsafe {
            rs2::rs2_get_option_value_description(self.options, kind.0, value, error)
        });
        let own = own.ok().and_then(constant);
        // Every D400 has these names, but only librealsense's class for D400 returns them.
        let usual = || {
            // SAFETY: any number is allowed, and the name is a constant.
            let name =
                unsafe { rs2::rs2_rs400_visual_preset_to_string(value as rs2::rs2_rs400_visual_preset) };
            (kind == OptionKind::VISUAL_PRESET).then(|| constant(name)).flatten()
        };
        own.or_else(usual)
    }

    /// Sets an option.
    pub(crate) fn set(self, kind: OptionKind, value: f32) -> Result<(), Fault> {
        // SAFETY: as in `kinds`.
        call(|error| unsafe { rs2::rs2_set_option(self.options, kind.0, value, error) })
    }

    /// Returns the value of an option.
    pub(crate) fn get(self, kind: OptionKind) -> Result<f32, Fault> {
        // SAFETY: as in `kinds`.
        call(|error| unsafe { rs2::rs2_get_option(self.options, kind.0, error) })
    }
}

/// Copies a text of librealsense; `None` for a null pointer.
pub(super) fn constant(text: *const c_char) -> Option<String> {
    // SAFETY: not null, so a text of librealsense's that ends with a zero.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
