//! Compressed streams: the heads of gzip and zstd, and of the others that are told by theirs.

use std::io::{self, BufReader, Read};

use conex_archive::{ArchiveError, Compression, Limits, decompressed};

use crate::bytes::Random;
use crate::fuzzer::{Target, as_it_is, shape};

/// What is read of an input at most.
const LIMITS: Limits = Limits {
    size: 4 << 20,
    members: u64::MAX,
    ratio: 2000,
};

/// Reads an input through buffers of this size.
fn read(input: &[u8], buffer: usize) -> (Vec<u8>, Result<(), io::Error>) {
    let source = BufReader::with_capacity(buffer, input);
    let mut read = Vec::new();
    let outcome = decompressed(source, LIMITS).and_then(|mut archive| {
        let mut block = vec![0; buffer];
        loop {
            match archive.read(&mut block)? {
                0 => return Ok(()),
                count => read.extend_from_slice(&block[..count]),
            }
        }
    });
    (read, outcome)
}

fn check(input: &[u8]) -> String {
    let compression = Compression::of(input);
    let (whole, outcome) = read(input, 64 << 10);
    assert!(whole.len() as u64 <= LIMITS.size + (64 << 10), "more than is allowed");
    let (pieces, again) = read(input, 7);
    // Magic numbers are looked for in what is there at once: a pipe gives the first of them together.
    if compression == Compression::of(&input[..input.len().min(7)]) {
        assert_eq!(
            outcome.is_ok(),
            again.is_ok(),
            "{outcome:?} in one, {again:?} in pieces"
        );
        if outcome.is_ok() {
            assert!(
                whole == pieces,
                "{} bytes in one, {} in pieces",
                whole.len(),
                pieces.len()
            );
        }
    }
    match outcome {
        Ok(()) if compression == Compression::None => {
            assert!(whole == input);
            format!("{compression:?}")
        }
        Ok(()) => format!("{compression:?} {}", whole.len().ilog2_or_zero()),
        Err(error) => {
            let text = format!(
                "{compression:?} {} {}",
                shape(&error.to_string()),
                whole.len().ilog2_or_zero()
            );
            // Every error tells its place or its bound.
            let error = error.downcast::<ArchiveError>();
            assert!(error.is_ok(), "{error:?}");
            text
        }
    }
}

trait Log {
    fn ilog2_or_zero(self) -> u32;
}

impl Log for usize {
    fn ilog2_or_zero(self) -> u32 {
        self.checked_ilog2().unwrap_or(0)
    }
}

const GZIP: Target<'_> = Target {
    name: "gzip",
    words: &[
        b"\x1f\x8b\x08\x00",
        b"\x1f\x8b\x08\x1f",
        b"\x1f\x8b\x08\x04\0\0\0\0\0\0\xff\xff",
        b"\x03\0\0\0\0\0\0\0\0\0",
        b"\x01\0\0\xff\xff",
        b"\x05",
    ],
    mend: &as_it_is,
    check: &check,
};

const ZSTD: Target<'_> = Target {
    name: "zstd",
    words: &[
        b"\x28\xb5\x2f\xfd",
        b"\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x28\xb5\x2f\xfd\x00\xff",
        b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
        b"\x51\x2a\x4d\x18\x04\0\0\0abcd",
        b"\x03\0\x10\0",
        b"\x01\0\0",
    ],
    mend: &prefixed,
    check: &check,
};

/// The magic number stays most of the time.
fn prefixed(random: &mut Random, input: &mut [u8]) {
    if random.below(4) > 0 && input.len() > 4 {
        input[..4].copy_from_slice(b"\x28\xb5\x2f\xfd");
    }
}

#[test]
fn gzip_streams_are_read_within_bounds() {
    GZIP.run();
}

#[test]
fn zstd_streams_are_read_within_bounds() {
    ZSTD.run();
}

#[test]
#[ignore = "writes the corpus"]
fn keep_streams() {
    use std::process::{Command, Stdio};
    let through = |script: &str| {
        let output = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}");
        output.stdout
    };
    GZIP.keep(&[
        ("text", through("printf 'some text, some text' | gzip -n")),
        ("zeros", through("head -c 65536 /dev/zero | gzip -n -9")),
        (
            "members",
            through("printf a | gzip -n; printf b | gzip -n -1; printf '' | gzip -n"),
        ),
        (
            "stored",
            through("printf '\\037\\213\\010\\010\\0\\0\\0\\0\\0\\003name\\0\\001\\001\\0\\376\\377x'"),
        ),
        ("bzip2", through("printf 'some text' | bzip2")),
        ("none", b"no archive".to_vec()),
    ]);
    ZSTD.keep(&[
        ("text", through("printf 'some text, some text' | zstd -c")),
        ("zeros", through("head -c 1000000 /dev/zero | zstd -c")),
        ("window", through("head -c 70000 /dev/zero | zstd --ultra --long=31 -c")),
        (
            "skippable",
            through("printf '\\120\\052\\115\\030\\003\\0\\0\\0abc'; printf x | zstd -c"),
        ),
        ("frames", through("printf a | zstd -c; printf b | zstd --no-check -c")),
        ("xz", through("printf 'some text' | xz -c")),
    ]);
}
