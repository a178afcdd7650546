//! An archive's stream on its way to the extractor: what is not the contents of a file goes into the skeleton as well.

use std::io::{self, BufRead, Read};

use crate::skeleton::SkeletonWriter;

/// The stream, and who takes down what is read of it.
#[derive(Debug)]
pub(crate) struct Recording<'a, R> {
    input: R,
    skeleton: Option<&'a mut SkeletonWriter>,
    /// Whether contents are being read.
    contents: bool,
}

impl<'a, R: BufRead> Recording<'a, R> {
    pub(crate) fn new(input: R, skeleton: Option<&'a mut SkeletonWriter>) -> Self {
        Self {
            input,
            skeleton,
            contents: false,
        }
    }

    /// Who takes it down.
    pub(crate) fn skeleton(&mut self) -> Option<&mut SkeletonWriter> {
        self.skeleton.as_deref_mut()
    }

    /// The contents of a file begin.
    pub(crate) fn begin_contents(&mut self, path: &[u8], size: u64) {
        if let Some(skeleton) = &mut self.skeleton {
            skeleton.file(path, size);
        }
        self.contents = true;
    }

    /// They have ended.
    pub(crate) fn end_contents(&mut self) {
        self.contents = false;
    }
}

impl<R: BufRead> BufRead for Recording<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        if count > 0
            && !self.contents
            && let Some(skeleton) = &mut self.skeleton
            && let Ok(bytes) = self.input.fill_buf()
        {
            // What is consumed was shown before, so nothing is waited for.
            skeleton.raw(&bytes[..count.min(bytes.len())]);
        }
        self.input.consume(count);
    }
}

impl<R: BufRead> Read for Recording<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let count = available.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
