//! Chooses the columns of a table that fit a width. A number is shown completely or not at all.

/// The number of spaces between two columns.
pub(crate) const GAP: usize = 2;

/// The minimum width of the first column, which is shortened before the last columns are left out.
const FIRST_MIN: usize = 8;

/// The character that ends a shortened text.
const ELLIPSIS: char = '…';

/// Returns the columns that fit `width`, in order, and the width of the first one. `widths` has the width of each
/// column; `optional` has the columns that may be left out, the least important first. The first column is always
/// shown.
pub(crate) fn fit(widths: &[usize], optional: &[usize], width: usize) -> (Vec<usize>, usize) {
    let mut columns: Vec<_> = (0..widths.len()).collect();
    let first = widths.first().copied().unwrap_or(0);
    let others =
        |columns: &[usize]| columns.iter().skip(1).map(|&column| widths[column] + GAP).sum::<usize>();
    for left_out in optional {
        if first.min(FIRST_MIN) + others(&columns) <= width {
            break;
        }
        columns.retain(|column| column != left_out);
    }
    let first = first.min(width.saturating_sub(others(&columns)));
    (columns, first)
}

/// Returns a text of at most `width` characters; one that is shortened ends with an ellipsis.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain((width > 0).then_some(ELLIPSIS)).collect()
}

/// Returns the number of characters of the longest text of each column.
pub(crate) fn widths<'a>(rows: impl Iterator<Item = Vec<&'a str>>) -> Vec<usize> {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, text) in widths.iter_mut().zip(row) {
            *width = text.chars().count().max(*width);
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_left_out_by_importance_until_the_others_fit() {
        let widths = [10, 4, 5, 6];
        let fit = |width| fit(&widths, &[2, 3], width);
        assert_eq!(fit(31), (vec![0, 1, 2, 3], 10));
        // The first column is shortened to 8 before another one is left out.
        assert_eq!(fit(29), (vec![0, 1, 2, 3], 8));
        assert_eq!(fit(28), (vec![0, 1, 3], 10));
        assert_eq!(fit(21), (vec![0, 1], 10));
        assert_eq!(fit(9), (vec![0, 1], 3));
        assert_eq!(super::fit(&[], &[], 9), (vec![], 0));
    }

    #[test]
    fn a_shortened_text_is_marked() {
        for (width, text) in [(6, "camera"), (5, "came…"), (1, "…"), (0, "")] {
            assert_eq!(shortened("camera", width), text);
        }
    }
}
