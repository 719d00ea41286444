//! The figures as a picture: the share of its bar that each one takes.

use std::fmt::Write as _;

use crate::figures::{ALL, Bar, Figure};

/// Width of the picture, in pixels.
const WIDTH: f64 = 860.0;
/// Left end of the bars, and length of one at its limit.
const LEFT: f64 = 440.0;
const FULL: f64 = 240.0;
/// Greatest length of a bar, as a multiple of the limit.
const MOST: f64 = 1.25;
const ROW: f64 = 30.0;
const TOP: f64 = 40.0;

/// SVG of the measured values.
pub fn svg(value: impl Fn(&str) -> Option<f64>) -> String {
    let rows: Vec<(&Figure, f64)> = ALL
        .iter()
        .filter_map(|figure| Some((figure, value(figure.name)?)))
        .collect();
    // A value without a limit is drawn beside the largest of its unit.
    let largest = |unit: &str| {
        rows.iter()
            .filter(|(figure, _)| matches!(figure.bar, Bar::Open) && figure.unit == unit)
            .fold(f64::MIN_POSITIVE, |most, (_, value)| most.max(*value))
    };
    let height = TOP + ROW * rows.len() as f64 + 10.0;
    let limit = LEFT + FULL;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{limit}\" y=\"20\" text-anchor=\"middle\" fill=\"#666\">the limit</text>\n"
    );
    let last_bounded = rows
        .iter()
        .rposition(|(figure, _)| !matches!(figure.bar, Bar::Open));
    let end = TOP + ROW * last_bounded.map_or(0.0, |row| row as f64 + 1.0);
    for (row, (figure, value)) in rows.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let share = figure
            .bar
            .share(*value)
            .unwrap_or_else(|| value / largest(figure.unit));
        let length = FULL * share.min(MOST);
        let colour = match figure.bar {
            Bar::Open => "#9aa5b1",
            bar if bar.holds(*value) => "#2f855a",
            _ => "#c53030",
        };
        let (text, middle) = (number(*value), y + 14.0);
        let bar = match figure.bar {
            Bar::Open => String::new(),
            bar => format!(" ({bar})"),
        };
        // A write to a String cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"20\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{middle}\">{text} {}{bar}</text>",
            LEFT - 8.0,
            figure.words,
            (LEFT + length).max(limit) + 8.0,
            figure.unit,
        );
    }
    let _ = writeln!(
        svg,
        "<line x1=\"{limit}\" y1=\"26\" x2=\"{limit}\" y2=\"{end}\" stroke=\"#666\" stroke-dasharray=\"4 3\"/>\n</svg>"
    );
    svg
}

/// Markdown table of the measured values.
pub fn markdown(value: impl Fn(&str) -> Option<f64>) -> String {
    let mut table = "| what | measured | promised |\n|---|---:|---:|\n".to_owned();
    for figure in &ALL {
        let Some(value) = value(figure.name) else {
            continue;
        };
        let missed = if figure.bar.holds(value) {
            ""
        } else {
            " (missed)"
        };
        let bar = match figure.bar {
            Bar::Open => figure.bar.to_string(),
            bar => format!("{bar} {}", figure.unit),
        };
        let (words, unit) = (figure.words, figure.unit);
        let _ = writeln!(
            table,
            "| {words} | {} {unit}{missed} | {bar} |",
            number(value)
        );
    }
    table
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        1.0..10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
