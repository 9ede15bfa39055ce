//! The synthetic driver: real scenes without a camera.
