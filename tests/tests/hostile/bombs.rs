//! Layers that are small where they come from and large here: they are refused within bounds, and so is the daemon's memory.

use std::fs;

use conex_tests::{Engine, Said, Sandbox, archive_from, compressed, through};
use tar::EntryType;

use crate::making::member;
use crate::state::{State, refused, state};

/// Most memory that the daemon may have had, KiB: two windows of 128 MiB, and what it has anyway.
const PEAK: u64 = 400 << 10;

struct Bombs {
    sandbox: Sandbox,
    before: State,
}

impl Bombs {
    fn within(flags: &[&str]) -> Self {
        let sandbox = Sandbox::with_flags(Engine::Conex, flags);
        let before = state(&sandbox);
        Self { sandbox, before }
    }

    fn import(&self, layer: &[u8]) -> Said {
        self.sandbox.with_input(&["import", "-", "bomb:1"], layer)
    }

    /// Refused as an archive that is imported.
    fn refused(&self, what: &str, layer: &[u8], words: &[&str]) {
        refused(&self.sandbox, &self.before, what, &self.import(layer), words);
        let usage = self.sandbox.daemon_usage();
        assert!(usage.peak < PEAK, "{what}: {usage:?}");
    }

    /// Refused as a layer of an image that is loaded, too; told is which.
    fn refused_in_image(&self, what: &str, layer: &[u8], words: &[&str]) {
        let fields = r#""config":{}"#;
        let archive = archive_from(&["bomb:1"], fields, &[layer]);
        let said = self.sandbox.with_input(&["load"], &archive);
        refused(
            &self.sandbox,
            &self.before,
            what,
            &said,
            &[words, &["(layer sha256:"]].concat(),
        );
    }

    /// What is not too much comes in, and goes.
    fn taken(&self, what: &str, layer: &[u8]) {
        let said = self.import(layer);
        assert_eq!(said.code, 0, "{what}: {said:?}");
        self.sandbox.ok(&["rmi", "bomb:1"]);
    }
}

/// A compressed archive of one file of zeros, of so many bytes.
fn zeros(program: &str, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_path("zeros").unwrap();
    header.set_cksum();
    let blocks = size.next_multiple_of(512) + 1024;
    through(
        &format!("{{ cat; head -c {blocks} /dev/zero; }} | {program} -c"),
        header.as_bytes(),
    )
}

/// What a script of python(1) writes, compressed.
fn scripted(script: &str) -> Vec<u8> {
    through(&format!("python3 -c '{script}' | gzip -1 -c"), b"")
}

