//! PostgreSQL's binary `COPY` format: the cheapest way for many rows in and out of the database.
//!
//! Values are written by sqlx's own encoders, so a column means here what it means in a bound parameter.
//! Format: <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format".

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::PgArgumentBuffer;
use sqlx::{Encode, Postgres};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

/// Signature, no flags, no header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// In the place of a number of fields: no row follows.
const END: i16 = -1;
/// In the place of a length: null.
const NULL: i32 = -1;
const EPOCH: OffsetDateTime = datetime!(2000-01-01 00:00 UTC);

/// Rows on their way into a table.
#[derive(Default)]
pub(crate) struct Tuples {
    buffer: PgArgumentBuffer,
}

impl Tuples {
    /// The beginning of a copy.
    pub fn first() -> Self {
        let mut tuples = Self::default();
        tuples.buffer.extend_from_slice(HEADER);
        tuples
    }

    /// Nothing yet, with room for so many bytes.
    pub fn with_room(bytes: usize) -> Self {
        let mut tuples = Self::default();
        tuples.buffer.reserve(bytes);
        tuples
    }

    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Begins a row of so many columns.
    pub fn row(&mut self, columns: usize) {
        let columns = i16::try_from(columns).unwrap_or_else(|_| unreachable!("a table has few columns"));
        self.buffer.extend_from_slice(&columns.to_be_bytes());
    }

    /// The next column of the row.
    pub fn put<'q, V: Encode<'q, Postgres>>(&mut self, value: &V) -> Result<(), BoxDynError> {
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&NULL.to_be_bytes());
        let begin = self.buffer.len();
        if let IsNull::No = value.encode_by_ref(&mut self.buffer)? {
            let length = i32::try_from(self.buffer.len() - begin)?;
            self.buffer[at..begin].copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    /// After the last row.
    pub fn end(&mut self) {
        self.buffer.extend_from_slice(&END.to_be_bytes());
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }
}

/// What a copy of the database holds that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("there is not what belongs at byte {at} of a row")]
pub struct Malformed {
    at: usize,
}

/// The fields of one row that comes out of the database. The server sends a row a message.
pub(crate) struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Nothing for the end of the copy.
    pub fn of(message: &'a [u8]) -> Result<Option<Self>, Malformed> {
        // The header comes with the first row.
        let at = if message.starts_with(HEADER) { HEADER.len() } else { 0 };
        let mut fields = Self { message, at };
        let columns = i16::from_be_bytes(fields.array()?);
        Ok((columns != END).then_some(fields))
    }

    /// The next column, which is never null.
    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = i32::from_be_bytes(self.array()?);
        let length = usize::try_from(length).map_err(|_| Malformed { at: self.at })?;
        self.take(length)
    }

    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| Malformed { at: self.at })
    }

    pub fn number(&mut self) -> Result<i64, Malformed> {
        let bytes = self.bytes()?;
        bytes.try_into().map(i64::from_be_bytes).map_err(|_| Malformed { at: self.at })
    }

    /// Microseconds since 2000.
    pub fn time(&mut self) -> Result<OffsetDateTime, Malformed> {
        let since = Duration::microseconds(self.number()?);
        EPOCH.checked_add(since).ok_or(Malformed { at: self.at })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| Malformed { at: self.at })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.saturating_add(length);
        let taken = self.message.get(self.at..end).ok_or(Malformed { at: self.at })?;
        self.at = end;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let at = datetime!(2026-02-08 06:11:00.000_001 UTC);
        let mut tuples = Tuples::first();
        tuples.row(3);
        tuples.put(&7_i64).unwrap();
        tuples.put(&"Zoë").unwrap();
        tuples.put(&at).unwrap();
        let mut fields = Fields::of(tuples.bytes()).unwrap().unwrap();
        assert_eq!(fields.number().unwrap(), 7);
        assert_eq!(fields.text().unwrap(), "Zoë");
        assert_eq!(fields.time().unwrap(), at);
        assert!(fields.text().is_err(), "there is no fourth column");
        let mut end = Tuples::default();
        end.end();
        assert!(Fields::of(end.bytes()).unwrap().is_none());
    }

    #[test]
    fn a_null_is_no_text() {
        let mut tuples = Tuples::default();
        tuples.row(1);
        tuples.put(&None::<String>).unwrap();
        assert!(Fields::of(tuples.bytes()).unwrap().unwrap().text().is_err());
    }
}
