//! The stock processor `verify`.
