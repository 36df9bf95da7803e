//! Time stamps that players can live with, from cameras that count badly (bambu.md 6.2: P2S).

use super::mp4::TIMESCALE;

/// Longest believable time between two pictures, and how far the camera's count may leave the clock: one second.
const TRUST: u64 = TIMESCALE as u64;
/// Shortest step, so that times always grow: 1 ms.
const LEAST: u64 = TIMESCALE as u64 / 1000;

/// Follows the camera's count while it is plausible, and the clock where it is not.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    last: Option<Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    counted: u64,
    arrived: u64,
    time: u64,
}

impl Timeline {
    /// Decode time of the next picture; always later than the one before. All in ticks.
    pub fn next(&mut self, counted: u64, arrived: u64) -> u64 {
        let time = match self.last {
            None => arrived,
            Some(last) => {
                let step = counted.wrapping_sub(last.counted);
                let step =
                    if (LEAST..=TRUST).contains(&step) { step } else { arrived.saturating_sub(last.arrived) };
                let time = last.time + step.max(LEAST);
                if time.abs_diff(arrived) > TRUST { arrived.max(last.time + LEAST) } else { time }
            }
        };
        self.last = Some(Last { counted, arrived, time });
        time
    }

    /// The camera begins to count anew.
    pub fn restart(&mut self) {
        if let Some(last) = &mut self.last {
            last.counted = u64::MAX / 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_count_is_followed_through_jitter() {
        let mut line = Timeline::default();
        let times: Vec<u64> = [(0, 0), (3_000, 9_000), (6_000, 9_100), (9_000, 9_200)]
            .map(|(counted, arrived)| line.next(counted, arrived))
            .into();
        assert_eq!(times, [0, 3_000, 6_000, 9_000]);
    }

    #[test]
    fn a_bad_count_gives_way_to_the_clock() {
        let arrivals: Vec<u64> = (0..50).map(|n| n * 3_000).collect();
        for count in [|_: u64| 0, |n: u64| n * 900_000, |n: u64| 1_000_000 - n * 3_000, |n: u64| n * 40_000] {
            let mut line = Timeline::default();
            let times: Vec<u64> =
                arrivals.iter().enumerate().map(|(n, at)| line.next(count(n as u64), *at)).collect();
            assert!(times.windows(2).all(|two| two[0] < two[1]), "{times:?}");
            assert!(times[49].abs_diff(arrivals[49]) <= TRUST + 40_000, "{times:?}");
        }
    }

    #[test]
    fn a_new_connection_goes_on_with_the_clock() {
        let mut line = Timeline::default();
        line.next(5, 0);
        line.restart();
        assert_eq!(line.next(0, 900_000), 900_000);
    }
}
