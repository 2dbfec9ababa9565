//! Pictures: lines in a frame, as SVG.

use std::path::Path;

use plotters::{
    coord::{ranged1d::ValueFormatter, types::RangedCoordf64},
    prelude::{
        BLACK, Cartesian2d, ChartBuilder, ChartContext, Color, IntoDrawingArea, IntoLogRange,
        LineSeries, Palette, Palette99, PathElement, Ranged, SVGBackend, SeriesLabelPosition,
        WHITE,
    },
};

/// Points from left to right.
pub(crate) type Line = Vec<(f64, f64)>;

/// What is drawn.
pub(crate) struct Picture<'a> {
    pub(crate) title: &'a str,
    /// What the horizontal axis counts.
    pub(crate) across: &'a str,
    /// What the vertical one counts.
    pub(crate) up: &'a str,
    /// Whether each step of the vertical axis is ten times the one before.
    pub(crate) is_log: bool,
    pub(crate) lines: &'a [(&'a str, &'a Line)],
}

const SIZE: (u32, u32) = (900, 420);

/// Writes the picture; false if there is nothing to draw.
pub(crate) fn draw(picture: &Picture<'_>, path: &Path) -> anyhow::Result<bool> {
    let points = || picture.lines.iter().flat_map(|(_, line)| line.iter());
    if points().count() < 2 {
        return Ok(false);
    }
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(fault)?;
    let right = points().map(|(x, _)| *x).fold(f64::MIN_POSITIVE, f64::max);
    let (low, high) = points().fold((f64::MAX, 0.0_f64), |(low, high), (_, y)| {
        (low.min(*y), high.max(*y))
    });
    let mut chart = ChartBuilder::on(&root);
    chart
        .caption(picture.title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(70);
    if picture.is_log {
        let low = low.max(0.001) / 2.0;
        let high = high.max(0.002) * 2.0;
        lines(
            chart
                .build_cartesian_2d(0.0..right, (low..high).log_scale())
                .map_err(fault)?,
            picture,
        )?;
    } else {
        lines(
            chart
                .build_cartesian_2d(0.0..right, 0.0..high.max(f64::MIN_POSITIVE) * 1.1)
                .map_err(fault)?,
            picture,
        )?;
    }
    root.present().map_err(fault)?;
    Ok(true)
}

fn lines<'a, Y>(
    mut chart: ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, Y>>,
    picture: &Picture<'_>,
) -> anyhow::Result<()>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .x_desc(picture.across)
        .y_desc(picture.up)
        .max_light_lines(0)
        .draw()
        .map_err(fault)?;
    for (place, (label, line)) in picture.lines.iter().enumerate() {
        let colour = Palette99::pick(place).to_rgba();
        let series = LineSeries::new(line.iter().copied(), colour.stroke_width(2));
        let legend = move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2));
        chart
            .draw_series(series)
            .map_err(fault)?
            .label(*label)
            .legend(legend);
    }
    let position = SeriesLabelPosition::UpperLeft;
    let mut labels = chart.configure_series_labels();
    labels
        .position(position)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(fault)?;
    Ok(())
}

/// The backend's own errors are bound to the picture's life.
fn fault(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("drawing: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_their_names_are_drawn() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.svg");
        let one = vec![(0.0, 1.0), (1.0, 10.0)];
        let other = vec![(0.0, 5.0), (1.0, 50.0)];
        for is_log in [false, true] {
            let lines = [("wahook", &one), ("floor", &other)];
            let picture = Picture {
                title: "t",
                across: "seconds",
                up: "ms",
                is_log,
                lines: &lines,
            };
            assert!(draw(&picture, &path).expect("a picture"));
            let text = std::fs::read_to_string(&path).expect("a file");
            assert!(text.contains("wahook") && text.contains("floor"));
            assert!(text.matches("<polyline").count() >= 2, "{text}");
        }
        let nothing = Picture {
            title: "t",
            across: "",
            up: "",
            is_log: false,
            lines: &[],
        };
        assert!(!draw(&nothing, &path).expect("no picture"));
    }
}
