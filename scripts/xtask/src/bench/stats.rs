// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a few numbers say together.

/// The middle and the ends of some measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    /// Of no value at all every part is not a number.
    pub fn of(values: &[f64]) -> Spread {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |nr: usize| sorted.get(nr).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        Spread {
            least: at(0),
            median: if sorted.len() % 2 == 0 && middle > 0 {
                (at(middle - 1) + at(middle)) / 2.0
            } else {
                at(middle)
            },
            most: at(sorted.len().saturating_sub(1)),
        }
    }
}

/// How a cost grows: the slope of the line that fits `log cost` over `log size` best, by least squares.
///
/// 1 is linear. `None` with fewer than two sizes, or where a cost is not above zero.
pub fn growth(points: &[(f64, f64)]) -> Option<f64> {
    if points
        .iter()
        .any(|(size, cost)| *size <= 0.0 || *cost <= 0.0)
    {
        return None;
    }
    let logs: Vec<(f64, f64)> = points
        .iter()
        .map(|(size, cost)| (size.ln(), cost.ln()))
        .collect();
    let count = logs.len() as f64;
    let mean_x = logs.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = logs.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let both: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (spread > 0.0).then(|| both / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_few() {
        let spread = Spread::of(&[3.0, 1.0, 2.0]);
        assert_eq!((spread.least, spread.median, spread.most), (1.0, 2.0, 3.0));
        assert_eq!(Spread::of(&[1.0, 2.0]).median, 1.5);
        assert_eq!(Spread::of(&[4.0]).median, 4.0);
        assert!(Spread::of(&[]).median.is_nan());
    }

    #[test]
    fn growth_is_the_exponent() {
        let of = |cost: fn(f64) -> f64| {
            growth(&[1.0, 100.0, 10_000.0].map(|size| (size, cost(size)))).unwrap()
        };
        assert!((of(|n| 7.0 * n) - 1.0).abs() < 1e-9);
        assert!((of(|n| n * n / 3.0) - 2.0).abs() < 1e-9);
        assert!(of(|_| 5.0).abs() < 1e-9);
        // A constant part hides growth where there is little to walk.
        assert!(of(|n| 1000.0 + n) < 0.5);
    }

    #[test]
    fn what_cannot_be_fitted_is_not() {
        assert_eq!(growth(&[(1.0, 5.0)]), None);
        assert_eq!(growth(&[(1.0, 5.0), (10.0, 0.0)]), None);
        assert_eq!(growth(&[]), None);
    }
}
