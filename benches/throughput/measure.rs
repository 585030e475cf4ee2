//! Medians, quantiles and memory.

use std::time::Duration;

/// The middle of what was measured; 0 of nothing.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Milliseconds that this share of the samples does not exceed.
pub fn quantile_ms(samples: &[Duration], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let index = (sorted.len() as f64 * share).ceil() as usize;
    ms(sorted[index.saturating_sub(1).min(last)])
}

pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// So many in such a time, per second.
pub fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Forgets the peak so far, so that the next one is of what runs now. Where the kernel does not allow it, the
/// peak is that of everything so far.
pub fn reset_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory this process has had resident since the last reset.
pub fn peak_memory_mib() -> f64 {
    resident("VmHWM:")
}

pub fn memory_mib() -> f64 {
    resident("VmRSS:")
}

/// The memory that another process has resident.
pub fn memory_of_mib(process: u32) -> f64 {
    line_of(&format!("/proc/{process}/status"), "VmRSS:")
}

fn resident(name: &str) -> f64 {
    line_of("/proc/self/status", name)
}

/// A line of such a file; 0 where there is none.
fn line_of(file: &str, name: &str) -> f64 {
    let status = std::fs::read_to_string(file).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1_024.0
}
