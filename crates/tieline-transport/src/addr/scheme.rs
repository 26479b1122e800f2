//! Which schemes there are: one table with the form, an example, a line of meaning and the fitting options of each.
//!
//! The parser, the error texts, the documentation's test and whoever prints help read this table; nothing else lists
//! the schemes.

use std::fmt;

use super::options::Key;

/// The word before the first colon of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scheme {
    /// `inproc:NAME`
    Inproc,
    /// `shm:NAME`
    Shm,
    /// `unix:PATH`
    Unix,
    /// `unix-dgram:PATH`
    UnixDatagram,
    /// `unix-seqpacket:PATH`
    UnixSeqpacket,
    /// `pipe:`
    Pipe,
    /// `fd:N`
    Fd,
    /// `stdio:`
    Stdio,
    /// `fifo:PATH`
    Fifo,
    /// `mq:/NAME`
    Mq,
    /// `sysv-mq:KEY`
    SysvMq,
    /// `posix-shm:/NAME`
    PosixShm,
    /// `sysv-shm:KEY`
    SysvShm,
    /// `file:PATH`
    File,
    /// `tcp:HOST:PORT`
    Tcp,
    /// `udp:HOST:PORT`
    Udp,
    /// `tls:HOST:PORT`
    Tls,
    /// `quic:HOST:PORT`
    Quic,
    /// `ws:HOST:PORT/PATH`
    Ws,
    /// `wss:HOST:PORT/PATH`
    Wss,
    /// `vsock:CID:PORT`
    Vsock,
    /// `exec:COMMAND`
    Exec,
    /// `local:NAME`
    Local,
    /// `hub:NAME`
    Hub,
    /// `amqp:…`
    Amqp,
    /// `amqps:…`
    Amqps,
    /// `mqtt:…`
    Mqtt,
    /// `mqtts:…`
    Mqtts,
    /// `nats:…`
    Nats,
}

/// One row of the table.
struct Row {
    scheme: Scheme,
    name: &'static str,
    form: &'static str,
    example: &'static str,
    summary: &'static str,
    options: &'static [Key],
    available: bool,
}

const STREAM_SOCKET: &[Key] = &[Key::Capacity, Key::Timeout, Key::Listen, Key::Frame];
const UNIX_STREAM: &[Key] = &[Key::Mode, Key::Owner, Key::Capacity, Key::Timeout, Key::Listen, Key::Frame];
const UNIX_MESSAGE: &[Key] =
    &[Key::Mode, Key::Owner, Key::Capacity, Key::MessageSize, Key::Timeout, Key::Listen, Key::Bind];
const UNIX_SEQPACKET: &[Key] = &[Key::Mode, Key::Owner, Key::Capacity, Key::MessageSize, Key::Timeout, Key::Listen];
const DATAGRAM_SOCKET: &[Key] = &[Key::Capacity, Key::MessageSize, Key::Timeout, Key::Listen, Key::Bind];
const WEB_SOCKET: &[Key] = &[Key::MessageSize, Key::Timeout, Key::Listen];
const NAMED_MEMORY: &[Key] = &[Key::Mode, Key::Owner, Key::Capacity, Key::Create, Key::Offset, Key::Length, Key::Frame];
const DESCRIPTOR: &[Key] = &[Key::Capacity, Key::Timeout, Key::Frame];

macro_rules! row {
    ($scheme:ident $name:literal $available:ident $form:literal $example:literal $options:expr, $summary:literal) => {
        Row {
            scheme: Scheme::$scheme,
            name: $name,
            form: $form,
            example: $example,
            summary: $summary,
            options: $options,
            available: row!(@ $available),
        }
    };
    (@ here) => { true };
    (@ later) => { false };
}

