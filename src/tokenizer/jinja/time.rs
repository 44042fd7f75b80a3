//! `strftime`, as far as chat templates use it, in UTC.

use web_time::{SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Seconds since 1970 by the clock.
pub(super) fn clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

/// Formats a time; a directive that is not known stays as it is written.
pub(super) fn strftime(format: &str, seconds: i64) -> String {
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let (year, month, day_of_month) = civil(day);
    let weekday = (day + 4).rem_euclid(7);
    let day_of_year = day - days_before_year(year) + 1;
    let hour12 = (hour + 11) % 12 + 1;
    let half = if hour < 12 { "AM" } else { "PM" };
    let (day_name, month_name) = (DAYS[weekday as usize], MONTHS[month as usize - 1]);

    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        // `%-d` leaves out the leading zero.
        let plain = directive == Some('-');
        if plain {
            directive = chars.next();
        }
        let two = |n: i64| {
            if plain {
                n.to_string()
            } else {
                format!("{n:02}")
            }
        };
        match directive {
            Some('Y') => out.push_str(&format!("{year:04}")),
            Some('y') => out.push_str(&two(year.rem_euclid(100))),
            Some('m') => out.push_str(&two(month)),
            Some('d') => out.push_str(&two(day_of_month)),
            Some('e') => out.push_str(&format!("{day_of_month:2}")),
            Some('H') => out.push_str(&two(hour)),
            Some('I') => out.push_str(&two(hour12)),
            Some('M') => out.push_str(&two(minute)),
            Some('S') => out.push_str(&two(second)),
            Some('p') => out.push_str(half),
            Some('j') if plain => out.push_str(&day_of_year.to_string()),
            Some('j') => out.push_str(&format!("{day_of_year:03}")),
            Some('A') => out.push_str(day_name),
            Some('a') => out.push_str(&day_name[..3]),
            Some('B') => out.push_str(month_name),
            Some('b' | 'h') => out.push_str(&month_name[..3]),
            Some('w') => out.push_str(&weekday.to_string()),
            Some('u') => out.push_str(&((weekday + 6) % 7 + 1).to_string()),
            Some('F') => out.push_str(&strftime("%Y-%m-%d", seconds)),
            Some('T' | 'X') => out.push_str(&strftime("%H:%M:%S", seconds)),
            Some('R') => out.push_str(&strftime("%H:%M", seconds)),
            Some('D' | 'x') => out.push_str(&strftime("%m/%d/%y", seconds)),
            Some('c') => out.push_str(&strftime("%a %b %e %H:%M:%S %Y", seconds)),
            Some('s') => out.push_str(&seconds.to_string()),
            Some('Z' | 'z') => {}
            Some('%') => out.push('%'),
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            other => {
                out.push_str(if plain { "%-" } else { "%" });
                out.extend(other);
            }
        }
    }
    out
}

/// Year, month and day of a day since 1970 in the Gregorian calendar.
fn civil(day: i64) -> (i64, i64, i64) {
    // The first guess is at most a year off (365.2425 days each).
    let mut year = 1970 + (day as f64 / 365.2425) as i64;
    while days_before_year(year) > day {
        year -= 1;
    }
    while days_before_year(year + 1) <= day {
        year += 1;
    }
    let leap = days_before_year(year + 1) - days_before_year(year) == 366;
    let mut rest = day - days_before_year(year);
    let lengths = [
        31,
        if leap { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 0;
    while rest >= lengths[month] {
        rest -= lengths[month];
        month += 1;
    }
    (year, month as i64 + 1, rest + 1)
}

fn days_before_year(year: i64) -> i64 {
    let y = year - 1;
    let leaps = y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400);
    // 477 leap days and 719,162 days lie before 1970.
    y * 365 + leaps - 719_162
}
