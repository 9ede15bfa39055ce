//! The Rust snippets of README.md and of the book: `cargo test -p camrig-docs` compiles each of them.

macro_rules! chapters {
    ($($name:ident: $file:literal)*) => {$(
        #[cfg(doctest)]
        #[doc = include_str!($file)]
        mod $name {}
    )*};
}

chapters! {
    readme: "../README.md"
    drivers: "src/drivers.md"
    embedding: "src/embedding.md"
    imu: "src/imu.md"
    matching: "src/matching.md"
    point_clouds: "src/point-clouds.md"
    processors: "src/processors.md"
    quick_start: "src/quick-start.md"
}