/// In the order of the enum, which a test checks.
static TABLE: [Row; 29] = [
    row!(Inproc "inproc" later "inproc:NAME" "inproc:results" &[Key::Capacity, Key::Timeout, Key::Listen],
        "a channel inside this process"),
    row!(Shm "shm" here "shm:NAME" "shm:jobs?create=yes&capacity=1K&message-size=64K"
        &[Key::Mode, Key::Owner, Key::Capacity, Key::MessageSize, Key::Timeout, Key::Create, Key::Listen],
        "a queue, topic or stream in shared memory; a NAME with a leading slash is a path"),
    row!(Unix "unix" here "unix:PATH or unix:@NAME" "unix:/run/app.sock" UNIX_STREAM,
        "a Unix socket that carries bytes; @NAME is in the abstract name space"),
    row!(UnixDatagram "unix-dgram" here "unix-dgram:PATH or unix-dgram:@NAME" "unix-dgram:/dev/log" UNIX_MESSAGE,
        "a Unix socket that carries messages, without a connection"),
    row!(UnixSeqpacket "unix-seqpacket" here "unix-seqpacket:PATH or unix-seqpacket:@NAME" "unix-seqpacket:@control"
        UNIX_SEQPACKET, "a Unix socket that carries messages over a connection"),
    row!(Pipe "pipe" here "pipe:" "pipe:?capacity=1M" DESCRIPTOR,
        "a new anonymous pipe: what is written to it is read from it"),
    row!(Fd "fd" here "fd:N or fd:N,M" "fd:3,4" DESCRIPTOR,
        "an open descriptor of this process; with two, N is read and M is written"),
    row!(Stdio "stdio" here "stdio:" "stdio:" DESCRIPTOR, "standard input and output: the same as fd:0,1"),
    row!(Fifo "fifo" here "fifo:PATH" "fifo:/tmp/events?create=yes"
        &[Key::Mode, Key::Owner, Key::Capacity, Key::Timeout, Key::Create, Key::Frame], "a named pipe"),
    row!(Mq "mq" here "mq:/NAME" "mq:/jobs?create=yes&capacity=8&message-size=4K&priority=3"
        &[Key::Mode, Key::Owner, Key::Capacity, Key::MessageSize, Key::Timeout, Key::Create, Key::Priority],
        "a POSIX message queue"),
    row!(SysvMq "sysv-mq" here "sysv-mq:KEY or sysv-mq:id:N" "sysv-mq:0x7469?create=yes&type=2"
        &[Key::Mode, Key::Owner, Key::Capacity, Key::MessageSize, Key::Timeout, Key::Create, Key::Type],
        "a System V message queue, by its key or its identifier"),
    row!(PosixShm "posix-shm" here "posix-shm:/NAME" "posix-shm:/frames?create=yes&capacity=8M" NAMED_MEMORY,
        "a POSIX shared memory object"),
    row!(SysvShm "sysv-shm" here "sysv-shm:KEY or sysv-shm:id:N" "sysv-shm:id:32769?offset=4K&length=1K" NAMED_MEMORY,
        "a System V shared memory segment, by its key or its identifier"),
    row!(File "file" here "file:PATH" "file:/var/lib/app/table?offset=512&length=64K" NAMED_MEMORY,
        "a file"),
    row!(Tcp "tcp" here "tcp:HOST:PORT" "tcp:[::1]:7000?listen=yes" STREAM_SOCKET,
        "a TCP connection; HOST is a name, an IPv4 address, an IPv6 address in brackets, or * to listen everywhere"),
    row!(Udp "udp" here "udp:HOST:PORT" "udp:127.0.0.1:7000" DATAGRAM_SOCKET, "UDP datagrams"),
    row!(Tls "tls" later "tls:HOST:PORT" "tls:example.org:7443" STREAM_SOCKET, "a TCP connection under TLS"),
    row!(Quic "quic" later "quic:HOST:PORT" "quic:example.org:7443" STREAM_SOCKET, "a QUIC connection"),
    row!(Ws "ws" later "ws:HOST:PORT/PATH" "ws:localhost:8080/feed" WEB_SOCKET, "a WebSocket"),
    row!(Wss "wss" later "wss:HOST:PORT/PATH" "wss:example.org:443/feed" WEB_SOCKET, "a WebSocket under TLS"),
    row!(Vsock "vsock" here "vsock:CID:PORT" "vsock:host:1024" STREAM_SOCKET,
        "a socket between a virtual machine and its host; CID is a number, host, local or any"),
    row!(Exec "exec" here "exec:COMMAND" "exec:gzip -dc" &[],
        "the standard input and output of a command, which is everything behind the colon and is run by sh -c"),
    row!(Local "local" later "local:NAME" "local:thermostat" &[Key::Mode, Key::Owner, Key::Timeout, Key::Listen],
        "the best path on this host to the service of this name"),
    row!(Hub "hub" later "hub:NAME or hub:NAME@HOST:PORT" "hub:jobs@localhost:7800" &[Key::Timeout],
        "a queue, exchange or service of the hub"),
    row!(Amqp "amqp" later "amqp:…" "amqp://guest@localhost:5672/vhost" &[], "a broker that speaks AMQP"),
    row!(Amqps "amqps" later "amqps:…" "amqps://user@example.org/vhost" &[], "a broker that speaks AMQP under TLS"),
    row!(Mqtt "mqtt" later "mqtt:…" "mqtt://localhost:1883/topic" &[], "a broker that speaks MQTT"),
    row!(Mqtts "mqtts" later "mqtts:…" "mqtts://example.org:8883/topic" &[], "a broker that speaks MQTT under TLS"),
    row!(Nats "nats" later "nats:…" "nats://localhost:4222/subject" &[], "a NATS server"),
];

