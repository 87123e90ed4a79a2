//! The figures of a run as a drawing: a bar of the ratio to the limit for each case, with a whisker from the least round to the greatest.
//!
//! Plain SVG without a background and in colours that stand on light and on dark pages.

use crate::report::Line;
use std::fmt::Write;
use std::path::Path;

/// Pixels of a row.
const ROW_HEIGHT: f64 = 22.0;
/// Pixels of the names.
const LABEL_WIDTH: f64 = 330.0;
/// Pixels of the longest bar.
const BAR_WIDTH: f64 = 420.0;
/// Pixels above the first row and below the last.
const MARGIN: f64 = 34.0;
/// The longest bar stands for at most this ratio: beyond, it is cut off and its number tells.
const RATIO_MAX: f64 = 2.0;

/// Writes the drawing of the lines that have a ratio.
pub fn write(path: &Path, lines: &[Line]) -> std::io::Result<()> {
    std::fs::write(path, draw(lines))
}

fn draw(lines: &[Line]) -> String {
    let held: Vec<(&Line, f64)> = lines.iter().filter_map(|line| Some((line, line.ratio?))).collect();
    let longest = held.iter().map(|(line, ratio)| line.ratio_max.unwrap_or(*ratio)).fold(1.0, f64::max).min(RATIO_MAX);
    let x = |ratio: f64| LABEL_WIDTH + ratio.min(longest) / longest * BAR_WIDTH;
    let (width, height) = (LABEL_WIDTH + BAR_WIDTH + 60.0, 2.0 * MARGIN + held.len() as f64 * ROW_HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#808080\">\n"
    );
    let heading = held.first().map_or("no figures", |(line, _)| line.bench);
    let better = held.first().map_or("higher", |(line, _)| line.better);
    text(&mut svg, LABEL_WIDTH, MARGIN - 14.0, "start", &format!("{heading}: ratio to the limit of the same run, {better} is better"));
    for (row, (line, ratio)) in held.iter().enumerate() {
        let top = MARGIN + row as f64 * ROW_HEIGHT;
        let middle = top + ROW_HEIGHT / 2.0;
        text(&mut svg, LABEL_WIDTH - 8.0, middle + 4.0, "end", &line.case);
        let (bar_top, bar_width) = (top + 4.0, x(*ratio) - LABEL_WIDTH);
        let _ = writeln!(
            svg,
            "<rect x=\"{LABEL_WIDTH}\" y=\"{bar_top:.1}\" width=\"{bar_width:.1}\" height=\"{:.1}\" fill=\"#4a90d9\"/>",
            ROW_HEIGHT - 8.0
        );
        if let (Some(min), Some(max)) = (line.ratio_min, line.ratio_max) {
            stroke(&mut svg, (x(min), middle), (x(max), middle), "#808080");
        }
        text(&mut svg, x(line.ratio_max.unwrap_or(*ratio)) + 6.0, middle + 4.0, "start", &format!("{ratio:.2}"));
    }
    stroke(&mut svg, (x(1.0), MARGIN), (x(1.0), height - MARGIN), "#d9534f");
    text(&mut svg, x(1.0), height - MARGIN + 16.0, "middle", "1.0, the limit");
    svg.push_str("</svg>\n");
    svg
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

fn stroke(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>");
}

#[test]
fn each_line_with_a_ratio_has_a_bar_within_the_drawing() {
    let line = |case: &str, ratio, max| Line { case: case.to_string(), ratio, ratio_min: ratio, ratio_max: max, ..Line::default() };
    let lines = [line("ours <1>", Some(0.9), Some(1.1)), line("the limit", None, None), line("theirs", Some(7.0), Some(9.0))];
    let svg = draw(&lines);
    assert_eq!(svg.matches("<rect").count(), 2);
    assert!(svg.contains("ours &lt;1>") && svg.contains(">7.00<"));
    assert!(svg.contains(&format!("width=\"{BAR_WIDTH:.1}\"")), "the longest bar ends where bars end");
}
