//! The sound of a recording: a tone for each channel, as WAV, in whole or in part.

use std::f64::consts::TAU;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::simulator::world::{Recording, chance};

/// Samples a second, as on the telephone.
const RATE: u32 = 8_000;
/// The most that is generated, however long the call.
const LONGEST_SECONDS: u32 = 30;
const HEADER: usize = 44;

/// The whole file, or the part of it that `Range` asks for.
pub fn answer(recording: &Recording, headers: &HeaderMap) -> Response {
    let sound = wav(recording);
    let kind = [(header::CONTENT_TYPE, "audio/x-wav"), (header::ACCEPT_RANGES, "bytes")];
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    match range.map_or(Part::Whole, |range| Part::read(range, sound.len())) {
        Part::Whole => (kind, sound).into_response(),
        Part::Bytes { first, last } => {
            let place = [(header::CONTENT_RANGE, format!("bytes {first}-{last}/{}", sound.len()))];
            (StatusCode::PARTIAL_CONTENT, kind, place, sound[first..=last].to_vec()).into_response()
        }
        Part::Nothing => {
            let place = [(header::CONTENT_RANGE, format!("bytes */{}", sound.len()))];
            (StatusCode::RANGE_NOT_SATISFIABLE, place).into_response()
        }
    }
}

/// What of a file is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// Both inclusive, and in the file.
    Bytes {
        first: usize,
        last: usize,
    },
    Nothing,
}

impl Part {
    /// What cannot be read, or asks for several parts, is passed over, as HTTP allows.
    fn read(range: &str, length: usize) -> Part {
        let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
            return Part::Whole;
        };
        let (first, last) = match (first.trim(), last.trim()) {
            ("", last) => match last.parse::<usize>() {
                Ok(suffix) => (length.saturating_sub(suffix), if suffix == 0 { 0 } else { length }),
                Err(_) => return Part::Whole,
            },
            (first, "") => match first.parse() {
                Ok(first) => (first, length),
                Err(_) => return Part::Whole,
            },
            (first, last) => match (first.parse(), last.parse::<usize>()) {
                (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1)),
                _ => return Part::Whole,
            },
        };
        match last.min(length) {
            end if first < end => Part::Bytes { first, last: end - 1 },
            _ => Part::Nothing,
        }
    }
}

/// 16-bit PCM. Equal recordings sound equal; the second channel is a fifth higher than the first.
fn wav(recording: &Recording) -> Vec<u8> {
    let channels = u32::from(recording.channels);
    let seconds = u32::try_from(recording.seconds).unwrap_or_default().clamp(1, LONGEST_SECONDS);
    let block = channels * 2;
    let size = seconds * RATE * block;
    let mut file = Vec::with_capacity(HEADER + size as usize);
    file.extend(b"RIFF");
    file.extend((size + HEADER as u32 - 8).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend(1_u16.to_le_bytes());
    file.extend(u16::from(recording.channels).to_le_bytes());
    file.extend(RATE.to_le_bytes());
    file.extend((RATE * block).to_le_bytes());
    file.extend((block as u16).to_le_bytes());
    file.extend(16_u16.to_le_bytes());
    file.extend(b"data");
    file.extend(size.to_le_bytes());
    let pitch = f64::from(220 + chance(&recording.sid) % 220);
    for sample in 0..seconds * RATE {
        for channel in 0..channels {
            let turns = pitch * (1.0 + f64::from(channel) / 2.0) * f64::from(sample) / f64::from(RATE);
            file.extend((((turns * TAU).sin() * 8_000.0) as i16).to_le_bytes());
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_http_says() {
        let bytes = |first, last| Part::Bytes { first, last };
        for (range, part) in [
            ("bytes=0-0", bytes(0, 0)),
            ("bytes=10-19", bytes(10, 19)),
            ("bytes=90-", bytes(90, 99)),
            ("bytes=90-1000", bytes(90, 99)),
            ("bytes=-10", bytes(90, 99)),
            ("bytes=-1000", bytes(0, 99)),
            ("bytes=100-", Part::Nothing),
            ("bytes=-0", Part::Nothing),
            ("bytes=5-4", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=a-b", Part::Whole),
        ] {
            assert_eq!(Part::read(range, 100), part, "{range}");
        }
    }
}
