//! Archives of every kind that there is.

use conex_tests::compressed;

const BLOCK: usize = 512;

/// A member that is being described.
#[derive(Clone)]
struct Member {
    header: [u8; BLOCK],
    contents: Vec<u8>,
    before: Vec<u8>,
}

fn member(name: &str, flag: u8) -> Member {
    let mut header = [0; BLOCK];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[156] = flag;
    header[257..265].copy_from_slice(b"ustar\x0000");
    let member = Member {
        header,
        contents: Vec::new(),
        before: Vec::new(),
    };
    let mode = if flag == b'5' { 0o755 } else { 0o644 };
    member.mode(mode).owner(0, 0).time(1_700_000_000)
}

fn file(name: &str, contents: &[u8]) -> Member {
    member(name, b'0').contents(contents)
}

fn directory(name: &str) -> Member {
    member(name, b'5')
}

fn link(name: &str, target: &str) -> Member {
    member(name, b'2').to(target)
}

fn hard(name: &str, target: &str) -> Member {
    member(name, b'1').to(target)
}

impl Member {
    fn octal(mut self, at: usize, width: usize, number: u64) -> Self {
        let text = format!("{number:0digits$o}", digits = width - 1);
        self.header[at..at + width - 1].copy_from_slice(text.as_bytes());
        self
    }

    /// GNU's numbers: two's complement.
    fn binary(mut self, at: usize, width: usize, number: i128) -> Self {
        let bytes = number.to_be_bytes();
        self.header[at..at + width].copy_from_slice(&bytes[16 - width..]);
        self.header[at] |= 0x80;
        self
    }

    fn mode(self, mode: u64) -> Self {
        self.octal(100, 8, mode)
    }

    fn owner(self, uid: u64, gid: u64) -> Self {
        self.octal(108, 8, uid).octal(116, 8, gid)
    }

    fn time(self, time: u64) -> Self {
        self.octal(136, 12, time)
    }

    fn device(self, major: u64, minor: u64) -> Self {
        self.octal(329, 8, major).octal(337, 8, minor)
    }

    fn to(mut self, target: &str) -> Self {
        self.header[157..157 + target.len()].copy_from_slice(target.as_bytes());
        self
    }

    fn contents(mut self, contents: &[u8]) -> Self {
        self.contents = contents.to_vec();
        self.octal(124, 12, contents.len() as u64)
    }

    /// An extended header before it.
    fn with(mut self, records: &[(&str, &[u8])]) -> Self {
        let records: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.before
            .extend(member("PaxHeaders/x", b'x').contents(&records).bytes());
        self
    }

