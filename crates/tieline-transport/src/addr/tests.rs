//! The grammar as a whole: every address survives being printed; every fault points and helps.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tieline_os::Mode;

use super::*;
use crate::frame::Framing;

fn read(text: &str) -> Address {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn fault(text: &str) -> AddressError {
    match text.parse::<Address>() {
        Ok(address) => panic!("{text:?} was taken as {address:?}"),
        Err(error) => error,
    }
}

#[test]
fn targets_are_typed() {
    let path = |path: &str| UnixName::Path(path.into());
    let at = |host: Host, port| Authority { host, port };
    let given = [
        ("unix:/run/a.sock", Target::Unix(path("/run/a.sock"))),
        ("unix:relative", Target::Unix(path("relative"))),
        ("unix:@abs%00tract", Target::Unix(UnixName::Abstract(b"abs\0tract".to_vec()))),
        ("unix:%40file", Target::Unix(path("@file"))),
        ("unix-seqpacket:/a b", Target::UnixSeqpacket(path("/a b"))),
        ("fd:3", Target::Fd { read: 3, write: None }),
        ("fd:3,4", Target::Fd { read: 3, write: Some(4) }),
        ("mq:/jobs", Target::Mq("/jobs".into())),
        ("sysv-mq:0xFFFFffff", Target::SysvMq(SysvName::Key(u32::MAX))),
        ("sysv-shm:17", Target::SysvShm(SysvName::Key(17))),
        ("sysv-shm:id:0", Target::SysvShm(SysvName::Id(0))),
        ("tcp:localhost:80", Target::Tcp(at(Host::Name("localhost".into()), 80))),
        ("tcp://10.0.0.1:80", Target::Tcp(at(Host::V4(Ipv4Addr::new(10, 0, 0, 1)), 80))),
        ("tcp:[::1]:0", Target::Tcp(at(Host::V6(Ipv6Addr::LOCALHOST), 0))),
        ("udp:*:53", Target::Udp(at(Host::Any, 53))),
        ("vsock:any:1", Target::Vsock { cid: Cid::Any, port: 1 }),
        ("ws:h:1/a%3Fb/", Target::Ws { at: at(Host::Name("h".into()), 1), path: "/a?b/".into() }),
        ("exec:grep 'a?b' %s | wc", Target::Exec("grep 'a?b' %s | wc".into())),
        ("hub:a%40b@h:1", Target::Hub { name: "a@b".into(), at: Some(at(Host::Name("h".into()), 1)) }),
        ("amqp://u:p@h/v?x=1", Target::Foreign { scheme: Scheme::Amqp, rest: "//u:p@h/v?x=1".into() }),
    ];
    for (text, target) in given {
        assert_eq!(*read(text).target(), target, "{text}");
    }
}

#[test]
fn options_are_typed() {
    let address =
        read("mq:/q?create=new&mode=660&owner=:staff&capacity=10&message-size=8K&timeout=200ms&priority=32767");
    let options = address.options();
    assert_eq!((options.create, options.mode), (Some(Create::New), Some(Mode::GROUP)));
    assert_eq!((options.capacity, options.message_size), (Some(10), Some(8192)));
    assert_eq!((options.timeout, options.priority), (Some(Duration::from_millis(200)), Some(32_767)));
    let owner = options.owner.as_ref().unwrap();
    assert_eq!((owner.user(), owner.group()), (None, Some("staff")));
    assert_eq!(read("sysv-mq:1?type=-5").options().kind, Some(-5));
    assert_eq!(read("unix:/a?frame=u32").options().frame, Some(Framing::default()));
    let bound = read("udp:h:1?bind=127.0.0.1:9").bind().unwrap();
    assert_eq!(bound.to_string(), "127.0.0.1:9");
}

#[test]
fn equal_meanings_print_alike() {
    let given = [
        ("tcp://localhost:80", "tcp:localhost:80"),
        ("tcp:[0:0:0:0:0:0:0:1]:1", "tcp:[::1]:1"),
        ("fifo:/f?capacity=65536&mode=600", "fifo:/f?mode=0600&capacity=64K"),
        ("unix:/a?listen=true", "unix:/a?listen=yes"),
        ("sysv-mq:1234", "sysv-mq:0x4d2"),
        ("fifo:/a%2fb", "fifo:/a/b"),
    ];
    for (text, canonical) in given {
        assert_eq!(read(text).to_string(), canonical);
    }
}

/// Each fault is pointed at, and the way out is in the sentence.
#[test]
fn faults_point_and_help() {
    use AddressErrorKind as Kind;
    let given = [
        ("", Kind::NoScheme, 0, "unix:/run/app.sock"),
        ("-", Kind::NoScheme, 0, "stdio:"),
        ("/tmp/a?b", Kind::NoScheme, 0, "unix:/tmp/a%3Fb"),
        ("./a", Kind::NoScheme, 0, "fifo:./a"),
        ("@bus", Kind::NoScheme, 0, "unix:@bus"),
        ("8080", Kind::NoScheme, 0, "tcp:localhost:8080"),
        ("127.0.0.1:80", Kind::NoScheme, 0, "tcp:127.0.0.1:80"),
        ("[::1]:80", Kind::NoScheme, 0, "tcp:[::1]:80"),
        ("localhost:80", Kind::UnknownScheme, 0, "tcp:localhost:80"),
        ("db.example.org:5432", Kind::UnknownScheme, 0, "tcp:db.example.org:5432"),
        ("tpc:h:1", Kind::UnknownScheme, 0, "did you mean tcp:?"),
        ("unix-stream:/a", Kind::UnknownScheme, 0, "did you mean unix:PATH?"),
        ("zookeeper:x", Kind::UnknownScheme, 0, "schemes are shm, unix, unix-dgram"),
        ("unix:", Kind::Target, 5, "unix:PATH"),
        ("unix:@", Kind::Target, 6, "abstract name is empty"),
        ("unix:/a%00b", Kind::Target, 5, "NUL"),
        ("unix:/a%4", Kind::Encoding, 7, "%25"),
        ("inproc:%ff", Kind::Encoding, 7, "UTF-8"),
        ("pipe:/tmp/f", Kind::Target, 5, "fifo:/tmp/f"),
        ("stdio:x", Kind::Target, 6, "stdio:"),
        ("fd:", Kind::Target, 3, "descriptor"),
        ("fd:-1", Kind::Target, 3, "descriptor"),
        ("fd:3,", Kind::Target, 5, "descriptor"),
        ("fd:1,2,3", Kind::Target, 5, "descriptor"),
        ("fd:4294967295", Kind::Target, 3, "descriptor"),
        ("mq:jobs", Kind::Target, 3, "mq:/NAME"),
        ("mq:/a/b", Kind::Target, 3, "one slash"),
        ("sysv-mq:0", Kind::Target, 8, "IPC_PRIVATE"),
        ("sysv-mq:0x+1", Kind::Target, 8, "key"),
        ("sysv-mq:id:-1", Kind::Target, 11, "identifier"),
        ("tcp:localhost", Kind::Target, 13, "no port"),
        ("tcp::80", Kind::Target, 4, "no host"),
        ("tcp:::1:80", Kind::Target, 4, "[::1]"),
        ("tcp:[::1]", Kind::Target, 9, "no port"),
        ("tcp:[::1:80", Kind::Target, 4, "brackets"),
        ("tcp:1.2.3:80", Kind::Target, 4, "IPv4"),
        ("tcp:h:65536", Kind::Target, 6, "65535"),
        ("tcp:h:+1", Kind::Target, 6, "port"),
        ("tcp:a b:1", Kind::Target, 5, "letters"),
        ("vsock:2:1", Kind::Target, 6, "from 3 on"),
        ("exec:", Kind::Target, 5, "COMMAND"),
        ("tcp:h:1?", Kind::OptionValue, 8, "key=value"),
        ("tcp:h:1?listen", Kind::OptionValue, 8, "key=value"),
        ("tcp:h:1?listen=maybe", Kind::OptionValue, 15, "yes or no"),
        ("tcp:h:1?timeout=5", Kind::OptionValue, 16, "5s"),
        ("tcp:h:1?timout=5s", Kind::UnknownOption, 8, "did you mean timeout?"),
        ("tcp:h:1?frobnicate=1", Kind::UnknownOption, 8, "tcp: takes capacity, timeout, listen, frame"),
        ("tcp:h:1?priority=1", Kind::OptionDoesNotFit, 8, "tcp: takes"),
        ("tcp:h:1?timeout=1s&timeout=2s", Kind::DuplicateOption, 19, "once"),
        ("udp:h:1?bind=nowhere", Kind::OptionValue, 13, "no port"),
        ("mq:/q?priority=32768", Kind::OptionValue, 15, "32767"),
        ("mq:/q?mode=999", Kind::OptionValue, 11, "octal"),
        ("mq:/q?owner=:", Kind::OptionValue, 12, "user:group"),
        ("file:/f?offset=1.5K", Kind::OptionValue, 15, "64K"),
        ("unix:/a?frame=u24", Kind::OptionValue, 14, "u32"),
    ];
    for (text, kind, position, help) in given {
        let error = fault(text);
        assert_eq!((error.kind(), error.position()), (kind, position), "{error}");
        assert!(error.to_string().contains(help), "no {help:?} in: {error}");
        assert_eq!(error.text(), text);
    }
}

#[test]
fn parts_without_a_text_are_refused() {
    let empty = Target::Fifo(PathBuf::new());
    assert_eq!(Address::new(empty, Options::default()).unwrap_err().kind(), AddressErrorKind::Target);
    let foreign = Target::Foreign { scheme: Scheme::Tcp, rest: "h:1".into() };
    assert!(Address::new(foreign, Options::default()).is_err(), "a known scheme in a foreign coat");
    let options = Options { priority: Some(40_000), ..Options::default() };
    assert!(Address::new(Target::Mq("/q".into()), options).is_err());
    let options = Options { timeout: Some(Duration::MAX), ..Options::default() };
    assert!(read("tcp:h:1").with_options(options).is_err(), "longer than an address can say");
    let options = Options { priority: Some(1), ..Options::default() };
    assert!(read("exec:true").with_options(options).is_err(), "options behind a command would be part of it");
}

fn os_bytes(min: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(1..=u8::MAX, min..20)
}

fn path() -> impl Strategy<Value = PathBuf> {
    os_bytes(1).prop_map(|bytes| OsString::from_vec(bytes).into())
}

fn name() -> impl Strategy<Value = String> {
    "[^\\x00]{1,12}"
}

fn slash_name() -> impl Strategy<Value = OsString> {
    let word = vec((1..=u8::MAX).prop_filter("no slash", |byte| *byte != b'/'), 1..12);
    word.prop_map(|word| OsString::from_vec([b"/", word.as_slice()].concat()))
}

fn unix() -> impl Strategy<Value = UnixName> {
    prop_oneof![path().prop_map(UnixName::Path), vec(any::<u8>(), 1..12).prop_map(UnixName::Abstract)]
}

fn sysv() -> impl Strategy<Value = SysvName> {
    prop_oneof![(1..=u32::MAX).prop_map(SysvName::Key), (0..=i32::MAX).prop_map(SysvName::Id)]
}

fn authority() -> impl Strategy<Value = Authority> {
    let host = prop_oneof![
        Just(Host::Any),
        "[a-z_][a-zA-Z0-9_.-]{0,12}".prop_map(Host::Name),
        any::<Ipv4Addr>().prop_map(Host::V4),
        any::<Ipv6Addr>().prop_map(Host::V6),
    ];
    (host, any::<u16>()).prop_map(|(host, port)| Authority { host, port })
}

fn target() -> impl Strategy<Value = Target> {
    let fd = 0..=i32::MAX.unsigned_abs();
    let cid = prop_oneof![Just(Cid::Any), Just(Cid::Host), Just(Cid::Local), (3..u32::MAX).prop_map(Cid::Guest)];
    let foreign = prop_oneof![Just(Scheme::Amqp), Just(Scheme::Amqps), Just(Scheme::Mqtts), Just(Scheme::Nats)];
    let request = prop_oneof![Just(String::new()), "/[^\\x00]{0,9}"];
    prop_oneof![
        prop_oneof![name().prop_map(Target::Inproc), path().prop_map(Target::Shm), name().prop_map(Target::Local)],
        unix().prop_map(Target::Unix),
        unix().prop_map(Target::UnixDatagram),
        unix().prop_map(Target::UnixSeqpacket),
        prop_oneof![Just(Target::Pipe), Just(Target::Stdio)],
        (fd.clone(), option::of(fd)).prop_map(|(read, write)| Target::Fd { read, write }),
        prop_oneof![path().prop_map(Target::Fifo), path().prop_map(Target::File)],
        prop_oneof![slash_name().prop_map(Target::Mq), slash_name().prop_map(Target::PosixShm)],
        prop_oneof![sysv().prop_map(Target::SysvMq), sysv().prop_map(Target::SysvShm)],
        prop_oneof![authority().prop_map(Target::Tcp), authority().prop_map(Target::Udp)],
        prop_oneof![authority().prop_map(Target::Tls), authority().prop_map(Target::Quic)],
        (authority(), request.clone()).prop_map(|(at, path)| Target::Ws { at, path }),
        (authority(), request).prop_map(|(at, path)| Target::Wss { at, path }),
        (cid, any::<u32>()).prop_map(|(cid, port)| Target::Vsock { cid, port }),
        name().prop_map(Target::Exec),
        (name(), option::of(authority())).prop_map(|(name, at)| Target::Hub { name, at }),
        (foreign, name()).prop_map(|(scheme, rest)| Target::Foreign { scheme, rest }),
    ]
}

/// Options of every kind; those that do not fit the scheme are taken out again.
fn options() -> impl Strategy<Value = Options> {
    let create = prop_oneof![Just(Create::No), Just(Create::Yes), Just(Create::New)];
    let owner = prop_oneof!["[a-z0-9]{1,8}", "[a-zé &=?%]{0,8}:[a-z]{1,8}"];
    let owner = owner.prop_map(|text| format!("fifo:/f?owner={}", percent::encode(text.as_bytes(), &['&'])));
    let owner = owner.prop_map(|text| read(&text).options().owner.clone().unwrap());
    (
        (option::of(0..=0o777_u16), option::of(owner), option::of(any::<u64>()), option::of(any::<u64>())),
        (option::of(any::<u64>()), option::of(any::<bool>()), option::of(create), option::of(any::<u64>())),
        (option::of(any::<u64>()), option::of(any::<i64>()), option::of(0..=32_767_u32), option::of(framing())),
    )
        .prop_map(|((mode, owner, capacity, message_size), (timeout, listen, create, offset), rest)| {
            let (length, kind, priority, frame) = rest;
            let mode = mode.map(|bits| Mode::new(bits).unwrap());
            let timeout = timeout.map(Duration::from_nanos);
            let bind = None;
            Options {
                mode,
                owner,
                capacity,
                message_size,
                timeout,
                listen,
                bind,
                create,
                offset,
                length,
                kind,
                priority,
                frame,
            }
        })
}

fn framing() -> impl Strategy<Value = Framing> {
    let text = prop_oneof![Just("raw"), Just("line"), Just("nul"), Just("u16"), Just("u64le"), Just("byte:0x1e,7K")];
    text.prop_map(|text| text.parse().unwrap())
}

fn fitted(scheme: Scheme, all: &Options) -> Options {
    let mut options = Options::default();
    for key in scheme.options() {
        match key {
            Key::Mode => options.mode = all.mode,
            Key::Owner => options.owner.clone_from(&all.owner),
            Key::Capacity => options.capacity = all.capacity,
            Key::MessageSize => options.message_size = all.message_size,
            Key::Timeout => options.timeout = all.timeout,
            Key::Listen => options.listen = all.listen,
            Key::Bind => options.bind.clone_from(&all.bind),
            Key::Create => options.create = all.create,
            Key::Offset => options.offset = all.offset,
            Key::Length => options.length = all.length,
            Key::Type => options.kind = all.kind,
            Key::Priority => options.priority = all.priority,
            Key::Frame => options.frame = all.frame,
        }
    }
    options
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn every_address_survives_being_printed(target in target(), bound in target(), all in options()) {
        let scheme = target.scheme();
        let mut options = fitted(scheme, &all);
        if scheme.options().contains(&Key::Bind) && bound.scheme() == scheme {
            options.bind = Some(bound.to_string());
        }
        let address = Address::new(target, options);
        let address = address.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let text = address.to_string();
        prop_assert!(scheme.options().is_empty() || !text.contains(char::is_whitespace), "{text} is not one word");
        prop_assert_eq!(text.parse::<Address>(), Ok(address));
    }

    #[test]
    fn no_text_panics_and_what_is_read_is_stable(
        text in prop_oneof![
            any::<String>(),
            ("[a-z-]{0,8}:[a-z0-9:@/%?&=,\\[\\].é]{0,24}").boxed(),
            (0..29_usize, "[a-z0-9:@/%?&=,*\\[\\].-]{0,24}")
                .prop_map(|(index, rest)| format!("{}:{rest}", Scheme::all().nth(index).unwrap())),
        ]
    ) {
        match text.parse::<Address>() {
            Ok(address) => prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address)),
            Err(error) => {
                prop_assert!(error.position() <= text.len());
                prop_assert!(!error.what().is_empty() && !error.how().is_empty());
            }
        }
    }
}