/// Words people type for a scheme that is called otherwise here, and what to write.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("abstract", "unix:@NAME"),
    ("abstract-connect", "unix:@NAME"),
    ("abstract-listen", "unix:@NAME?listen=yes"),
    ("cmd", "exec:COMMAND"),
    ("command", "exec:COMMAND"),
    ("http", "tcp:HOST:PORT"),
    ("ipc", "unix:PATH"),
    ("mem", "posix-shm:/NAME"),
    ("mqueue", "mq:/NAME"),
    ("msg", "sysv-mq:KEY"),
    ("named-pipe", "fifo:PATH"),
    ("open", "file:PATH"),
    ("path", "file:PATH"),
    ("posix-mq", "mq:/NAME"),
    ("process", "exec:COMMAND"),
    ("seqpacket", "unix-seqpacket:PATH"),
    ("sh", "exec:COMMAND"),
    ("socket", "unix:PATH"),
    ("stderr", "fd:2"),
    ("stdin", "fd:0"),
    ("stdout", "fd:1"),
    ("system", "exec:COMMAND"),
    ("tcp-connect", "tcp:HOST:PORT"),
    ("tcp-listen", "tcp:HOST:PORT?listen=yes"),
    ("tcp4", "tcp:HOST:PORT"),
    ("tcp6", "tcp:HOST:PORT"),
    ("udp-listen", "udp:HOST:PORT?listen=yes"),
    ("unix-connect", "unix:PATH"),
    ("unix-datagram", "unix-dgram:PATH"),
    ("unix-listen", "unix:PATH?listen=yes"),
    ("unix-stream", "unix:PATH"),
];

impl Scheme {
    /// Every scheme, in the order of the documentation.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.scheme)
    }

    /// The scheme of this name, in lower case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.scheme)
    }

    /// The word before the colon.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What an address of it looks like, without options: `tcp:HOST:PORT`.
    #[must_use]
    pub fn form(self) -> &'static str {
        self.row().form
    }

    /// An address of it that parses.
    #[must_use]
    pub fn example(self) -> &'static str {
        self.row().example
    }

    /// One line of what stands at such an address.
    #[must_use]
    pub fn summary(self) -> &'static str {
        self.row().summary
    }

    /// The options that fit it; none for those whose text after the colon belongs to somebody else's grammar.
    #[must_use]
    pub fn options(self) -> &'static [Key] {
        self.row().options
    }

    /// Whether this build can open such an address. The others are read and written all the same.
    #[must_use]
    pub fn is_available(self) -> bool {
        self.row().available
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What to write instead of an unknown scheme: a known synonym's form, or the name that is nearest in spelling.
pub(super) fn suggestion(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if let Some((_, form)) = OTHER_NAMES.iter().find(|(other, _)| *other == lower) {
        return Some((*form).to_owned());
    }
    let (distance, scheme) = Scheme::all().map(|scheme| (edits(&lower, scheme.name()), scheme)).min()?;
    // Two slips in a long word, one in a short one; more would be guessing.
    let tolerated = if lower.len() > 4 { 2 } else { 1 };
    (distance <= tolerated).then(|| format!("{scheme}:"))
}

/// How many letters must be inserted, removed, replaced or swapped with their neighbour to turn one into the other.
pub(super) fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().take(40).collect(), to.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in to.iter().enumerate() {
            let mut least = (above[j] + usize::from(letter != other)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == to[j - 1] && from[i - 1] == *other {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.scheme as usize, index, "{}", row.name);
            assert_eq!(Scheme::named(row.name), Some(row.scheme));
        }
    }

    #[test]
    fn every_example_parses_and_is_in_canonical_form() {
        for scheme in Scheme::all() {
            let address: super::super::Address = scheme.example().parse().expect("an example");
            assert_eq!((address.scheme(), address.to_string().as_str()), (scheme, scheme.example()));
        }
    }

    #[test]
    fn slips_of_the_finger_are_recognised() {
        let given = [
            ("tpc", "tcp:"),
            ("TCP", "tcp:"),
            ("uinx", "unix:"),
            ("unix-datagram", "unix-dgram:PATH"),
            ("sysvmq", "sysv-mq:"),
            ("posix-mq", "mq:/NAME"),
            ("stdin", "fd:0"),
        ];
        for (slip, meant) in given {
            assert_eq!(suggestion(slip).as_deref(), Some(meant), "{slip}");
        }
        assert_eq!(suggestion("zookeeper"), None);
    }

    #[test]
    fn edits_are_counted() {
        for (from, to, count) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("abc", "acb", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(edits(from, to), count, "{from} -> {to}");
        }
    }
}
