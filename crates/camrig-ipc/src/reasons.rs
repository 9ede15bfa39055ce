//! Common implementation for the reasons of lost, dropped and unmatched framesets: order and display by name.

use std::cmp::Ordering;
use std::fmt;

use crate::{DropReason, LostReason, Unmatched};

macro_rules! by_name {
    ($($reason:ty),*) => {
        $(
            /// By name, so that maps by reason are sorted by name.
            impl Ord for $reason {
                fn cmp(&self, other: &Self) -> Ordering {
                    self.name().cmp(other.name())
                }
            }

            impl PartialOrd for $reason {
                fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                    Some(self.cmp(other))
                }
            }

            impl fmt::Display for $reason {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.pad(self.name())
                }
            }
        )*
    };
}

by_name!(DropReason, LostReason, Unmatched);