#[test]
fn what_decompresses_to_too_much_is_refused() {
    let bombs = Bombs::within(&["--max-layer-size=100MB", "--max-layer-ratio=500"]);
    // Beyond the largest file that a bound of the ratio lets pass at all, and well within the size.
    for program in ["gzip", "zstd", "xz", "bzip2"] {
        let dense = zeros(program, 90 << 20);
        bombs.refused(
            program,
            &dense,
            &["decompresses to more than 500 times its size (max-layer-ratio)"],
        );
    }
    let bombs = Bombs::within(&["--max-layer-size=100MB"]);
    for program in ["gzip", "zstd", "xz", "bzip2"] {
        let large = zeros(program, 120 << 20);
        let words = &["the layer has more than 100000000 bytes (max-layer-size)", "zeros"];
        bombs.refused(program, &large, words);
        bombs.taken(program, &zeros(program, 90 << 20));
    }
    // A file that is too large is refused by what its header says; many files are by what comes.
    let many = scripted(
        "import sys\nfor n in range(200):\n h = bytearray(512); h[0:3] = b\"%03d\" % n; h[124:135] = b\"00004000000\"; \
         h[148:156] = b\" \" * 8; h[148:155] = b\"%06o\\0\" % sum(h); sys.stdout.buffer.write(h + bytes(1 << 20))",
    );
    bombs.refused("many", &many, &["(max-layer-size)"]);
    bombs.refused_in_image("many", &many, &["(max-layer-size)"]);
    // Archives within an archive that is itself compressed.
    let outer = archive_from(&["bomb:1"], r#""config":{}"#, &[&vec![0; 150 << 20]]);
    let said = bombs.sandbox.with_input(&["load"], &compressed("gzip", &outer));
    let words = ["invalid archive: ", "/layer.tar has more than 100000000 bytes"];
    refused(&bombs.sandbox, &bombs.before, "a file of an archive", &said, &words);
}

#[test]
fn windows_and_dictionaries_beyond_the_bounds_are_refused() {
    let bombs = Bombs::within(&[]);
    let size = 300 << 20;
    // Two gigabytes for a window.
    bombs.refused(
        "zstd",
        &zeros("zstd --ultra --long=31", size),
        &["(byte ", "of the compressed archive)"],
    );
    bombs.refused(
        "xz",
        &zeros("xz --lzma2=dict=192MiB,mode=fast,mf=hc3", 1 << 20),
        &["(byte ", "of the compressed archive)"],
    );
    bombs.taken("zstd", &zeros("zstd --long=27", size));
    let usage = bombs.sandbox.daemon_usage();
    assert!(usage.peak < PEAK, "{usage:?}");
}

#[test]
fn millions_of_members_are_refused() {
    let bombs = Bombs::within(&["--max-layer-entries=2000"]);
    let members = |count: u32| {
        scripted(&format!(
            "import sys\nfor n in range({count}):\n h = bytearray(512); h[0:8] = b\"%08d\" % n; h[148:156] = b\" \" * 8; \
             h[148:155] = b\"%06o\\0\" % sum(h); sys.stdout.buffer.write(h)"
        ))
    };
    let links = scripted(
        "import sys\nfor n in range(200000):\n h = bytearray(512); h[0:8] = b\"%08d\" % n; h[156] = 50; h[148:156] = b\" \" * 8; \
         h[148:155] = b\"%06o\\0\" % sum(h); sys.stdout.buffer.write(h)",
    );
    let millions = members(2_000_000);
    let words = ["\"00002000\": the layer has more than 2000 entries (max-layer-entries)"];
    bombs.refused("millions", &millions, &words);
    bombs.refused_in_image("millions", &millions, &words);
    bombs.taken("as many as may be", &members(2000));
    // An archive of images has a bound of its own.
    let said = bombs.sandbox.with_input(&["load"], &links);
    let words = ["invalid archive: ", "there are more than 131072 files before it"];
    refused(&bombs.sandbox, &bombs.before, "an archive of images", &said, &words);
    // Directories that come again and again are kept in mind once.
    let again = scripted(
        "import sys\nh = bytearray(512); h[0:2] = b\"d/\"; h[100:107] = b\"0000755\"; h[156] = 53; h[148:156] = b\" \" * 8; \
         h[148:155] = b\"%06o\\0\" % sum(h)\nfor n in range(2000): sys.stdout.buffer.write(h)",
    );
    bombs.taken("one directory", &again);
}

#[test]
fn sparse_files_of_petabytes_are_refused() {
    let bombs = Bombs::within(&[]);
    let sparse = |size: &str| {
        let digits = |text: &str| format!("{} {text}\n", text.len() + 2 + digits_of(text.len()));
        let records: String = ["GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=hole"]
            .map(digits)
            .concat()
            + &digits(&format!("GNU.sparse.realsize={size}"));
        let mut map = b"0\n".to_vec();
        map.resize(512, 0);
        [
            member("pax", EntryType::XHeader, records.as_bytes()),
            member("hole", EntryType::Regular, &map),
            vec![0; 1024],
        ]
        .concat()
    };
    for size in ["4000000000000000", "9223372036854775807"] {
        bombs.refused(
            size,
            &sparse(size),
            &["\"hole\": the layer has more than 1000000000000 bytes (max-layer-size)"],
        );
    }
    bombs.refused(
        "18446744073709551615",
        &sparse("18446744073709551615"),
        &["invalid tar header", "(byte "],
    );
    bombs.taken("a gigabyte", &sparse("1000000000"));
    // Without a bound it is for the file system to say.
    let unbounded = Bombs::within(&["--max-layer-size=0"]);
    unbounded.refused(
        "9223372036854775807",
        &sparse("9223372036854775807"),
        &["extend \"hole\""],
    );
}

/// How many digits the length of a record adds to it.
fn digits_of(length: usize) -> usize {
    if length + 4 >= 100 { 3 } else { 2 }
}

#[test]
fn extended_headers_of_any_size_and_number_are_bounded() {
    let bombs = Bombs::within(&[]);
    // One that says it has gigabytes, and has.
    let large = through(
        "python3 -c 'import sys\nh = bytearray(512); h[0:3] = b\"pax\"; h[124:135] = b\"20000000000\"; h[156] = 120; \
         h[148:156] = b\" \" * 8; h[148:155] = b\"%06o\\0\" % sum(h); sys.stdout.buffer.write(h)' | cat - /dev/zero \
         | head -c 2147484160 | gzip -1 -c",
        b"",
    );
    bombs.refused("large", &large, &["extension is too long (byte 0 of the archive)"]);
    // Very many before one member, each with attributes; and global ones.
    for (flag, words) in [(120, "unexpected EOF"), (103, "unexpected EOF")] {
        let many = scripted(&format!(
            "import sys\nr = b\"\".join(b\"37 SCHILY.xattr.user.%08d=value-\\n\" % n for n in range(28000))\n\
             h = bytearray(512); h[0:3] = b\"pax\"; h[124:135] = b\"%011o\" % len(r); h[156] = {flag}; h[148:156] = b\" \" * 8; \
             h[148:155] = b\"%06o\\0\" % sum(h)\nr += bytes(-len(r) % 512)\n\
             for n in range(600): sys.stdout.buffer.write(h + r)\nsys.stdout.buffer.write(b\"x\" * 100)"
        ));
        bombs.refused("many", &many, &[words]);
    }
}

#[test]
fn directories_of_any_depth_come_and_go() {
    // As few descriptors as many services get.
    let sandbox = Sandbox::started_by(&["prlimit", "--nofile=1024:1024"]);
    let before = state(&sandbox);
    // By links a tree becomes deeper than a path can tell.
    let chained = scripted(
        "import sys\ndef w(name, flag, link=b\"\"):\n r = b\"\"\n for k, v in ((b\"path\", name), (b\"linkpath\", link)):\n  \
         if v:\n   b = b\" \" + k + b\"=\" + v + b\"\\n\"; n = len(b) + 4; r += (b\"%04d\" % n) + b\n \
         for f, d in ((120, r), (flag, b\"\")):\n  h = bytearray(512); h[0:1] = b\"x\"; h[100:107] = b\"0000755\"; h[124:135] = b\"%011o\" % len(d); \
         h[156] = f; h[148:156] = b\" \" * 8; h[148:155] = b\"%06o\\0\" % sum(h)\n  \
         sys.stdout.buffer.write(h + d + bytes(-len(d) % 512))\n\
         deep = b\"/\".join([b\"d\"] * 1000)\nw(deep, 53)\nw(b\"l0\", 50, deep)\n\
         for n in range(8):\n  w(b\"l%d/\" % n + deep, 53); w(b\"l%d\" % (n + 1), 50, b\"l%d/\" % n + deep)",
    );
    let said = sandbox.with_input(&["import", "-", "bomb:1"], &chained);
    refused(&sandbox, &before, "chained", &said, &["symbolic links lead too deep"]);
    // As deep as a name can tell: taken, used, given back and removed.
    let name = "d/".repeat(2047);
    let record = format!(" path={name}\n");
    let record = format!("{}{record}", record.len() + 4);
    let deep = [
        member("pax", EntryType::XHeader, record.as_bytes()),
        member("d", EntryType::Directory, b""),
        vec![0; 1024],
    ]
    .concat();
    let said = sandbox.with_input(&["import", "-", "deep:1"], &deep);
    assert_eq!(said.code, 0, "{said:?}");
    let saved = sandbox.dir().join("saved.tar");
    sandbox.ok(&["save", "-o", saved.to_str().unwrap(), "deep:1"]);
    assert!(fs::metadata(&saved).unwrap().len() > deep.len() as u64);
    sandbox.ok(&["rmi", "deep:1"]);
    crate::state::assert_unchanged(&sandbox, &before, "a deep tree");
}
