// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a few numbers say together, and tables of them.

use std::fmt::Write as _;

/// A ratio counts as above 1 when every round is, by more than this.
const TOLERANCE: f64 = 0.005;

/// An exponent counts as worse than linear from here on.
const LINEAR: f64 = 1.1;

/// The least, the median and the most; not a number where there is no value.
pub fn spread(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |nr: usize| sorted.get(nr).copied().unwrap_or(f64::NAN);
    let last = sorted.len().saturating_sub(1);
    [at(0), (at(last / 2) + at(last.div_ceil(2))) / 2.0, at(last)]
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
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
    let (mean_x, mean_y) = (mean(|p| p.0), mean(|p| p.1));
    let wide: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let both: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (wide > 0.0).then(|| both / wide)
}

/// Median of `c`, and the ratios of `rust` to it, which are taken round by round.
pub fn ratio(c: &[f64], rust: &[f64]) -> [String; 3] {
    let ratios: Vec<f64> = c.iter().zip(rust).map(|(c, rust)| rust / c).collect();
    let [least, median, most] = spread(&ratios);
    [
        count(spread(c)[1]),
        match least > 1.0 + TOLERANCE {
            true => format!("**{median:.2}**"),
            false => format!("{median:.2}"),
        },
        match least == most {
            true => String::new(),
            false => format!("{least:.2} to {most:.2}"),
        },
    ]
}

/// What two exponents mean.
pub fn verdict(c: Option<f64>, rust: Option<f64>) -> &'static str {
    let fast = |power: Option<f64>| power.is_some_and(|power| power > LINEAR);
    match (fast(c), fast(rust)) {
        (true, true) => "worse than linear, in C as well",
        (false, true) => "worse than linear: a defect",
        (true, false) => "worse than linear in C",
        (false, false) => "",
    }
}

/// A number with its thousands apart.
pub fn count(value: f64) -> String {
    if value < 100.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rows below heads, for people and Markdown alike; a head that begins with a colon is that of numbers.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut lines = vec![heads
        .iter()
        .map(|head| head.trim_start_matches(':').to_owned())
        .collect()];
    lines.push(
        heads
            .iter()
            .map(|head| if head.starts_with(':') { "---:" } else { "---" }.to_owned())
            .collect(),
    );
    lines.extend_from_slice(rows);
    let width = |at: usize| {
        lines
            .iter()
            .filter_map(|row: &Vec<String>| row.get(at))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..heads.len()).map(|at| width(at).unwrap_or(0)).collect();
    let mut text = String::new();
    for (nr, row) in lines.iter().enumerate() {
        text.push('|');
        for ((cell, head), width) in row.iter().zip(heads).zip(&widths) {
            let _ = match (head.starts_with(':'), nr == 1) {
                (true, true) => write!(text, " {cell:->width$} |"),
                (false, true) => write!(text, " {cell:-<width$} |"),
                (true, false) => write!(text, " {cell:>width$} |"),
                (false, false) => write!(text, " {cell:<width$} |"),
            };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_few() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), [1.0, 2.0, 3.0]);
        assert_eq!(spread(&[1.0, 2.0]), [1.0, 1.5, 2.0]);
        assert!(spread(&[])[1].is_nan());
    }

    #[test]
    fn growth_is_the_exponent() {
        let of =
            |cost: fn(f64) -> f64| growth(&[1.0, 100.0, 10_000.0].map(|n| (n, cost(n)))).unwrap();
        assert!((of(|n| 7.0 * n) - 1.0).abs() < 1e-9);
        assert!((of(|n| n * n / 3.0) - 2.0).abs() < 1e-9);
        assert_eq!(growth(&[(1.0, 5.0)]), None);
        assert_eq!(growth(&[(1.0, 5.0), (10.0, 0.0)]), None);
        assert_eq!(verdict(Some(1.0), Some(2.0)), "worse than linear: a defect");
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        assert_eq!(
            ratio(&[100.0, 200.0, 4000.0], &[110.0, 220.0, 4400.0]),
            ["200", "**1.10**", ""]
        );
        // One round within the tolerance is no excess.
        assert_eq!(ratio(&[100.0, 1000.0], &[150.0, 1004.0])[1], "1.25");
    }

    #[test]
    fn tables_line_up() {
        assert_eq!(count(1_234_567.0), "1,234,567");
        assert_eq!(count(16.25), "16.2");
        let text = table(&["a", ":b"], &[vec!["long".to_owned(), count(1000.0)]]);
        assert_eq!(
            text,
            "| a    |     b |\n| ---- | ----: |\n| long | 1,000 |\n"
        );
    }
}
