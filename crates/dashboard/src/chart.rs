//! Charts drawn by the server: bars as numbers that a template puts into SVG attributes. No script, and no inline
//! style, which the content security policy forbids.

use super::moment::{When, day, grouped};
use keyreeve_authority::model::UsageCount;
use keyreeve_core::Timestamp;
use std::collections::BTreeMap;

pub(super) const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Hours in the small bars of a list: a day and a half, so that the same hours of yesterday can be compared.
pub(super) const BARS_HOURS: i64 = 36;
const BAR_WIDTH: u32 = 3;
const BARS_HEIGHT: u32 = 22;
const CHART_WIDTH: u32 = 720;
const CHART_HEIGHT: u32 = 140;

/// One bar: valid verdicts below, denials on top.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) x: u32,
    pub(super) width: u32,
    pub(super) ok_y: u32,
    pub(super) ok_height: u32,
    pub(super) old_y: u32,
    pub(super) old_height: u32,
    pub(super) refused_y: u32,
    pub(super) refused_height: u32,
    /// The tooltip.
    pub(super) title: String,
}

/// The bars of a chart, and a summary in words.
#[derive(Clone, Debug)]
pub(super) struct Bars {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bars: Vec<Bar>,
    /// "1 204 ok, 3 refused".
    pub(super) text: String,
    pub(super) valid: u64,
    pub(super) refused: u64,
    /// Labels of the two ends and of the top of the chart.
    pub(super) from: String,
    pub(super) most: String,
}

/// The counts of one bar.
#[derive(Clone, Copy, Default, Debug)]
struct Sum {
    valid: u64,
    old: u64,
    refused: u64,
}

impl Sum {
    fn all(self) -> u64 {
        self.valid + self.old + self.refused
    }

    fn add(&mut self, count: &UsageCount) {
        match count.outcome.as_str() {
            "valid" => self.valid += count.count,
            "valid_retiring" => self.old += count.count,
            _ => self.refused += count.count,
        }
    }
}

/// Draws the small bars of a list row: one per hour.
pub(super) fn small<'c>(counts: impl Iterator<Item = &'c UsageCount>, now: Timestamp) -> Bars {
    let first = hour_of(now).saturating_sub((BARS_HOURS - 1) * HOUR_MS);
    draw(counts, first, HOUR_MS, BARS_HOURS, (BAR_WIDTH * 36, BARS_HEIGHT))
}

/// The time window of a chart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChartWindow {
    /// Its name in an address.
    pub(super) word: &'static str,
    pub(super) label: &'static str,
    bar_ms: i64,
    bars: i64,
}

/// All windows. The first is the default.
pub(super) const WINDOWS: [ChartWindow; 5] = [
    ChartWindow {
        word: "24h",
        label: "24 hours",
        bar_ms: HOUR_MS,
        bars: 24,
    },
    ChartWindow {
        word: "1h",
        label: "1 hour",
        bar_ms: HOUR_MS,
        bars: 1,
    },
    ChartWindow {
        word: "7d",
        label: "7 days",
        bar_ms: 6 * HOUR_MS,
        bars: 28,
    },
    ChartWindow {
        word: "30d",
        label: "30 days",
        bar_ms: DAY_MS,
        bars: 30,
    },
    ChartWindow {
        word: "90d",
        label: "90 days",
        bar_ms: DAY_MS,
        bars: 90,
    },
];

impl ChartWindow {
    pub(super) fn of(word: &str) -> Self {
        let [default, ..] = WINDOWS;
        WINDOWS
            .into_iter()
            .find(|window| window.word == word)
            .unwrap_or(default)
    }

    /// Returns the start of the window, which is also the start of a bar.
    pub(super) fn since(self, now: Timestamp) -> Timestamp {
        let last = now.millis().div_euclid(self.bar_ms).saturating_mul(self.bar_ms);
        Timestamp::from_millis(last.saturating_sub((self.bars - 1).saturating_mul(self.bar_ms)))
    }
}

/// Draws the large chart of a key's page.
pub(super) fn large<'c>(counts: impl Iterator<Item = &'c UsageCount>, window: ChartWindow, now: Timestamp) -> Bars {
    draw(
        counts,
        window.since(now).millis(),
        window.bar_ms,
        window.bars,
        (CHART_WIDTH, CHART_HEIGHT),
    )
}

fn hour_of(now: Timestamp) -> i64 {
    now.millis().div_euclid(HOUR_MS).saturating_mul(HOUR_MS)
}

