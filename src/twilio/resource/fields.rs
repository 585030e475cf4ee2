//! One field at a time, and what several fields come to.

use std::fmt::Display;

use domain::call::CallStatus;
use domain::sid::SidError;
use rust_decimal::Decimal;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::{Misread, RecordingStatus};
use crate::twilio::timestamp;

/// The read model's column is `numeric(12, 5)`; rounding to five decimals must not lead out of it.
const HIGHEST_PRICE: Decimal = Decimal::from_parts(9_999_999, 0, 0, false, 0);
/// Characters. The read model's column is `varchar(10)`.
const LONGEST_UNIT: usize = 10;

pub(super) struct Fields<'a> {
    pub value: &'a Value,
    /// As in "a call".
    pub resource: &'static str,
}

impl Fields<'_> {
    /// A text or a number as a text. Missing, null and empty are alike.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<String>, Misread> {
        match self.value.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(value) => Err(not(name, &value.to_string(), "neither a text nor a number")),
        }
    }

    pub(super) fn sid<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, SidError>,
    ) -> Result<Option<T>, Misread> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        read(&text).map(Some).map_err(|source| Misread::Sid { name, source })
    }

    pub(super) fn required<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, SidError>,
    ) -> Result<T, Misread> {
        self.sid(name, read)?.ok_or(Misread::Missing { name, resource: self.resource })
    }

    /// REST has no `initiated` (contract section 9, trap 17).
    pub(super) fn call_status(&self) -> Result<CallStatus, Misread> {
        let text = self.status()?;
        CallStatus::parse(&text)
            .filter(|status| *status != CallStatus::Initiated)
            .ok_or_else(|| not("status", &text, "not a status of a call in Twilio's REST API"))
    }

    pub(super) fn recording_status(&self) -> Result<RecordingStatus, Misread> {
        let text = self.status()?;
        RecordingStatus::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| not("status", &text, "not a status of a recording in Twilio's REST API"))
    }

    fn status(&self) -> Result<String, Misread> {
        self.text("status")?.ok_or(Misread::Missing { name: "status", resource: self.resource })
    }

    pub(super) fn number(&self, name: &'static str) -> Result<Option<u32>, Misread> {
        // The read model's columns are signed.
        const MOST: u32 = i32::MAX.cast_unsigned();
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if number <= MOST => Ok(Some(number)),
            _ => Err(not(name, &text, "not a whole number")),
        }
    }

    /// Zero, empty and null are alike (contract section 1.2).
    pub(super) fn seconds(&self, name: &'static str) -> Result<Option<u32>, Misread> {
        Ok(self.number(name)?.filter(|seconds| *seconds > 0))
    }

    /// `-1` is what a recording has while it goes on.
    pub(super) fn recorded_seconds(&self) -> Result<Option<u32>, Misread> {
        match self.text("duration")?.as_deref() {
            Some("-1") => Ok(None),
            _ => self.seconds("duration"),
        }
    }

    pub(super) fn channels(&self) -> Result<Option<u8>, Misread> {
        let Some(channels) = self.seconds("channels")? else { return Ok(None) };
        u8::try_from(channels)
            .map(Some)
            .map_err(|_| not("channels", &channels.to_string(), "more channels than a recording has"))
    }

    pub(super) fn price(&self) -> Result<Option<Decimal>, Misread> {
        let Some(text) = self.text("price")? else { return Ok(None) };
        let price: Decimal = text
            .parse()
            .or_else(|_| Decimal::from_scientific(&text))
            .map_err(|_| not("price", &text, "not an amount such as -0.03000"))?;
        if price.abs() > HIGHEST_PRICE {
            return Err(not("price", &text, "more than the price of a call can be"));
        }
        Ok(Some(price))
    }

    /// Upper case.
    pub(super) fn price_unit(&self) -> Result<Option<String>, Misread> {
        let Some(unit) = self.text("price_unit")? else { return Ok(None) };
        if unit.chars().count() > LONGEST_UNIT {
            return Err(not("price_unit", &unit, "longer than the code of a currency such as USD"));
        }
        Ok(Some(unit.to_ascii_uppercase()))
    }

    pub(super) fn time(&self, name: &'static str) -> Result<Option<OffsetDateTime>, Misread> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        timestamp::any(&text)
            .map(Some)
            .ok_or_else(|| not(name, &text, "not a time such as \"Fri, 20 Aug 2010 01:13:42 +0000\""))
    }
}

fn not(name: &'static str, value: &str, expected: &'static str) -> Misread {
    // Long enough to recognise, short enough to read.
    Misread::Value { name, value: value.chars().take(80).collect(), expected }
}

/// Each field is preceded by its length, so that no two lists of fields are one text; one that is not there differs
/// from an empty one.
pub(super) struct Digest(Sha256);

impl Digest {
    pub(super) fn of(kind: &str) -> Self {
        Self(Sha256::new()).field(Some(kind))
    }

    pub(super) fn field<T: Display + ?Sized>(mut self, value: Option<&T>) -> Self {
        match value {
            None => self.0.update([0]),
            Some(value) => {
                let text = value.to_string();
                self.0.update([1]);
                self.0.update((text.len() as u64).to_be_bytes());
                self.0.update(text);
            }
        }
        self
    }

    pub(super) fn time(self, at: Option<OffsetDateTime>) -> Self {
        self.field(at.map(OffsetDateTime::unix_timestamp).as_ref())
    }

    pub(super) fn finish(self) -> String {
        format!("{:x}", self.0.finalize())
    }
}
