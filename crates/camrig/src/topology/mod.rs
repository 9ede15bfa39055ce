//! The topology file: parsed once, every problem reported at once.
