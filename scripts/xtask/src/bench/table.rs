// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The results, for the terminal and for the book.

use std::fmt::Write as _;

use super::stats::growth;
use super::stats::Spread;

/// A ratio counts as above 1 when every round is, by more than this.
const TOLERANCE: f64 = 0.005;

/// An exponent counts as worse than linear from here on.
const LINEAR: f64 = 1.1;

/// One thing that was measured on both sides.
#[derive(Clone, Debug)]
pub struct Row {
    pub group: &'static str,
    pub what: String,
    pub unit: &'static str,
    pub c: Spread,
    pub rust: Spread,
    /// Round by round, Rust over C.
    pub ratio: Spread,
}

impl Row {
    pub fn new(
        group: &'static str,
        what: String,
        unit: &'static str,
        c: &[f64],
        rust: &[f64],
    ) -> Row {
        let ratios: Vec<f64> = c.iter().zip(rust).map(|(c, rust)| rust / c).collect();
        Row {
            group,
            what,
            unit,
            c: Spread::of(c),
            rust: Spread::of(rust),
            ratio: Spread::of(&ratios),
        }
    }

    /// Whether Rust costs more, beyond the spread.
    pub fn is_above(&self) -> bool {
        self.ratio.least > 1.0 + TOLERANCE
    }

    fn mark(&self) -> &'static str {
        if self.is_above() {
            "above"
        } else {
            ""
        }
    }

    fn range(&self) -> String {
        if self.ratio.least == self.ratio.most {
            String::new()
        } else {
            format!("{:.2} to {:.2}", self.ratio.least, self.ratio.most)
        }
    }
}

/// How a cost grows on both sides, as exponents.
#[derive(Clone, Debug)]
pub struct Growth {
    pub what: String,
    pub from: f64,
    pub to: f64,
    pub c: Option<f64>,
    pub rust: Option<f64>,
}

impl Growth {
    /// Fits all points but the first, in which what does not grow outweighs the rest.
    pub fn new(what: String, c: &[(f64, f64)], rust: &[(f64, f64)]) -> Growth {
        let rest = |points: &[(f64, f64)]| points.get(1..).and_then(growth);
        let size = |point: Option<&(f64, f64)>| point.map_or(f64::NAN, |(size, _)| *size);
        Growth {
            what,
            from: size(c.get(1)),
            to: size(c.last()),
            c: rest(c),
            rust: rest(rust),
        }
    }

    fn mark(&self) -> &'static str {
        match (self.c, self.rust) {
            (Some(c), Some(rust)) if c > LINEAR && rust > LINEAR => {
                "worse than linear, in C as well"
            }
            (_, Some(rust)) if rust > LINEAR => "worse than linear: a defect",
            (Some(c), _) if c > LINEAR => "worse than linear in C",
            _ => "",
        }
    }
}

/// Everything that one run measured.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub rows: Vec<Row>,
    /// Calls against those of the function that was not replaced, which takes the place of C.
    pub bare: Vec<Row>,
    /// Times in nanoseconds of the guest, waiting included.
    pub waits: Vec<Row>,
    pub growth: Vec<Growth>,
}

fn exponent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

fn milliseconds(spread: &Spread) -> String {
    format!("{:.1} to {:.1}", spread.least / 1e6, spread.most / 1e6)
}

