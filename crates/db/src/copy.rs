//! PostgreSQL's binary `COPY` format (manual, "COPY", "Binary Format"): the fastest way in.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use chainflume_core::domain::U256;

use crate::StoreError;
use crate::convert::POSTGRES_EPOCH;

/// Signature, flags, length of the header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Bytes that are buffered before they are sent: large enough for few messages, small compared with a batch.
const CHUNK: usize = 256 * 1024;
/// Four digits of base 10000, the base of `numeric`.
const FOUR_DIGITS: u64 = 10_000_u64.pow(4);

/// Rows on their way into one `COPY`. A field fails when it is longer than two gigabytes.
pub struct Rows {
    buffer: Vec<u8>,
}

impl Default for Rows {
    fn default() -> Self {
        Self::new()
    }
}

impl Rows {
    /// Creates an empty buffer.
    pub fn new() -> Self {
        Self { buffer: HEADER.to_vec() }
    }

    /// Begins a row of `columns` fields.
    pub fn row(&mut self, columns: i16) {
        self.buffer.extend(columns.to_be_bytes());
    }

    fn field(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let length = i32::try_from(bytes.len())
            .map_err(|_| StoreError::OutOfRange { what: "length", value: bytes.len().to_string() })?;
        self.buffer.extend(length.to_be_bytes());
        self.buffer.extend(bytes);
        Ok(())
    }

    /// Adds a field without a value.
    pub fn null(&mut self) -> Result<(), StoreError> {
        self.buffer.extend((-1_i32).to_be_bytes());
        Ok(())
    }

    /// Adds bytes.
    pub fn bytea(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.field(bytes)
    }

    /// Adds bytes, or null.
    pub fn bytea_or_null(&mut self, bytes: Option<&[u8]>) -> Result<(), StoreError> {
        match bytes {
            Some(bytes) => self.field(bytes),
            None => self.null(),
        }
    }

    /// Adds text. It must not contain NUL, which PostgreSQL refuses.
    pub fn text(&mut self, text: &str) -> Result<(), StoreError> {
        self.field(text.as_bytes())
    }

    /// Adds a UUID, or null.
    pub fn uuid_or_null(&mut self, id: Option<Uuid>) -> Result<(), StoreError> {
        match id {
            Some(id) => self.field(id.as_bytes()),
            None => self.null(),
        }
    }

    /// Adds an `integer`.
    pub fn int4(&mut self, value: i32) -> Result<(), StoreError> {
        self.field(&value.to_be_bytes())
    }

    /// Adds a `bigint`.
    pub fn int8(&mut self, value: i64) -> Result<(), StoreError> {
        self.field(&value.to_be_bytes())
    }

    /// Adds a `bigint[]` without nulls. `array_recv`: dimensions, whether there are nulls, type of the elements, and for each
    /// dimension its size and its first index.
    pub fn int8_array(&mut self, values: &[i64]) -> Result<(), StoreError> {
        const INT8: i32 = 20;
        let count = i32::try_from(values.len())
            .map_err(|_| StoreError::OutOfRange { what: "length", value: values.len().to_string() })?;
        let header: &[i32] = if values.is_empty() { &[0, 0, INT8] } else { &[1, 0, INT8, count, 1] };
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
        for value in values {
            bytes.extend(8_i32.to_be_bytes());
            bytes.extend(value.to_be_bytes());
        }
        self.field(&bytes)
    }

    /// Adds a time in seconds since the Unix epoch, which must be within PostgreSQL's timestamps. It is converted to PostgreSQL's
    /// epoch before it is multiplied: the last timestamp in microseconds since 1970 would not fit.
    pub fn timestamptz(&mut self, seconds: i64) -> Result<(), StoreError> {
        self.int8((seconds - POSTGRES_EPOCH) * 1_000_000)
    }

    /// Adds a time in microseconds since the Unix epoch, of this century.
    pub fn timestamptz_micros(&mut self, micros: i64) -> Result<(), StoreError> {
        self.int8(micros - POSTGRES_EPOCH * 1_000_000)
    }

    /// Adds the text of a JSON value, or null.
    pub fn jsonb_or_null(&mut self, text: Option<&str>) -> Result<(), StoreError> {
        let Some(text) = text else { return self.null() };
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.push(1); // the format's version
        bytes.extend(text.as_bytes());
        self.field(&bytes)
    }

    /// Adds a `numeric`, or null.
    pub fn numeric_or_null(&mut self, value: Option<U256>) -> Result<(), StoreError> {
        match value {
            Some(value) => self.field(&numeric(value)),
            None => self.null(),
        }
    }
}

/// `numeric_recv`: number of digits, weight of the first, sign, decimals shown, digits of base 10000.
fn numeric(value: U256) -> Vec<u8> {
    let mut digits = base_10000(value);
    let weight = digits.len().saturating_sub(1);
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let mut bytes = Vec::with_capacity(8 + 2 * digits.len());
    for word in [digits.len(), weight, 0, 0] {
        bytes.extend(
            u16::try_from(word).expect("a 256-bit number has at most 20 digits of base 10000").to_be_bytes(),
        );
    }
    bytes.extend(digits.iter().flat_map(|digit| digit.to_be_bytes()));
    bytes
}

