//! QR codes as pictures and as text.

use qrcode::{EcLevel, QrCode, types::Color};

/// Pixels of one module in a PNG.
const MODULE_PIXELS: usize = 8;
/// Light modules around the code, as ISO/IEC 18004 asks for.
const QUIET_MODULES: usize = 4;

/// A code; `None` when the text is longer than a QR code can hold.
pub struct Qr {
    width: usize,
    dark: Vec<bool>,
}

impl Qr {
    /// Encodes a text.
    pub fn new(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
        let dark = code
            .to_colors()
            .into_iter()
            .map(|color| color == Color::Dark)
            .collect();
        Some(Self {
            width: code.width(),
            dark,
        })
    }

    fn side(&self) -> usize {
        self.width + 2 * QUIET_MODULES
    }

    /// Whether the module is dark; outside there is the quiet zone.
    fn is_dark(&self, x: usize, y: usize) -> bool {
        let inside = |at: usize| at.checked_sub(QUIET_MODULES).filter(|at| *at < self.width);
        inside(x)
            .zip(inside(y))
            .is_some_and(|(x, y)| self.dark[y * self.width + x])
    }

    /// For a terminal: two modules a character, light on dark, so that it can be scanned on a dark
    /// background.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for y in (0..self.side()).step_by(2) {
            for x in 0..self.side() {
                let lower_is_dark = y + 1 < self.side() && self.is_dark(x, y + 1);
                text.push(match (self.is_dark(x, y), lower_is_dark) {
                    (false, false) => '█',
                    (false, true) => '▀',
                    (true, false) => '▄',
                    (true, true) => ' ',
                });
            }
            text.push('\n');
        }
        text
    }

    /// As SVG.
    pub fn svg(&self) -> String {
        use std::fmt::Write;
        let side = self.side();
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" \
             shape-rendering=\"crispEdges\">\
             <rect width=\"{side}\" height=\"{side}\" fill=\"#fff\"/><path d=\""
        );
        for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
            if self.is_dark(x, y) {
                let _ = write!(svg, "M{x} {y}h1v1h-1z");
            }
        }
        svg.push_str("\"/></svg>\n");
        svg
    }

    /// As PNG, one bit a pixel.
    pub fn png(&self) -> Vec<u8> {
        let side = self.side() * MODULE_PIXELS;
        let row_bytes = side.div_ceil(8);
        let mut pixels = vec![0_u8; row_bytes * side];
        for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
            if !self.is_dark(x / MODULE_PIXELS, y / MODULE_PIXELS) {
                pixels[y * row_bytes + x / 8] |= 0x80 >> (x % 8);
            }
        }
        let mut file = Vec::new();
        let side = u32::try_from(side).expect("a QR code has at most 177 modules a side");
        let mut encoder = png::Encoder::new(&mut file, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        let written = encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&pixels));
        written.expect("writing to memory does not fail");
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the modules back out of each form.
    #[test]
    fn every_form_shows_the_same_code() {
        let qr = Qr::new("2@abc,def,ghi,jkl").expect("short");
        let side = qr.side();
        let expected: Vec<bool> = (0..side * side)
            .map(|at| qr.is_dark(at % side, at / side))
            .collect();
        assert_eq!(
            expected.iter().filter(|dark| **dark).count(),
            qr.dark.iter().filter(|dark| **dark).count()
        );

        let text: Vec<Vec<char>> = qr
            .text()
            .lines()
            .map(|line| line.chars().collect())
            .collect();
        let from_text =
            |x: usize, y: usize| matches!((text[y / 2][x], y % 2), (' ', _) | ('▄', 0) | ('▀', 1));
        let svg = qr.svg();
        let decoder = png::Decoder::new(std::io::Cursor::new(qr.png()));
        let mut reader = decoder.read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
        let info = reader.next_frame(&mut pixels).expect("a frame");
        let from_png = |x: usize, y: usize| {
            let x = x * MODULE_PIXELS + MODULE_PIXELS / 2;
            let y = y * MODULE_PIXELS + MODULE_PIXELS / 2;
            pixels[y * info.line_size + x / 8] & (0x80 >> (x % 8)) == 0
        };
        for (at, dark) in expected.iter().enumerate() {
            let x = at % side;
            let y = at / side;
            assert_eq!(from_text(x, y), *dark, "text at {x},{y}");
            assert_eq!(
                svg.contains(&format!("M{x} {y}h1")),
                *dark,
                "svg at {x},{y}"
            );
            assert_eq!(from_png(x, y), *dark, "png at {x},{y}");
        }
    }
}
