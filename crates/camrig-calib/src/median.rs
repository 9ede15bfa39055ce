//! The middle and the spread of values of which some are wrong.

/// The ratio of a normal distribution's standard deviation to its median absolute value.
const DEVIATION_OF_MEDIAN: f64 = 1.4826;

/// Returns the median; 0 of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// Returns the standard deviation of values around `middle`, by the median of their distances.
pub(crate) fn spread(values: &[f64], middle: f64) -> f64 {
    DEVIATION_OF_MEDIAN * median(values.iter().map(|value| (value - middle).abs()).collect())
}
