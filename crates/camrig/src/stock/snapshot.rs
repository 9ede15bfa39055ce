//! The stock processor `snapshot`.
