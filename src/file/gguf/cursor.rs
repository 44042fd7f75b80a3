//! A position in a file with some bytes read ahead.

use super::value::Number;
use crate::file::ByteSource;
use crate::file::error::Error;

/// Bytes read at once: one request for a browser, one call for a file.
const READ_AHEAD: u64 = 64 << 10;

pub(super) struct Cursor<'a> {
    pub(super) source: &'a dyn ByteSource,
    /// The file's bytes before `buffer_end`, of which the first `used` were taken.
    buffer: Vec<u8>,
    used: usize,
    buffer_end: u64,
}

impl<'a> Cursor<'a> {
    /// The beginning of `source`.
    pub(super) fn new(source: &'a dyn ByteSource) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            used: 0,
            buffer_end: 0,
        }
    }

    /// Offset of the next byte.
    pub(super) fn position(&self) -> u64 {
        self.buffer_end - (self.buffer.len() - self.used) as u64
    }

    /// Refuses `n` things that are too many or, at `least_bytes` each, longer than the rest of the file.
    pub(super) fn check_count(
        &self,
        n: u64,
        limit: u64,
        least_bytes: u64,
        what: &str,
    ) -> Result<(), Error> {
        if n > limit {
            return Err(Error::OverLimit {
                file: self.source.name().to_owned(),
                what: what.to_owned(),
                limit,
                found: n,
            });
        }
        self.check_rest(n.saturating_mul(least_bytes), what)
    }

    /// The next `N` bytes.
    pub(super) async fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Error> {
        let bytes = self.take(N as u64, what).await?;
        Ok(*bytes.first_chunk().expect("as many as asked for"))
    }

    /// The next number.
    pub(super) async fn number<T: Number>(&mut self, what: &str) -> Result<T, Error> {
        Ok(T::from_le(self.take(T::N_BYTES as u64, what).await?))
    }

    /// The next `n` numbers.
    pub(super) async fn numbers<T: Number>(
        &mut self,
        n: usize,
        what: &str,
    ) -> Result<Vec<T>, Error> {
        self.check_rest((n as u64).saturating_mul(T::N_BYTES as u64), what)?;
        let mut numbers = Vec::with_capacity(n);
        while numbers.len() < n {
            let part = (n - numbers.len()).min(READ_AHEAD as usize / T::N_BYTES);
            let bytes = self.take((part * T::N_BYTES) as u64, what).await?;
            numbers.extend(bytes.chunks_exact(T::N_BYTES).map(T::from_le));
        }
        Ok(numbers)
    }

    /// The next string of at most `limit` bytes, its length first.
    pub(super) async fn str(&mut self, limit: u64, what: &str) -> Result<&str, Error> {
        let n: u64 = self.number(what).await?;
        self.check_count(n, limit, 1, &format!("the length of the string at {what}"))?;
        let file = self.source;
        let bytes = self.take(n, what).await?;
        std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8 {
            file: file.name().to_owned(),
            what: what.to_owned(),
        })
    }

    /// As [`Cursor::str`].
    pub(super) async fn string(&mut self, limit: u64, what: &str) -> Result<String, Error> {
        self.str(limit, what).await.map(str::to_owned)
    }

    /// The next `n` bytes, which the buffer grows to hold.
    async fn take(&mut self, n: u64, what: &str) -> Result<&[u8], Error> {
        self.check_rest(n, what)?;
        let n = n as usize;
        if self.buffer.len() - self.used < n {
            self.fill(n).await?;
        }
        let bytes = &self.buffer[self.used..][..n];
        self.used += n;
        Ok(bytes)
    }

    async fn fill(&mut self, n: usize) -> Result<(), Error> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let have = self.buffer.len();
        let rest = self.source.n_bytes() - self.buffer_end;
        let more = ((n - have) as u64).max(READ_AHEAD).min(rest);
        self.buffer.reserve_exact(more as usize);
        self.buffer.resize(have + more as usize, 0);
        self.source
            .read(self.buffer_end, &mut self.buffer[have..])
            .await?;
        self.buffer_end += more;
        Ok(())
    }

    fn check_rest(&self, n: u64, what: &str) -> Result<(), Error> {
        let need = self.position().saturating_add(n);
        if need <= self.source.n_bytes() {
            return Ok(());
        }
        Err(Error::Truncated {
            file: self.source.name().to_owned(),
            what: what.to_owned(),
            need,
            have: self.source.n_bytes(),
        })
    }
}