/// Most significant first, without leading zeros: empty for 0.
fn base_10000(value: U256) -> Vec<u16> {
    let mut limbs = value.into_limbs();
    let mut digits = Vec::with_capacity(20);
    while limbs != [0; 4] {
        let mut four = divide(&mut limbs, FOUR_DIGITS);
        for _ in 0..4 {
            digits.push(u16::try_from(four % 10_000).expect("a remainder of 10000 fits 16 bits"));
            four /= 10_000;
        }
    }
    while digits.last() == Some(&0) {
        digits.pop();
    }
    digits.reverse();
    digits
}

/// Long division in place, least significant limb first; returns the remainder.
fn divide(limbs: &mut [u64; 4], by: u64) -> u64 {
    let mut remainder = 0_u64;
    for limb in limbs.iter_mut().rev() {
        let dividend = u128::from(remainder) << 64 | u128::from(*limb);
        *limb =
            u64::try_from(dividend / u128::from(by)).expect("remainder < by, so the quotient fits 64 bits");
        remainder = u64::try_from(dividend % u128::from(by)).expect("less than the 64-bit divisor");
    }
    remainder
}

/// Sends the row that `write` makes of each item. Returns when the server has stored or refused all rows.
pub async fn copy_in<T>(
    connection: &mut PgConnection,
    statement: &'static str,
    items: &[T],
    write: impl Fn(&mut Rows, &T) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    copy_in_while(connection, statement, items, write, || ()).await
}

/// As [`copy_in`], and runs `meanwhile` while the server stores the last rows. Returns its result.
pub async fn copy_in_while<T, M>(
    connection: &mut PgConnection,
    statement: &'static str,
    items: &[T],
    write: impl Fn(&mut Rows, &T) -> Result<(), StoreError>,
    meanwhile: impl FnOnce() -> M,
) -> Result<M, StoreError> {
    let mut rows = Rows::new();
    let mut copy = connection.copy_in_raw(statement).await?;
    for item in items {
        if let Err(error) = write(&mut rows, item) {
            copy.abort("a row cannot be encoded").await?;
            return Err(error);
        }
        if rows.buffer.len() >= CHUNK {
            copy.send(rows.buffer.as_slice()).await?;
            rows.buffer.clear();
        }
    }
    rows.buffer.extend((-1_i16).to_be_bytes());
    copy.send(rows.buffer.as_slice()).await?;
    // Polled in this order, so the end of the copy is sent before `meanwhile` runs.
    let (taken, done) = tokio::join!(biased; copy.finish(), async { meanwhile() });
    taken?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(value: U256) -> Vec<u16> {
        numeric(value).chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
    }

    #[test]
    fn zero_has_no_digits() {
        assert_eq!(words(U256::ZERO), [0, 0, 0, 0]);
    }

    #[test]
    fn trailing_zeros_are_left_to_the_weight() {
        assert_eq!(words(U256::from(1)), [1, 0, 0, 0, 1]);
        assert_eq!(words(U256::from(10_000)), [1, 1, 0, 0, 1]);
        assert_eq!(words(U256::from(10_001)), [2, 1, 0, 0, 1, 1]);
        assert_eq!(words(U256::from(120_000_000_000_000_000_u64)), [1, 4, 0, 0, 12]);
        assert_eq!(words(U256::from(120_000_000_000_030_000_u64)), [4, 4, 0, 0, 12, 0, 0, 3]);
    }

    #[test]
    fn the_largest_number_has_twenty_digits() {
        let digits = [
            11, 5792, 892, 3731, 6195, 4235, 7098, 5008, 6879, 785, 3269, 9846, 6564, 564, 394, 5758, 4007,
            9131, 2963, 9935,
        ];
        assert_eq!(words(U256::MAX), [&[20, 19, 0, 0], digits.as_slice()].concat());
    }

    #[test]
    fn a_row_is_its_fields_with_their_lengths() {
        let mut rows = Rows::new();
        rows.row(5);
        rows.int8(-2).expect("fits");
        rows.text("s").expect("fits");
        rows.null().expect("fits");
        rows.timestamptz(POSTGRES_EPOCH + 1).expect("fits");
        rows.jsonb_or_null(Some("{}")).expect("fits");
        let expected: &[&[u8]] = &[
            HEADER,
            &[0, 5],
            &[0, 0, 0, 8, 255, 255, 255, 255, 255, 255, 255, 254],
            &[0, 0, 0, 1, b's'],
            &[255, 255, 255, 255],
            &[0, 0, 0, 8, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x40],
            &[0, 0, 0, 3, 1, b'{', b'}'],
        ];
        assert_eq!(rows.buffer, expected.concat());
    }
}
