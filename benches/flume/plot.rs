//! Rate and memory over time, as an SVG of two panels.

use std::fmt::Write as _;

use super::history::Sample;

const WIDTH: f64 = 900.0;
const PANEL: f64 = 240.0;
const LEFT: f64 = 80.0;
const GAP: f64 = 60.0;
const COLOURS: [&str; 6] = ["#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a"];
/// Samples per point of the rate, so that single commits do not hide it.
const WINDOW: usize = 5;

/// One line of each panel.
pub struct Series {
    pub name: String,
    pub samples: Vec<Sample>,
}

type Points = Vec<(f64, f64)>;

/// The SVG.
pub fn svg(all: &[Series]) -> String {
    let rates: Vec<Points> = all.iter().map(|series| rate(&series.samples)).collect();
    #[expect(clippy::cast_precision_loss, reason = "a pixel is far coarser")]
    let memory = |sample: &Sample| (sample.seconds, sample.memory as f64 / f64::from(1 << 20));
    let memories: Vec<Points> =
        all.iter().map(|series| series.samples.iter().map(memory).collect()).collect();
    let height = 2.0 * PANEL + 3.0 * GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    panel(&mut svg, GAP, ("thousand logs a second", &rates));
    panel(&mut svg, 2.0 * GAP + PANEL, ("resident memory of the daemon, MiB", &memories));
    for (index, series) in all.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a handful of lines")]
        let x = LEFT + 130.0 * index as f64;
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"24\" fill=\"{colour}\">{}</text>", series.name);
    }
    svg + "</svg>\n"
}

#[expect(clippy::cast_precision_loss, reason = "a pixel is far coarser")]
fn rate(samples: &[Sample]) -> Points {
    let pairs = samples.iter().zip(samples.iter().skip(WINDOW));
    pairs.map(|(a, b)| (b.seconds, (b.logs - a.logs) as f64 / (b.seconds - a.seconds) / 1000.0)).collect()
}

fn panel(svg: &mut String, top: f64, (title, lines): (&str, &[Points])) {
    let most = |of: fn(&(f64, f64)) -> f64| lines.iter().flatten().map(of).fold(1.0, f64::max);
    let (wide, tall) = (most(|point| point.0), most(|point| point.1) * 1.1);
    let (right, bottom) = (WIDTH - 20.0, top + PANEL);
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\">{title}; seconds from the start</text>", top - 8.0);
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        let (x, y) = (LEFT + share * (right - LEFT), bottom - share * PANEL);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {y}H{right}\" stroke=\"#d0d7de\"/>");
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.0}</text>",
            LEFT - 8.0,
            y + 4.0,
            share * tall
        );
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{:.1}</text>",
            bottom + 18.0,
            share * wide
        );
    }
    for (index, points) in lines.iter().enumerate() {
        let at = |(x, y): &(f64, f64)| {
            format!("{:.1},{:.1}", LEFT + x / wide * (right - LEFT), bottom - y / tall * PANEL)
        };
        let points: Vec<String> = points.iter().map(at).collect();
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
            points.join(" ")
        );
    }
}
