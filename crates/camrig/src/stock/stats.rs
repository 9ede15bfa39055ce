//! The stock processor `stats`.
