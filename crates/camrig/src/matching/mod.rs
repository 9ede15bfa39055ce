//! Matching.

mod clock;
#[cfg(test)]
mod simulation;
mod window;
#[cfg(test)]
mod window_tests;