fn draw<'c>(
    counts: impl Iterator<Item = &'c UsageCount>,
    first: i64,
    bar_ms: i64,
    bars: i64,
    size: (u32, u32),
) -> Bars {
    let mut sums = BTreeMap::<i64, Sum>::new();
    let mut whole = Sum::default();
    for count in counts {
        let place = count.hour.millis().saturating_sub(first).div_euclid(bar_ms);
        if (0..bars).contains(&place) {
            sums.entry(place).or_default().add(count);
            whole.add(count);
        }
    }
    let most = sums.values().map(|sum| sum.all()).max().unwrap_or(0);
    let step = size.0 / u32::try_from(bars.max(1)).unwrap_or(1);
    let bar = |place: i64| {
        let sum = sums.get(&place).copied().unwrap_or_default();
        let begins = Timestamp::from_millis(first.saturating_add(place.saturating_mul(bar_ms)));
        shape(
            sum,
            most,
            (u32::try_from(place).unwrap_or(0) * step, step),
            size.1,
            begins,
        )
    };
    let mut text = format!(
        "{} ok, {} refused",
        grouped(whole.valid + whole.old),
        grouped(whole.refused)
    );
    if whole.old > 0 {
        text = format!("{text}, {} with the old secret", grouped(whole.old));
    }
    Bars {
        width: size.0,
        height: size.1,
        bars: (0..bars).map(bar).collect(),
        text,
        valid: whole.valid + whole.old,
        refused: whole.refused,
        from: When::new(Timestamp::from_millis(first), Timestamp::from_millis(first)).exact,
        most: grouped(most),
    }
}

fn shape(sum: Sum, most: u64, (x, step): (u32, u32), height: u32, begins: Timestamp) -> Bar {
    let part = |count: u64| match (count, most) {
        (0, _) | (_, 0) => 0,
        // A count above zero is at least two units high, so that it is visible.
        (count, most) => u32::try_from(count.saturating_mul(u64::from(height)) / most)
            .unwrap_or(height)
            .max(2),
    };
    let (ok, old, refused) = (part(sum.valid), part(sum.old), part(sum.refused));
    let ok_height = ok.min(height.saturating_sub(old + refused));
    Bar {
        x,
        width: step.saturating_sub(1).max(1),
        ok_y: height - ok_height,
        ok_height,
        old_y: height.saturating_sub(ok_height + old),
        old_height: old,
        refused_y: height.saturating_sub(ok_height + old + refused),
        refused_height: refused,
        title: format!(
            "{}: {} ok, {} refused",
            When::new(begins, begins).exact,
            grouped(sum.valid + sum.old),
            grouped(sum.refused)
        ),
    }
}

/// One day in the strip of coming expiries.
#[derive(Clone, Debug)]
pub(super) struct Day {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) height: u32,
    pub(super) title: String,
}

/// Returns, for each of the next `days` days, how many keys expire.
pub(super) fn expiries(ends: &[Timestamp], now: Timestamp, days: i64) -> Vec<Day> {
    const HEIGHT: u32 = 40;
    const WIDTH: u32 = 8;
    let first = now.millis().div_euclid(DAY_MS);
    let mut counts = BTreeMap::<i64, u64>::new();
    for end in ends {
        *counts.entry(end.millis().div_euclid(DAY_MS) - first).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or(1);
    let strip = (0..days).map(|place| {
        let count = counts.get(&place).copied().unwrap_or(0);
        let height = u32::try_from(count * u64::from(HEIGHT) / most.max(1)).unwrap_or(HEIGHT);
        let height = if count > 0 { height.max(4) } else { 1 };
        let at = Timestamp::from_millis((first + place).saturating_mul(DAY_MS));
        Day {
            x: u32::try_from(place).unwrap_or(0) * WIDTH,
            y: HEIGHT - height,
            height,
            title: format!("{}: {count}", day(at)),
        }
    });
    strip.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_core::KeyId;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn count(hours_ago: i64, outcome: &str, count: u64) -> UsageCount {
        UsageCount {
            key: KeyId::from_bytes([1; 16]),
            hour: Timestamp::from_millis(hour_of(NOW) - hours_ago * HOUR_MS),
            outcome: outcome.to_owned(),
            count,
            extra_cost: 0,
        }
    }

    #[test]
    fn bars_add_up_and_never_leave_the_picture() {
        let counts = [
            count(0, "valid", 1_204),
            count(0, "expired", 3),
            count(35, "valid_retiring", 1),
            count(36, "valid", 9),
        ];
        let bars = small(counts.iter(), NOW);
        assert_eq!(bars.bars.len(), 36);
        assert_eq!(bars.text, "1\u{202f}205 ok, 3 refused, 1 with the old secret");
        for bar in &bars.bars {
            assert!(bar.ok_y + bar.ok_height <= bars.height && bar.refused_y <= bar.ok_y && bar.x < bars.width);
        }
        let last = bars.bars.last().unwrap();
        assert!(
            last.refused_height >= 2,
            "three refusals among a thousand are still seen"
        );
    }

    #[test]
    fn a_window_begins_with_a_whole_bar_and_holds_now() {
        for window in WINDOWS {
            let since = window.since(NOW).millis();
            assert_eq!(since % window.bar_ms, 0);
            assert!(since <= NOW.millis() && NOW.millis() < since + window.bar_ms * window.bars);
        }
        assert_eq!(ChartWindow::of("nonsense").word, "24h");
    }

    #[test]
    fn an_empty_chart_is_drawn_all_the_same() {
        let bars = large([].iter(), ChartWindow::of("90d"), NOW);
        assert_eq!((bars.bars.len(), bars.text.as_str()), (90, "0 ok, 0 refused"));
    }
}
