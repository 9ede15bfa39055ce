//! The problems of a recording or a bag, of which there may be any number.

use super::counted;

/// Maximum number of problems that are printed.
const MAX_PROBLEMS: usize = 100;

/// The first problems, and the number of others.
#[derive(Debug, Default)]
pub(super) struct Problems {
    first: Vec<String>,
    more: u64,
}

impl Problems {
    pub(super) fn add(&mut self, problem: String) {
        if self.first.len() < MAX_PROBLEMS {
            self.first.push(problem);
        } else {
            self.add_more(1);
        }
    }

    /// Adds problems of which only the number is known.
    pub(super) fn add_more(&mut self, count: u64) {
        self.more = self.more.saturating_add(count);
    }

    /// Returns the lines to print; none without a problem.
    pub(super) fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.first.push(counted(self.more, "more problem"));
        }
        self.first
    }
}

impl Extend<String> for Problems {
    fn extend<I: IntoIterator<Item = String>>(&mut self, problems: I) {
        problems.into_iter().for_each(|problem| self.add(problem));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_problems_are_kept_and_the_others_counted() {
        let mut problems = Problems::default();
        problems.extend((0..102).map(|number| number.to_string()));
        problems.add_more(u64::MAX);
        let lines = problems.finish();
        assert_eq!((lines.len(), lines[99].as_str()), (101, "99"));
        assert_eq!(lines[100], format!("{} more problems", u64::MAX));
        assert_eq!(Problems::default().finish(), [""; 0]);
    }
}