fn count(value: f64) -> String {
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

impl Table {
    /// For the terminal.
    pub fn plain(&self) -> String {
        let mut text = String::new();
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = row.group;
                let _ = writeln!(
                    text,
                    "{group:<64} {:>14} {:>7}  {:<14}",
                    "C", "Rust/C", "rounds"
                );
            }
            let line = format!(
                "  {:<62} {:>14} {:>7.2}  {:<14} {}",
                format!("{} ({})", row.what, row.unit),
                count(row.c.median),
                row.ratio.median,
                row.range(),
                row.mark()
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let _ = writeln!(text, "Against the function that is not replaced");
        for row in &self.bare {
            let line = format!(
                "  {:<62} {:>14} {:>7.2}  {}",
                row.what,
                count(row.c.median),
                row.ratio.median,
                row.range()
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let _ = writeln!(
            text,
            "With the waits, which depend on the moment: guest ms, C and Rust"
        );
        for row in &self.waits {
            let _ = writeln!(
                text,
                "  {:<62} {:>14} {:>14}",
                row.what,
                milliseconds(&row.c),
                milliseconds(&row.rust)
            );
        }
        let _ = writeln!(
            text,
            "Growth with the number of items: exponent, 1 is linear"
        );
        for fit in &self.growth {
            let line = format!(
                "  {:<62} C {:>5}  Rust {:>5}  {}",
                format!("{}, {} to {}", fit.what, count(fit.from), count(fit.to)),
                exponent(fit.c),
                exponent(fit.rust),
                fit.mark()
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }

    /// For the book.
    pub fn markdown(&self, machine: &str, rounds: usize) -> String {
        let mut text = format!(
            "<!-- Written by `cargo xtask bench --book`. -->\n\n{machine}. Medians of {rounds} rounds.\n\n\
             | | unit | C | Rust/C | rounds |\n|---|---|---:|---:|---|\n"
        );
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = row.group;
                let _ = writeln!(text, "| **{group}** | | | | |");
            }
            let ratio = if row.is_above() {
                format!("**{:.2}**", row.ratio.median)
            } else {
                format!("{:.2}", row.ratio.median)
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {ratio} | {} |",
                row.what,
                row.unit,
                count(row.c.median),
                row.range()
            );
        }
        let _ = writeln!(
            text,
            "\nThe same calls against those of the function that is not replaced:\n\n\
             | | not replaced | ratio | rounds |\n|---|---:|---:|---|"
        );
        for row in &self.bare {
            let _ = writeln!(
                text,
                "| {} | {} | {:.2} | {} |",
                row.what,
                count(row.c.median),
                row.ratio.median,
                row.range()
            );
        }
        let _ = writeln!(
            text,
            "\nWith the waits, which depend on the moment of the start, in milliseconds of the guest, least to most:\n\n\
             | | C | Rust |\n|---|---|---|"
        );
        for row in &self.waits {
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                row.what,
                milliseconds(&row.c),
                milliseconds(&row.rust)
            );
        }
        let _ = writeln!(
            text,
            "\nGrowth: the exponent that fits best (1 is linear).\n\n\
             | | from | to | C | Rust | |\n|---|---:|---:|---:|---:|---|"
        );
        for fit in &self.growth {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                fit.what,
                count(fit.from),
                count(fit.to),
                exponent(fit.c),
                exponent(fit.rust),
                fit.mark()
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(c: &[f64], rust: &[f64]) -> Row {
        Row::new("Size", "x: code".to_owned(), "bytes", c, rust)
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let row = row(&[100.0, 200.0, 400.0], &[110.0, 220.0, 440.0]);
        assert_eq!(row.ratio.median, 1.1);
        assert!(row.is_above());
    }

    #[test]
    fn one_round_within_is_no_excess() {
        assert!(!row(&[100.0, 100.0], &[100.0, 150.0]).is_above());
        assert!(!row(&[1000.0], &[1004.0]).is_above());
        assert!(row(&[1000.0], &[1006.0]).is_above());
    }

    #[test]
    fn what_grows_too_fast_is_a_defect_unless_c_does_so_too() {
        let fit = |c: f64, rust: f64| {
            let points = |power: f64| [1.0, 100.0, 10_000.0].map(|n: f64| (n, n.powf(power)));
            Growth::new("x".to_owned(), &points(c), &points(rust))
        };
        assert_eq!(fit(1.0, 1.0).mark(), "");
        assert!(fit(1.0, 2.0).mark().ends_with("a defect"));
        assert!(fit(2.0, 2.0).mark().ends_with("in C as well"));
        assert_eq!((fit(1.0, 1.0).from, fit(1.0, 1.0).to), (100.0, 10_000.0));
    }

    #[test]
    fn the_table_is_the_same_for_people_and_book() {
        let mut table = Table::default();
        table.rows.push(row(&[1_234_567.0], &[2_469_134.0]));
        table.growth.push(Growth::new("x".to_owned(), &[], &[]));
        let plain = table.plain();
        assert!(plain.contains("1,234,567"), "{plain}");
        assert!(plain.contains("2.00"), "{plain}");
        assert!(plain.contains("above"), "{plain}");
        let book = table.markdown("Linux 7.2", 5);
        assert!(
            book.contains("| x: code | bytes | 1,234,567 | **2.00** |  |"),
            "{book}"
        );
        assert!(book.contains("Linux 7.2. Medians of 5 rounds."), "{book}");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(999.0), "999");
        assert_eq!(count(1000.0), "1,000");
        assert_eq!(count(16.25), "16.2");
        assert_eq!(count(96.0), "96");
    }
}
