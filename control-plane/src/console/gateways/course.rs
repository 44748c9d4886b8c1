//! The course of a measured series as a small drawing. Pure: numbers in, the coordinates of one line out.

use postern_protocol::timestamp::Timestamp;

use crate::console::figures;
use crate::console::moment::Moment;
use crate::store::samples::Series;

/// Size of the drawing in its own units, and the margin in which the line's own width lies.
pub(super) const WIDTH: f64 = 220.0;
pub(super) const HEIGHT: f64 = 30.0;
const MARGIN: f64 = 2.0;

/// A series, ready to be shown.
pub(super) struct SeriesLine {
    pub(super) resource: String,
    pub(super) metric: String,
    pub(super) last: String,
    pub(super) last_at: Moment,
    /// Least and greatest value of the drawing, in words.
    pub(super) range: String,
    /// `x,y` of each point, for a `polyline`; empty for less than two points.
    pub(super) points: String,
}

impl SeriesLine {
    /// Draws `course` from `from` to `now`.
    pub(super) fn new(series: Series, course: &[(Timestamp, f64)], from: Timestamp, now: Timestamp) -> Self {
        let unit = |text: String| match series.unit.as_str() {
            "" => text,
            // UCUM's word for it.
            "Cel" => format!("{text} °C"),
            other => format!("{text} {other}"),
        };
        let least = course.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
        let greatest = course.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
        Self {
            last: unit(number(series.last)),
            last_at: Moment::new(series.last_at, now),
            range: match course.len() {
                0 | 1 => String::new(),
                _ if number(least) == number(greatest) => format!("always {}", unit(number(least))),
                _ => unit(format!("{} to {}", number(least), number(greatest))),
            },
            points: points(course, (from, now), (least, greatest)),
            resource: series.resource,
            metric: series.metric,
        }
    }
}

fn points(course: &[(Timestamp, f64)], (from, to): (Timestamp, Timestamp), (least, greatest): (f64, f64)) -> String {
    if course.len() < 2 {
        return String::new();
    }
    let span = to.saturating_since(from).as_secs_f64().max(1.0);
    // Halved before they are subtracted: the difference of two finite numbers may be none.
    let height = greatest / 2.0 - least / 2.0;
    let place = |(at, value): &(Timestamp, f64)| {
        let across = (at.saturating_since(from).as_secs_f64() / span).clamp(0.0, 1.0);
        let up = if height > 0.0 { ((value / 2.0 - least / 2.0) / height).clamp(0.0, 1.0) } else { 0.5 };
        format!("{:.1},{:.1}", across * WIDTH, HEIGHT - MARGIN - up * (HEIGHT - 2.0 * MARGIN))
    };
    course.iter().map(place).collect::<Vec<_>>().join(" ")
}

/// Writes a measured number with the digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 0.001 => format!("{value:.2e}"),
        great if great >= 1e15 => format!("{value:.2e}"),
        large if large >= 100.0 => short(&format!("{value:.1}")),
        _ => short(&format!("{value:.3}")),
    }
}

/// Takes noughts off the end of a decimal fraction, and parts its thousands.
fn short(digits: &str) -> String {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |rest| ("-", rest));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), figures::count);
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        let last_at = Timestamp::from_secs(90);
        Series { number: 1, resource: "r".into(), metric: "m".into(), unit: "%".into(), last_at, last: 12.5 }
    }

    #[test]
    fn a_course_goes_from_left_to_right_and_fills_the_height() {
        let course: Vec<_> = [(0, 1.0), (50, 3.0), (100, 2.0)].map(|(at, value)| (Timestamp::from_secs(at), value)).into();
        let line = SeriesLine::new(series(), &course, Timestamp::from_secs(0), Timestamp::from_secs(100));
        assert_eq!(line.points, "0.0,28.0 110.0,2.0 220.0,15.0");
        assert_eq!((line.last.as_str(), line.range.as_str()), ("12.5 %", "1 to 3 %"));
    }

    #[test]
    fn extreme_values_and_single_points_draw_nothing_absurd() {
        let at = Timestamp::from_secs;
        let drawn = |course: &[(Timestamp, f64)]| SeriesLine::new(series(), course, at(0), at(10)).points;
        assert_eq!(drawn(&[(at(1), 5.0)]), "");
        assert_eq!(drawn(&[(at(0), 5.0), (at(10), 5.0)]), "0.0,15.0 220.0,15.0");
        assert_eq!(drawn(&[(at(0), -f64::MAX), (at(10), f64::MAX)]), "0.0,28.0 220.0,2.0");
        let read = [0.0, 1234.0, 0.25, 1e-9, 1e300, 123.456, 51.0004, -1_245_656.24, -0.5].map(number);
        assert_eq!(read, ["0", "1,234", "0.25", "1.00e-9", "1.00e300", "123.5", "51", "-1,245,656.2", "-0.5"]);
    }
}