    /// GNU's long name before it.
    fn long(mut self, flag: u8, name: &str) -> Self {
        let contents = [name.as_bytes(), b"\0"].concat();
        let mut long = member("././@LongLink", flag).contents(&contents);
        long.header[257..265].copy_from_slice(b"ustar  \0");
        self.before.extend(long.bytes());
        self.header[257..265].copy_from_slice(b"ustar  \0");
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut header = self.header;
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut bytes = [self.before.as_slice(), &header, &self.contents].concat();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if rest + length.to_string().len() != length {
        length += 1;
    }
    [length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
}

fn archive(members: &[Member]) -> Vec<u8> {
    let mut bytes: Vec<u8> = members.iter().flat_map(Member::bytes).collect();
    bytes.extend([0; 2 * BLOCK]);
    bytes
}

/// All of them, by name.
pub(crate) fn archives() -> Vec<(&'static str, Vec<u8>)> {
    let whole: Vec<(&'static str, Vec<u8>)> = [plain(), places(), numbers(), names(), attributes(), odd(), refused()]
        .concat()
        .into_iter()
        .map(|(name, members)| (name, archive(&members)))
        .collect();
    [whole, ends()].concat()
}

type Cases = Vec<(&'static str, Vec<Member>)>;

fn plain() -> Cases {
    let kinds = vec![
        directory("./").mode(0o711).owner(3, 4),
        directory("./dir/").mode(0o1777).owner(1000, 1001),
        file("./dir/file", b"contents\n").mode(0o4755).owner(1000, 1001),
        file("./dir/empty", b"").mode(0),
        file("./large", &[7; 300_000]).mode(0o2755),
        link("./dir/link", "file").owner(5, 6),
        link("./absolute", "/dir/file"),
        link("./dangling", "nowhere"),
        hard("./hard", "./dir/file").mode(0o4755).owner(1000, 1001),
        hard("./dir/again", "hard").mode(0o4755).owner(1000, 1001),
        member("./fifo", b'6').mode(0o620),
        member("./null", b'3').device(1, 3).mode(0o666),
        member("./disk", b'4').device(259, 70_000).owner(0, 6),
        file("./contiguous", b"x").mode(0o600),
        directory("./setgid/").mode(0o2775).owner(0, 50),
        file("./setgid/file", b"x").owner(1, 1),
        directory("./setgid/below/"),
    ];
    let whiteouts = vec![
        directory("opaque/"),
        file("opaque/.wh..wh..opq", b""),
        file("opaque/kept", b"x"),
        file(".wh.gone", b""),
        file("a/.wh.gone", b""),
        file("a/there", b"x"),
        file(".wh..wh.plnk", b""),
        directory(".wh..wh.aufs/"),
        file("late", b"x"),
        file("b/.wh..wh..opq", b""),
    ];
    let own = vec![file("there", b"x"), file(".wh.there", b"")];
    let before = vec![file(".wh.there", b""), file("there", b"x")];
    let dressed = vec![
        file("f", b"x").mode(0o600).owner(7, 7),
        hard("h", "f").mode(0o640).owner(8, 8),
    ];
    vec![
        ("kinds", kinds),
        ("whiteouts", whiteouts),
        ("whiteout-of-what-is-there", own),
        ("whiteout-before-it", before),
        ("hard-dressed", dressed),
    ]
}

fn places() -> Cases {
    let replaced = vec![
        file("a", b"file"),
        directory("a/").mode(0o700),
        file("b", b"one"),
        file("b", b"two").mode(0o600),
        directory("c/"),
        file("c/below", b"x"),
        file("c", b"file"),
        link("d", "b"),
        file("d", b"instead of the link"),
        directory("e/").mode(0o700),
        file("e/kept", b"x"),
        directory("e/").mode(0o750).owner(7, 8).time(1_600_000_000),
        link("f", "e"),
        directory("f/"),
        file("g", b"x"),
        hard("h", "g"),
        file("g", b"another"),
        directory("i/"),
        file("i/x", b"x"),
        link("i", "e"),
        member("j", b'6'),
        file("j", b"file"),
    ];
    let order = vec![
        file("a/b/c/file", b"x"),
        directory("a/b/").mode(0o700).time(1_500_000_000),
        file("a/b/late", b"x"),
        directory("z/").time(1_400_000_000),
        file("z/1", b"x"),
        file("z/2", b"x"),
        directory("z/3/"),
        file("dots/../plain", b"x"),
        file("doubled//slash", b"x"),
        file("trailing/", b""),
    ];
    let through = vec![
        directory("real/"),
        link("alias", "real"),
        file("alias/file", b"x"),
        directory("alias/dir/"),
        link("deep", "alias/dir"),
        file("deep/file", b"x"),
        hard("hard", "alias/file"),
        link("absolute", "/real"),
        hard("of-link", "alias"),
    ];
    vec![("replaced", replaced), ("order", order), ("through", through)]
}

fn numbers() -> Cases {
    let time = |name: &str, text: &str| file(name, b"x").with(&[("mtime", text.as_bytes())]);
    let times = vec![
        file("epoch", b"x").time(0),
        time("fraction", "1234567890.123456789"),
        time("finer", "1234567890.1234567899999"),
        time("short", "1234567890.5"),
        time("negative", "-1.25"),
        time("negative-whole", "-86400"),
        time("2100", "4102444800.000000001"),
        directory("dir/").with(&[("mtime", b"1111111111.222222222"), ("atime", b"99.5"), ("ctime", b"5")]),
        link("link", "x").with(&[("mtime", b"1000000000.999999999")]),
        member("fifo", b'6').with(&[("mtime", b"1000000000.000000001")]),
        file("binary", b"x").binary(136, 12, 5_000_000_000),
        file("binary-negative", b"x").binary(136, 12, -5_000_000),
        file("old", b"x").time(0o77_777_777_777),
    ];
    let huge = vec![
        time("huge", "99999999999"),
        file("larger", b"x").binary(136, 12, 1 << 50),
    ];
    let ids = vec![
        file("pax", b"x").with(&[("uid", b"4294967294"), ("gid", b"3000000000")]),
        file("binary", b"x")
            .binary(108, 8, 2_500_000)
            .binary(116, 8, 4_000_000_000),
        file("names", b"x").with(&[("uname", b"nobody"), ("gname", b"nogroup")]),
        directory("dir/").with(&[("uid", b"100000")]),
        link("link", "x").with(&[("uid", b"70000"), ("gid", b"70001")]),
    ];
    let one = |name: &'static str, member: Member| (name, vec![member]);
    vec![
        ("times", times),
        ("times-beyond", huge),
        ("ids", ids),
        one("id-no-change", file("f", b"x").with(&[("uid", b"4294967295")])),
        one("id-beyond", file("f", b"x").with(&[("uid", b"4294967301")])),
        one("id-negative", file("f", b"x").with(&[("uid", b"-1")])),
        one("id-binary-negative", file("f", b"x").binary(108, 8, -2)),
        one(
            "size-extended",
            file("f", b"abc").octal(124, 12, 0).with(&[("size", b"3")]),
        ),
        one("size-of-directory", directory("d/").octal(124, 12, 0)),
        one("size-of-link", hard("h", "h2").octal(124, 12, 5)),
        one("mode-of-type", file("f", b"x").mode(0o100_644)),
        one(
            "device-large",
            member("d", b'3').octal(329, 8, 4095).octal(337, 8, 1_048_575),
        ),
    ]
}

fn names() -> Cases {
    let (long, longer) = ("long-name/".repeat(20), format!("{}file", "longer/".repeat(60)));
    let prefixed = |name: &str, prefix: &str| {
        let mut member = file(name, b"x");
        member.header[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
        member
    };
    let gnu = vec![
        directory("d/").long(b'L', &long),
        file("f", b"x").long(b'L', &longer),
        link("l", "t").long(b'K', &longer),
        hard("h", "t").long(b'K', &longer).long(b'L', "both-of-them"),
    ];
    let pax = vec![
        file("f", b"x").with(&[("path", longer.as_bytes())]),
        file("f", b"x").with(&[("path", "caf\u{e9}/\u{65e5}\u{672c}/\u{1f600}".as_bytes())]),
        file("f", b"x").with(&[("path", b"not-utf-8-\xff\xfe")]),
        file("f", b"x").with(&[("path", b"new\nline"), ("comment", b"what nobody reads")]),
        link("l", "t").with(&[("linkpath", longer.as_bytes())]),
        hard("h", "t").with(&[("linkpath", longer.as_bytes())]),
        // The last counts, and of two headers the second.
        file("f", b"x").with(&[("path", b"first"), ("path", b"second")]),
        file("g", b"x")
            .with(&[("path", b"lost"), ("mtime", b"5")])
            .with(&[("uid", b"9")]),
        // A long name of GNU's beside a path.
        file("f", b"x").long(b'L', "gnu-wins").with(&[("path", b"pax-loses")]),
        file("empty", b"x").with(&[("path", b"")]),
    ];
    let ustar = vec![prefixed("name", "prefix/of/it"), prefixed("plain", "")];
    let mut old = file("of-version-7", b"x");
    old.header[257..].fill(0);
    let mut odd = file("old-gnu", b"x");
    odd.header[257..265].copy_from_slice(b"ustar  \0");
    vec![
        ("names-gnu", gnu),
        ("names-pax", pax),
        ("names-ustar", ustar),
        ("headers-old", vec![old, odd]),
    ]
}

fn attributes() -> Cases {
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    // An access control list (acl(5)): owner, a user, group, mask, others.
    let acl = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x07\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
    let attributes = vec![
        file("user", b"x").with(&[
            ("SCHILY.xattr.user.a", b"value"),
            ("SCHILY.xattr.user.b", b"\x00\xff\n"),
        ]),
        file("empty", b"x").with(&[("SCHILY.xattr.user.empty", b"")]),
        file("capable", b"x")
            .mode(0o755)
            .owner(1, 2)
            .with(&[("SCHILY.xattr.security.capability", capability)]),
        file("trusted", b"x").with(&[("SCHILY.xattr.trusted.a", b"b")]),
        file("acl", b"x")
            .mode(0o674)
            .with(&[("SCHILY.xattr.system.posix_acl_access", acl)]),
        directory("acls/").mode(0o674).with(&[
            ("SCHILY.xattr.system.posix_acl_access", acl),
            ("SCHILY.xattr.system.posix_acl_default", acl),
        ]),
        file("acls/inherits", b"x").mode(0o640),
        directory("user-of-directory/").with(&[("SCHILY.xattr.user.a", b"value")]),
        member("fifo", b'6').with(&[("SCHILY.xattr.trusted.a", b"b")]),
        file("other-form", b"x").with(&[
            ("LIBARCHIVE.xattr.user.a", b"dmFsdWU="),
            ("SCHILY.acl.access", b"user::rw-"),
        ]),
    ];
    let overlay = vec![
        directory("steers/").with(&[("SCHILY.xattr.trusted.overlay.opaque", b"y")]),
        directory("steers-user/").with(&[("SCHILY.xattr.user.overlay.opaque", b"y")]),
    ];
    let unusable = |name: &'static str, key: &str, value: &[u8]| (name, vec![file("f", b"x").with(&[(key, value)])]);
    vec![
        ("attributes", attributes),
        ("attributes-of-overlayfs", overlay),
        unusable("attribute-of-nothing", "SCHILY.xattr.nosuch.a", b"b"),
        unusable(
            "attribute-of-a-wrong-capability",
            "SCHILY.xattr.security.capability",
            b"x",
        ),
        unusable(
            "attribute-of-a-wrong-list",
            "SCHILY.xattr.system.posix_acl_access",
            b"x",
        ),
        unusable("attribute-without-a-name", "SCHILY.xattr.", b"x"),
        (
            "attribute-of-a-link",
            vec![link("l", "x").with(&[("SCHILY.xattr.user.a", b"b")])],
        ),
    ]
}

fn odd() -> Cases {
    let realsize = |size: &str, map: &str, stored: &[u8]| {
        let mut contents = map.as_bytes().to_vec();
        contents.resize(contents.len().next_multiple_of(BLOCK), 0);
        contents.extend(stored);
        file("GNUSparseFile.0/f", &contents).with(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"of-1.0"),
            ("GNU.sparse.realsize", size.as_bytes()),
        ])
    };
    let sparse = vec![
        realsize("5000", "2\n0\n3\n4096\n2\n", b"abcde"),
        file("of-0.1", b"abcde").with(&[
            ("GNU.sparse.size", b"5000"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.map", b"0,3,4096,2"),
        ]),
        file("of-0.0", b"abcde").with(&[
            ("GNU.sparse.size", b"5000"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.offset", b"0"),
            ("GNU.sparse.numbytes", b"3"),
            ("GNU.sparse.offset", b"4096"),
            ("GNU.sparse.numbytes", b"2"),
        ]),
    ];
    let mut global =
        member("pax_global_header", b'g').contents(&[record("mtime", b"5"), record("uid", b"77")].concat());
    global.header[257..265].copy_from_slice(b"ustar\x0000");
    let one = |name: &'static str, flag: u8| (name, vec![member("f", flag), file("after", b"x")]);
    let mut old_sparse = member("old", b'S').contents(b"ab").octal(386, 12, 0).octal(398, 12, 1);
    old_sparse = old_sparse.octal(410, 12, 700).octal(422, 12, 1).octal(483, 12, 1000);
    old_sparse.header[257..265].copy_from_slice(b"ustar  \0");
    vec![
        ("sparse", sparse),
        ("sparse-old", vec![old_sparse]),
        ("global-header", vec![global, file("after", b"x")]),
        one("type-contiguous", b'7'),
        one("type-nul", 0),
        one("type-label", b'V'),
        one("type-volumes", b'M'),
        one("type-dump", b'D'),
        one("type-solaris", b'X'),
        one("type-unknown", b'Z'),
        ("sparse-too-short", vec![realsize("3", "1\n0\n5\n", b"abcde")]),
        ("sparse-that-lies", vec![realsize("5000", "2\n0\n3\n1\n2\n", b"abcde")]),
    ]
}

fn refused() -> Cases {
    let alone = |name: &'static str, member: Member| (name, vec![member]);
    vec![
        alone("out-parent", file("../f", b"x")),
        alone("out-later", file("a/../../f", b"x")),
        alone("out-absolute", file("/f", b"x")),
        alone("out-link", link("l", "../../x")),
        alone("out-hard", hard("h", "../x")),
        alone("out-hard-absolute", hard("h", "/etc/passwd")),
        ("out-through", vec![link("l", "/tmp"), file("l/f", b"x")]),
        (
            "out-through-parents",
            vec![directory("a/"), link("a/l", "../a"), file("a/l/f", b"x")],
        ),
        alone("hard-to-nothing", hard("h", "nowhere")),
        ("hard-to-directory", vec![directory("d/"), hard("h", "d")]),
        ("hard-to-itself", vec![file("f", b"x"), hard("f", "f")]),
        ("hard-to-link", vec![link("l", "nowhere"), hard("h", "l")]),
        ("below-a-file", vec![file("f", b"x"), file("f/g", b"x")]),
        alone(
            "name-too-long",
            file("f", b"x").with(&[("path", "n".repeat(300).as_bytes())]),
        ),
        alone(
            "path-too-long",
            file("f", b"x").with(&[("path", "n/".repeat(2100).as_bytes())]),
        ),
        alone("name-with-nul", file("f", b"x").with(&[("path", b"a\0b")])),
        alone("whiteout-of-nothing", file(".wh.", b"")),
        alone("whiteout-of-parent", file(".wh...", b"")),
        alone("whiteout-of-itself", file(".wh..", b"")),
        alone("name-empty", file("", b"x")),
        alone("root-as-file", file("./", b"")),
        alone("root-as-link", link(".", "x")),
        alone("record-wrong", {
            let mut member = file("f", b"x");
            member.before = self::member("x", b'x').contents(b"99 path=a\n").bytes();
            member
        }),
    ]
}

/// How an archive may end.
fn ends() -> Vec<(&'static str, Vec<u8>)> {
    let whole = archive(&[file("first", b"x"), file("second", &[b'y'; 600])]);
    let members = whole.len() - 2 * BLOCK;
    vec![
        ("end-none", whole[..members].to_vec()),
        ("end-one-block", whole[..members + BLOCK].to_vec()),
        (
            "end-and-more",
            [whole.as_slice(), b"what follows".repeat(100).as_slice()].concat(),
        ),
        (
            "end-and-another",
            [whole.as_slice(), &archive(&[file("third", b"x")])].concat(),
        ),
        ("end-in-padding", whole[..members - 100].to_vec()),
        ("end-in-contents", whole[..members - 600].to_vec()),
        ("end-in-header", whole[..2 * BLOCK + 100].to_vec()),
        ("end-at-once", vec![0; 2 * BLOCK]),
        ("nothing", Vec::new()),
    ]
}

/// An archive in every compression: whether all of it is to come out.
pub(crate) fn compressions(plain: &[u8]) -> Vec<(&'static str, Vec<u8>, bool)> {
    let half = plain.len() / 2;
    let parts = |program: &str| [compressed(program, &plain[..half]), compressed(program, &plain[half..])].concat();
    let (gzip, zstd) = (compressed("gzip", plain), compressed("zstd", plain));
    // What zstd:chunked adds: frames that are passed over, with a table of contents.
    let skipped = |contents: &[u8]| {
        [
            b"\x50\x2a\x4d\x18",
            (contents.len() as u32).to_le_bytes().as_slice(),
            contents,
        ]
        .concat()
    };
    let chunked = [zstd.as_slice(), &skipped(b"table of contents"), &skipped(&[0; 64])].concat();
    let garbage = |packed: &[u8]| [packed, b"garbage"].concat();
    vec![
        ("none", plain.to_vec(), true),
        ("gzip", gzip.clone(), true),
        ("zstd", zstd.clone(), true),
        ("bzip2", compressed("bzip2", plain), true),
        ("xz", compressed("xz", plain), true),
        ("gzip in parts", parts("gzip"), true),
        ("zstd in parts", parts("zstd"), true),
        ("bzip2 in parts", parts("bzip2"), true),
        ("xz in parts", parts("xz"), true),
        ("zstd:chunked", chunked, true),
        (
            "zstd, passed over first",
            [skipped(b"first"), zstd.clone()].concat(),
            false,
        ),
        ("gzip and garbage", garbage(&gzip), false),
        ("zstd and garbage", garbage(&zstd), false),
        ("gzip, cut", gzip[..gzip.len() / 2].to_vec(), false),
        ("zstd, cut", zstd[..zstd.len() / 2].to_vec(), false),
    ]
}
