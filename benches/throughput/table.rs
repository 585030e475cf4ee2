//! The one table: a figure of ours, what it is beside, what was asked for, and whether it is met.

use std::fmt;

#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Row {
    what: String,
    ours: Figure,
    beside: Option<(String, Figure)>,
    target: Target,
}

/// A number with its unit.
#[derive(Clone, Copy, Debug)]
pub enum Figure {
    PerSecond(f64),
    Seconds(f64),
    Ms(f64),
    Mib(f64),
    Count(f64),
}

impl Figure {
    fn value(self) -> f64 {
        match self {
            Self::PerSecond(value)
            | Self::Seconds(value)
            | Self::Ms(value)
            | Self::Mib(value)
            | Self::Count(value) => value,
        }
    }
}

/// What the issue asks for.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    None,
    AtLeast(f64),
    AtMost(Figure),
    /// At least so many times what is beside it.
    Times(f64),
    /// At most so many times what is beside it.
    AtMostTimes(f64),
}

impl Table {
    pub fn alone(&mut self, what: impl Into<String>, ours: Figure, target: Target) {
        self.push(Row { what: what.into(), ours, beside: None, target });
    }

    pub fn beside(
        &mut self,
        what: impl Into<String>,
        ours: Figure,
        other: impl Into<String>,
        theirs: Figure,
        target: Target,
    ) {
        self.push(Row { what: what.into(), ours, beside: Some((other.into(), theirs)), target });
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// A long run says what it has as it goes.
    fn push(&mut self, row: Row) {
        eprintln!("{row}");
        self.rows.push(row);
    }
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        let (_, theirs) = self.beside.as_ref()?;
        Some(self.ours.value() / theirs.value())
    }

    fn is_met(&self) -> Option<bool> {
        match self.target {
            Target::None => None,
            Target::AtLeast(least) => Some(self.ours.value() >= least),
            Target::AtMost(most) => Some(self.ours.value() <= most.value()),
            Target::Times(least) => self.ratio().map(|ratio| ratio >= least),
            Target::AtMostTimes(most) => self.ratio().map(|ratio| ratio <= most),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | callbook | beside it | | times | asked for | |")?;
        writeln!(f, "| --- | ---: | --- | ---: | ---: | ---: | --- |")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        for note in &self.notes {
            write!(f, "\n- {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (other, theirs) = match &self.beside {
            Some((other, theirs)) => (other.as_str(), theirs.to_string()),
            None => ("", String::new()),
        };
        let times = self.ratio().map(|ratio| format!("{ratio:.2} ×")).unwrap_or_default();
        let verdict = match self.is_met() {
            None => "",
            Some(true) => "met",
            Some(false) => "**not met**",
        };
        write!(
            f,
            "| {} | {} | {other} | {theirs} | {times} | {} | {verdict} |",
            self.what, self.ours, self.target
        )
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::AtLeast(least) => write!(f, "{}", Figure::PerSecond(*least)),
            Self::AtMost(most) => write!(f, "< {most}"),
            Self::Times(least) => write!(f, "{least} ×"),
            Self::AtMostTimes(most) => write!(f, "< {most} ×"),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerSecond(value) => write!(f, "{}/s", thousands(*value)),
            Self::Seconds(value) => write!(f, "{value:.1} s"),
            Self::Ms(value) if *value < 10.0 => write!(f, "{value:.2} ms"),
            Self::Ms(value) => write!(f, "{value:.0} ms"),
            Self::Mib(value) => write!(f, "{value:.0} MiB"),
            Self::Count(value) => write!(f, "{}", thousands(*value)),
        }
    }
}

/// `1234567.8` as `1,234,568`.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
