//! The views of snapshots whose truth is known, because they were built here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fixture::*;
use super::*;
use crate::clean;
use crate::model::{
    Access, Builder, Detail, EventFd, Evidence, Fill, Finding, FindingKind, How, Identity, Kind, LinkKind, SocketState,
    Unit,
};
use crate::model::{Text, UnseenWhat, UnseenWhy, Wait, WaitReason};

fn users() -> Users {
    [(0, "root".to_owned()), (1000, "maria".to_owned())].into_iter().collect()
}

fn view(snapshot: &Snapshot) -> View<'_> {
    View::new(snapshot, users())
}

fn rows(list: &List) -> Vec<String> {
    list.grid.rows.iter().map(|row| row.cells.join("|")).collect()
}

fn ls(snapshot: &Snapshot, fields: &[Field]) -> Vec<String> {
    rows(&view(snapshot).list(&Selection { quiet: true, ..Selection::default() }, fields, Order::default()))
}

/// The sentences of the only answer to a question.
#[track_caller]
fn told(snapshot: &Snapshot, question: &str) -> String {
    let answers = ask(snapshot, question);
    assert_eq!(answers.len(), 1, "{question}: {answers:?}");
    answers[0].sentences.join(" ")
}

fn ask(snapshot: &Snapshot, question: &str) -> Vec<Answer> {
    view(snapshot).who(&Query::parse(question.as_bytes()).expect("a question"))
}

/// `yes | head`, as `who` and `ls` tell it.
#[test]
fn a_pipe_names_both_ends_and_its_fill() {
    let mut builder = builder();
    let yes = process(&mut builder, 4711, 1, "yes");
    let head = process(&mut builder, 4712, 1, "head");
    let object = pipe(&mut builder, 9, 4096);
    writes(&mut builder, yes, object, 1);
    reads(&mut builder, head, object, 0);
    let snapshot = finish(builder);

    assert_eq!(ls(&snapshot, Field::NARROW), ["pipe|pipe:[9]|4K/64K 6%|yes 4711 > head 4712"]);
    let sentence = "yes 4711 (descriptor 1) writes to pipe:[9]; head 4712 (descriptor 0) reads from it. \
                    It holds 4,096 of 65,536 bytes.";
    assert_eq!(told(&snapshot, "pipe:[9]"), sentence);
    let descriptor = told(&snapshot, "4712:0");
    assert_eq!(descriptor, format!("Descriptor 0 of head 4712 is the reading end of pipe:[9]. {sentence}"));
    let answers = ask(&snapshot, "4711");
    assert_eq!(answers[0].sentences, ["yes 4711 of user maria shares 1 thing with 1 other process."]);
    assert_eq!(answers[0].grid.rows[0].cells, ["1 w", "pipe", "pipe:[9]", "4K/64K 6%", "> head 4712"]);
    assert_eq!(ask(&snapshot, "head").len(), 1, "a process is found by its name");
}

#[test]
fn an_end_that_nobody_holds_is_said() {
    let mut builder = builder();
    let cat = process(&mut builder, 5, 1, "cat");
    let object = pipe(&mut builder, 9, 65_536);
    writes(&mut builder, cat, object, 1);
    let full = finish(builder);
    assert_eq!(ls(&full, &[Field::Who]), ["cat 5 > nobody"]);
    let sentence = told(&full, "pipe:9");
    assert!(sentence.contains("; nobody has its reading end."), "{sentence}");
    assert!(sentence.contains("It is full: it holds all 65,536 bytes that fit"), "{sentence}");
    let list = view(&full).list(&Selection::default(), Field::WIDE, Order::default());
    assert_eq!(list.grid.rows[0].tone, Tone::Bad);
}

/// Where processes may hide, nobody is not claimed.
#[test]
fn who_could_not_be_seen_is_not_called_nobody() {
    let mut builder = builder();
    let cat = process(&mut builder, 5, 1, "cat");
    let object = pipe(&mut builder, 9, 0);
    writes(&mut builder, cat, object, 1);
    builder.unseen(UnseenWhat::Descriptors, UnseenWhy::NoPermission, 23);
    let snapshot = finish(builder);
    assert_eq!(ls(&snapshot, &[Field::Who]), ["cat 5 > ?"]);
    assert!(told(&snapshot, "pipe:9").contains("nobody that could be seen has its reading end"));
    let view = view(&snapshot);
    assert_eq!(view.unseen(), ["the descriptors of 23 processes could not be seen: this root lacks the capabilities"]);
    let query = Query::parse(b"pipe:8").unwrap();
    assert_eq!(view.not_found(&query), format!("nobody holds pipe:[8]; but {}", view.unseen()[0]));
    let absent = Query::parse(b"@no").unwrap();
    assert_eq!(view.not_found(&absent), "no Unix socket is called @no", "names are listed for everybody");
}

/// Both ends of a connection are one row, under the end that has a name, and one answer.
#[test]
fn a_connection_is_one_row() {
    let mut builder = builder();
    let server = process(&mut builder, 10, 1, "postgres");
    let client = process(&mut builder, 20, 1, "psql");
    let one = unix(&mut builder, 3, None, SocketState::Connected);
    let other = unix(&mut builder, 4, Some("/run/pg"), SocketState::Connected);
    opens(&mut builder, client, one, 3);
    opens(&mut builder, server, other, 9);
    builder.link(one, other, LinkKind::Peer);
    if let Detail::Unix(socket) = &mut builder.object_mut(one).detail {
        socket.receive_queue = 5000;
    }
    let snapshot = finish(builder);

    assert_eq!(ls(&snapshot, Field::NARROW), ["unix|/run/pg|postgres 10 <> psql 20"]);
    let list = view(&snapshot).list(&Selection::default(), Field::NARROW, Order::default());
    assert_eq!(list.objects, 2, "both are counted");
    for question in ["socket:[3]", "socket:[4]", "20:3"] {
        let sentence = told(&snapshot, question);
        assert!(sentence.contains("by the Unix socket at /run/pg."), "{question}: {sentence}");
        assert!(sentence.contains("5,000 bytes wait to be read by psql 20 (descriptor 3)."), "{question}: {sentence}");
    }
    assert_eq!(told(&snapshot, "/run/pg").matches("postgres 10").count(), 1);
}

/// Question 12: two servers at one path.
#[test]
fn of_two_sockets_at_one_path_the_reachable_one_is_named() {
    let mut builder = builder();
    let (old, new) = (process(&mut builder, 10, 1, "old"), process(&mut builder, 11, 1, "new"));
    for (process, inode) in [(old, 3), (new, 4)] {
        let socket = unix(&mut builder, inode, Some("/run/app"), SocketState::Listening);
        opens(&mut builder, process, socket, 5);
        if let Detail::Unix(socket) = &mut builder.object_mut(socket).detail {
            socket.file = Some((64, inode));
        }
    }
    let snapshot = finish(builder);
    let view = view(&snapshot);
    let query = Query::parse(b"/run/app").unwrap();
    let sentences =
        |query: &Query| -> Vec<String> { view.who(query).iter().map(|answer| answer.sentences.join(" ")).collect() };
    let told = sentences(&query.clone().located(64, 4));
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with("old 10 (descriptor 5) listens at the Unix socket at /run/app."), "{}", told[0]);
    assert!(told[0].ends_with("/run/app leads to another socket by now: no new connection can reach this one."));
    assert!(told[1].ends_with("New connections to /run/app reach this one: the path leads to it."), "{}", told[1]);
    let gone = sentences(&query.clone().missing());
    assert!(
        gone.iter().all(|told| told.ends_with("/run/app does not exist any more: no new connection can reach it."))
    );
}

/// Without privilege a server's process may be hidden; that somebody listens is not.
#[test]
fn a_listener_is_listed_though_its_process_is_hidden() {
    let mut builder = builder();
    unix(&mut builder, 3, Some("/run/app"), SocketState::Listening);
    unix(&mut builder, 4, None, SocketState::Unconnected);
    builder.unseen(UnseenWhat::Descriptors, UnseenWhy::NoPermission, 1);
    let snapshot = finish(builder);
    let list = view(&snapshot).list(&Selection::default(), Field::NARROW, Order::default());
    assert_eq!((rows(&list), list.folded), (vec!["unix|/run/app|? listens".to_owned()], 1));
}

/// A path means something in the mounts of who bound it: elsewhere nothing is said of it.
#[test]
fn a_path_of_other_mounts_is_not_called_gone() {
    let mut builder = builder();
    let server = process(&mut builder, 10, 1, "server");
    builder.process_mut(server).namespaces.mnt = Some(7);
    let socket = unix(&mut builder, 3, Some("/run/app"), SocketState::Listening);
    opens(&mut builder, server, socket, 5);
    let snapshot = finish(builder);
    assert!(!told(&snapshot, "/run/app").contains("does not exist"));
}

/// A listener, the connections it accepted with their clients, and who waits.
#[test]
fn a_port_tells_its_listener_and_its_connections() {
    let snapshot = everything();
    let answers = ask(&snapshot, "tcp:127.0.0.1:5432");
    assert_eq!(answers.len(), 1, "{answers:?}");
    let said = answers[0].sentences.join(" ");
    assert!(said.starts_with("server 10 (descriptor 10) listens at TCP 127.0.0.1:5432."), "{said}");
    assert!(said.contains("1 connection is open with cl\\n\\x1b[2Jient\\xff."), "{said}");
    assert_eq!(answers[0].grid.rows.len(), 3);
    assert_eq!(answers[0].objects.len(), 3);
    assert_eq!(ask(&snapshot, "5432").len(), 1, "a plain number is a port too");
    assert!(ask(&snapshot, "udp:5432").is_empty());
    assert!(ask(&snapshot, "tcp:10.0.0.1:5432").is_empty());

    let answers = ask(&snapshot, "/run/app.sock");
    assert_eq!(answers.len(), 1);
    let said = answers[0].sentences.join(" ");
    for word in ["0 of 128 places of its backlog are taken.", "1 client waits to be accepted.", "1 connection is open"]
    {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
    let how: Vec<&str> = answers[0].grid.rows.iter().map(|row| row.cells[2].as_str()).collect();
    assert!(how.iter().any(|how| how.starts_with("waits to be accepted: ")), "{how:?}");
    assert!(how.iter().any(|how| how.starts_with("accepted: ")) && how.iter().any(|how| how.starts_with("client: ")));
}

/// Questions 3 and 5.
#[test]
fn a_segment_names_all_who_have_it_and_explains_dest() {
    let mut builder = builder();
    let object = segment(&mut builder, 393_216, OWN_IPC, 2, 999);
    let (one, two) = (process(&mut builder, 10, 1, "oracle"), process(&mut builder, 11, 1, "oracle"));
    for process in [one, two] {
        builder.hold(process, object, How::Mapping { access: Access::BOTH, bytes: 4096 });
    }
    if let Detail::SysvShm(segment) = &mut builder.object_mut(object).detail {
        segment.is_removed = true;
    }
    let snapshot = finish(builder);
    assert_eq!(ls(&snapshot, Field::NARROW), ["sysv-shm|shm:393216 key 0x00001234|4K|oracle 10 11 rw"]);
    let said = told(&snapshot, "shm:393216");
    assert!(said.starts_with("oracle 10 and oracle 11 have segment shm:393216 key 0x00001234 attached (4,096 bytes)."));
    assert!(said.contains("It is marked for removal (`dest`)"), "{said}");
    assert!(said.contains("Process 999 (ended) made it."), "{said}");
    assert_eq!(told(&snapshot, "shm:0x1234"), said, "by its key");
    assert!(ask(&snapshot, "shm:0x1235").is_empty() && ask(&snapshot, "sem:393216").is_empty());
}

#[test]
fn an_object_of_another_namespace_says_so() {
    let snapshot = everything();
    let said = told(&snapshot, "shm:1");
    assert!(said.contains("It is of another namespace, 4026532180 (that of server 10)."), "{said}");
    assert_eq!(told(&snapshot, "shm:1@4026532180"), said);
    assert!(ask(&snapshot, "shm:1@1").is_empty());
    let chosen = |namespace| Selection { namespace: Some(namespace), quiet: true, ..Selection::default() };
    let ids = |choice| rows(&view(&snapshot).list(&chosen(choice), &[Field::Id], Order::default()));
    assert_eq!(ids(NamespaceChoice::Other), ["shm:1@4026532180"]);
    assert_eq!(ids(NamespaceChoice::Number(OTHER_IPC)), ["shm:1@4026532180"]);
    assert!(!ids(NamespaceChoice::Own).contains(&"shm:1@4026532180".to_owned()));
}

/// Question 5 and half of 6: last operator and waiters.
#[test]
fn a_semaphore_names_who_changed_it_and_who_waits() {
    let snapshot = everything();
    let said = told(&snapshot, "sem:3");
    assert!(said.contains("server 10 changed semaphore set sem:3 key 0x00000007 last."), "{said}");
    assert!(said.contains("Its 2 values are 0, 4."), "{said}");
    assert!(said.contains("1 waits for semaphore 0 to grow; its value is 0."), "{said}");
    assert!(said.contains("thread 21, waits for semaphore 0 to allow -1."), "{said}");
    let rows = &ask(&snapshot, "sem:3")[0].grid.rows;
    assert_eq!(rows.len(), 2, "the last operator and the waiter");
}

/// A queue and a segment may have the same name: both are told.
#[test]
fn a_name_of_two_things_has_two_answers() {
    let snapshot = everything();
    assert_eq!(ask(&snapshot, "/both").len(), 2);
    assert!(told(&snapshot, "mq:/both").contains("is told when a message comes"));
    assert!(told(&snapshot, "shm:/both").contains("have shared memory /both mapped."));
    assert!(told(&snapshot, "memfd:ring").contains("mapped"));
    assert!(told(&snapshot, "eventfd:9").contains("Its count is 2."));
    assert!(told(&snapshot, "pidfd:[10]").starts_with("server 10 (descriptor 38) has a descriptor of cl"));
}

#[test]
fn locks_tell_holders_and_who_is_behind_them() {
    let snapshot = everything();
    let view = view(&snapshot);
    let grid = view.lock_grid(&view.locks(None));
    let cells: Vec<&[String]> = grid.rows.iter().map(|row| row.cells.as_slice()).collect();
    assert_eq!(cells[0][..3], ["server 10", "holds", "exclusive shm 4096"]);
    assert_eq!(cells[1][1..], ["waits for", "exclusive shm 4096", r"fra\x1b[2Jmes", "server 10"]);
    assert_eq!(cells[2], ["server 10", "holds", "exclusive POSIX 0-9", "/var/app.db", ""]);
    assert_eq!(cells[3][1..], ["waits for", "exclusive OFD 0-9", "/var/app.db", "server 10"]);
    for (question, count) in [("20", 4), ("10", 4), ("/var/app.db", 2)] {
        let query = Query::parse(question.as_bytes()).unwrap();
        assert_eq!(view.locks(Some(&query)).len(), count, "{question}: one's own, and who is in the way");
    }
    assert!(view.locks(Some(&Query::parse(b"/no").unwrap())).is_empty());
    let said = told(&snapshot, "/var/app.db");
    assert!(said.contains("server 10 (exclusive POSIX lock of bytes 0 to 9) has locked it."), "{said}");
}

/// Each kind of segment has its words, and what it says of itself does not reach the terminal raw.
#[test]
fn segments_tell_who_is_behind_and_who_is_gone() {
    let snapshot = everything();
    let topic = told(&snapshot, "file:[0:1:100]");
    for words in [
        "server 10 publishes to the topic",
        "42 messages so far",
        "by 12 messages, and the publisher waits for it when the log is full.",
        "Process 999 is gone, or not of this pid namespace, and not cleared away",
        "It is joined at /run/tieline/frames; server 10 answers for the name.",
        "It holds 12 of 64 messages.",
    ] {
        assert!(topic.contains(words), "no {words:?} in {topic}");
    }
    let of = |inode: u32| told(&snapshot, &format!("file:[0:1:{inode}]"));
    assert!(of(102).contains("3 items wait to be taken, 1 of them again after a consumer failed."), "{}", of(102));
    assert!(of(103).contains("5 bytes from the listening side wait to be read."), "{}", of(103));
    assert!(of(106).contains("server 10 (exclusive lock at byte 4096) has locked it."), "{}", of(106));
    assert!(of(108).contains("What it says of itself could not be read."), "{}", of(108));
    assert!(of(109).contains("3 calls are in flight: 1 wait for the server, 2 are in its work."), "{}", of(109));
    assert!((100..111).all(|inode| !of(inode).contains('\x1b')));
    // The roster and the log of one subscriber are folded: their numbers stand with the messages.
    let view = view(&snapshot);
    let shown = |kinds: &[Kind]| {
        let selection = Selection { kinds: kinds.to_vec(), ..Selection::default() };
        view.list(&selection, &[Field::Kind], Order::default()).grid.rows.len()
    };
    assert_eq!(shown(&Group::kinds_of("shm").unwrap()), 10, "one of POSIX, nine of ours");
    assert_eq!(shown(&[Kind::ShmRoster]), 1);
}

#[test]
fn limits_stand_with_the_nearest_first() {
    let snapshot = everything();
    let view = view(&snapshot);
    let names = |least| view.limits(least).iter().map(|row| row.limit.name).collect::<Vec<_>>();
    assert_eq!(names(None), ["RLIMIT_NOFILE", "msgmnb", "shmmni", "file-max", "pipe-user-pages-soft"]);
    assert_eq!(names(Some(0.8)), ["RLIMIT_NOFILE"]);
    assert_eq!(names(Some(0.9)), ["RLIMIT_NOFILE"], "exactly so much is so much");
    let advice = view.limit_advice(&view.limits(None)[0]);
    assert_eq!(
        advice,
        "RLIMIT_NOFILE of server 10, 90% used. At the limit: open fails with EMFILE. Raised by: ulimit -n."
    );
    assert_eq!(view.limit_grid(&view.limits(None)).rows[2].cells[4], "IPC namespace");
}

#[test]
fn leaks_are_what_was_left_behind_and_all_is_more() {
    let snapshot = everything();
    let view = view(&snapshot);
    let leaks = view.leaks(&[], false);
    assert_eq!(leaks.len(), 1);
    assert!(leaks[0].sentence.ends_with("is left behind: nobody uses it and who made it has gone"));
    assert!(leaks[0].evidence.contains(&"its maker 999 has ended".to_owned()), "{:?}", leaks[0].evidence);
    assert!(leaks[0].evidence.contains(&"2 processes of user maria could come back to it".to_owned()));
    assert_eq!(view.leaks(&[], true).len(), 3);
    assert_eq!(view.leaks(&[Kind::Pipe], true).len(), 1);
    assert_eq!(view.leak_grid(&view.leaks(&[], true)).rows.len(), 3);
}

/// What one process has to itself is folded, but not what it shares, nor where it was asked for.
#[test]
fn quiet_objects_are_folded_and_counted() {
    let mut builder = builder();
    let (one, two) = (process(&mut builder, 10, 1, "one"), process(&mut builder, 11, 1, "two"));
    let own = pipe(&mut builder, 1, 100);
    reads(&mut builder, one, own, 3);
    writes(&mut builder, one, own, 4);
    let shared = pipe(&mut builder, 2, 0);
    reads(&mut builder, one, shared, 5);
    writes(&mut builder, two, shared, 6);
    let private = builder.object(Identity::Descriptor { pid: 10, fd: 7 }, Kind::Epoll);
    opens(&mut builder, one, private, 7);
    let between = builder.object(Identity::Numbered { kind: Kind::EventFd, number: 1 }, Kind::EventFd);
    opens(&mut builder, one, between, 8);
    opens(&mut builder, two, between, 8);
    let (left, right) =
        (unix(&mut builder, 8, None, SocketState::Connected), unix(&mut builder, 9, None, SocketState::Connected));
    builder.link(left, right, LinkKind::Peer);
    opens(&mut builder, one, left, 9);
    opens(&mut builder, one, right, 10);
    let snapshot = finish(builder);
    let view = view(&snapshot);

    let list = view.list(&Selection::default(), &[Field::Id], Order::default());
    assert_eq!(rows(&list), ["pipe:[2]", "eventfd:[1]"]);
    assert_eq!(list.folded, 4);
    assert_eq!(
        view.totals(&list),
        "2 objects of 2 processes. 4 quiet ones are not shown, which one process has to itself or nobody visible holds: --all."
    );
    assert_eq!(
        view.list(&Selection { quiet: true, ..Selection::default() }, &[Field::Id], Order::default()).objects,
        6
    );
    let of_kind = Selection { kinds: Group::kinds_of("events").unwrap(), ..Selection::default() };
    assert_eq!(rows(&view.list(&of_kind, &[Field::Id], Order::default())), ["eventfd:[1]", "10:7"]);
    let of_one = Selection { processes: vec![ProcessChoice::from("one")], ..Selection::default() };
    assert_eq!(view.list(&of_one, &[Field::Id], Order::default()).objects, 6);
    let of_two = Selection { processes: vec![ProcessChoice::from("11")], ..Selection::default() };
    assert_eq!(rows(&view.list(&of_two, &[Field::Id], Order::default())), ["pipe:[2]", "eventfd:[1]"]);
}

#[test]
fn rows_can_be_sorted_by_every_column() {
    let mut builder = builder();
    let who = process(&mut builder, 10, 1, "b");
    let (few, most, some) = (pipe(&mut builder, 1, 10), pipe(&mut builder, 2, 60_000), pipe(&mut builder, 3, 5_000));
    for (object, fd) in [(few, 1), (most, 2), (some, 3)] {
        writes(&mut builder, who, object, fd);
    }
    let other = process(&mut builder, 11, 1, "a");
    reads(&mut builder, other, few, 1);
    let snapshot = finish(builder);
    let sorted = |field, is_reversed| {
        rows(&view(&snapshot).list(&Selection::default(), &[Field::Id], Order { field, is_reversed }))
    };
    assert_eq!(sorted(Field::Fill, false), ["pipe:[2]", "pipe:[3]", "pipe:[1]"]);
    assert_eq!(sorted(Field::Fill, true), ["pipe:[1]", "pipe:[3]", "pipe:[2]"]);
    assert_eq!(sorted(Field::Holders, false)[0], "pipe:[1]");
    assert_eq!(sorted(Field::Id, true)[0], "pipe:[3]");
    for field in Field::ALL {
        assert_eq!(sorted(*field, false).len(), 3, "{}", field.name());
    }
}

#[test]
fn the_tree_has_parents_above_children_and_the_other_end_beside_each() {
    let mut builder = builder();
    process(&mut builder, 1, 0, "init");
    process(&mut builder, 5, 1, "sh");
    let (one, two) = (process(&mut builder, 6, 5, "cat"), process(&mut builder, 7, 5, "sort"));
    process(&mut builder, 8, 5, "idle");
    let object = pipe(&mut builder, 1, 0);
    writes(&mut builder, one, object, 1);
    reads(&mut builder, two, object, 0);
    let snapshot = finish(builder);
    let tree = view(&snapshot).tree(&Selection::default(), Branches::Ascii);
    let lines: Vec<String> = rows(&tree).iter().map(|row| row.trim_end_matches('|').to_owned()).collect();
    assert_eq!(
        lines,
        [
            "init 1",
            "`- sh 5",
            "   |- cat 6",
            "   |    1 w|pipe|pipe:[1]|0/64K|> sort 7",
            "   `- sort 7",
            "        0 r|pipe|pipe:[1]|0/64K|< cat 6",
        ]
    );
    assert_eq!(tree.objects, 1);
    let of_one = Selection { processes: vec![ProcessChoice::from("cat")], ..Selection::default() };
    assert_eq!(view(&snapshot).tree(&of_one, Branches::Lines).grid.rows.len(), 4);
}

/// Parents that form a circle (pids used again while the machine was looked at), and a long chain of them.
#[test]
fn a_strange_family_is_drawn_too() {
    let mut builder = builder();
    for (pid, parent) in [(5, 6), (6, 5), (7, 7)] {
        let process = process(&mut builder, pid, parent, "p");
        let object = pipe(&mut builder, pid.into(), 0);
        reads(&mut builder, process, object, 0);
    }
    for pid in 100..20_000 {
        process(&mut builder, pid, pid - 1, "chain");
    }
    let last = builder.process_with_pid(19_999).unwrap();
    let object = pipe(&mut builder, 100, 0);
    reads(&mut builder, last, object, 0);
    let snapshot = finish(builder);
    let tree = view(&snapshot).tree(&Selection::default(), Branches::Ascii);
    assert_eq!(tree.objects, 4);
    let longest = tree.grid.rows.iter().map(|row| row.cells[0].len()).max().unwrap();
    assert!(longest < 120, "a line of {longest} bytes");
}

/// Nothing that a terminal would obey comes out of any view, in text or JSON.
#[test]
fn hostile_names_stay_names() {
    let mut builder = builder();
    let evil = b"\x1b[2J\n\xff\xe2\x80\xae\"|";
    let process = process(&mut builder, 10, 1, evil);
    builder.process_mut(process).container = Some(Text::from(evil.as_slice()));
    let fifo = builder.object(Identity::File { device: 1, inode: 2 }, Kind::Fifo);
    builder.object_mut(fifo).name = Some(Text::from([b"/tmp/".as_slice(), evil].concat()));
    let socket = unix(&mut builder, 3, None, SocketState::Listening);
    builder.object_mut(socket).name = Some(Text::from([b"@".as_slice(), evil].concat()));
    let memfd = builder.object(Identity::File { device: 1, inode: 4 }, Kind::Memfd);
    builder.object_mut(memfd).name = Some(Text::from(evil.as_slice()));
    for (object, fd) in [(fifo, 3), (socket, 4), (memfd, 5)] {
        opens(&mut builder, process, object, fd);
    }
    builder.wait(Wait {
        process,
        thread: 11,
        object: Some(fifo),
        reason: WaitReason::Open(Text::from(evil.as_slice())),
    });
    let evidence = vec![Evidence::LastUserAlive { pid: 10 }];
    let finding = Finding { kind: FindingKind::OneEnded, object: None, process: None, limit: None, evidence };
    let snapshot = finish_with(builder, vec![finding]);
    let view = view(&snapshot);

    let everything = Selection { quiet: true, ..Selection::default() };
    let mut texts: Vec<String> = rows(&view.list(&everything, Field::ALL, Order::default()));
    texts.extend(rows(&view.tree(&everything, Branches::Lines)));
    for question in [b"10".as_slice(), b"10:3", &[b"@".as_slice(), evil].concat(), b"10:5"] {
        let query = Query::parse(question).unwrap();
        let answers = view.who(&query);
        assert!(!answers.is_empty(), "{query:?}");
        texts.push(view.not_found(&query));
        texts.push(serde_json::to_string(&view.who_json(&Text::from(question), &answers)).unwrap());
        for answer in answers {
            texts.extend(answer.sentences);
            texts.extend(answer.grid.rows.into_iter().flat_map(|row| row.cells));
        }
    }
    texts.extend(view.leaks(&[], true).into_iter().flat_map(|leak| leak.evidence));
    texts.push(serde_json::to_string(&view.list_json(&everything)).unwrap());
    assert!(texts.iter().any(|text| text.contains(r"\x1b[2J\n\xff\u{202e}")), "{texts:?}");
    for text in texts {
        assert!(!text.chars().any(|letter| letter.is_control() || letter == '\u{202e}'), "{text:?}");
    }
}

/// The page and what is emitted agree, field by field and both ways, for objects of every kind.
#[test]
fn json_is_as_its_page_says() {
    let snapshot = everything();
    let view = view(&snapshot);
    let selection = Selection { quiet: true, ..Selection::default() };
    let answers: Vec<Answer> = ["10", "pipe:1"].iter().flat_map(|question| ask(&snapshot, question)).collect();
    let all = view.leaks(&[], true);
    let steps = clean::plan(&snapshot, &clean::Rules::new());
    let documents = [
        serde_json::to_value(view.list_json(&selection)).unwrap(),
        serde_json::to_value(view.who_json(&Text::from("10"), &answers)).unwrap(),
        serde_json::to_value(view.leaks_json(&all)).unwrap(),
        serde_json::to_value(view.limits_json(&view.limits(None))).unwrap(),
        serde_json::to_value(view.locks_json(&view.locks(None))).unwrap(),
        serde_json::to_value(view.clean_json(&steps, None, &[])).unwrap(),
    ];
    let documented = documented();
    for document in documents {
        let schema = document["schema"].as_str().unwrap();
        let mut known = documented.get(schema).unwrap_or_else(|| panic!("{schema} is not on the page")).clone();
        let mut emitted = BTreeSet::new();
        fields(&document, "", &mut emitted);
        // Objects and processes have one form, which the page has once.
        for shared in ["objects[]", "processes[]"] {
            if known.remove(shared) {
                let form: BTreeSet<String> =
                    emitted.iter().filter(|field| field.starts_with(shared)).cloned().collect();
                let unknown: Vec<_> = form.difference(&documented["tieline.ls/1"]).collect();
                assert!(unknown.is_empty(), "{schema} has fields that tieline.ls/1 lacks: {unknown:?}");
                emitted.retain(|field| !form.contains(field));
            }
        }
        let unknown: Vec<&String> = emitted.difference(&known).collect();
        assert!(unknown.is_empty(), "{schema} has fields that the page lacks: {unknown:?}");
        if schema != "tieline.clean/1" {
            let missing: Vec<&String> = known.difference(&emitted).collect();
            assert!(missing.is_empty(), "{schema}: the page has fields that never came: {missing:?}");
        }
    }
}

fn documented() -> BTreeMap<String, BTreeSet<String>> {
    const PAGE: &str = include_str!("../../../../docs/formats/json.md");
    let mut schemas: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut now = String::new();
    for line in PAGE.lines() {
        if let Some(schema) = line.strip_prefix("## ") {
            now = schema.trim().to_owned();
        } else if let Some(rest) = line.strip_prefix("| `") {
            let field = rest.split('`').next().unwrap_or_default().to_owned();
            schemas.entry(now.clone()).or_default().insert(field);
        }
    }
    schemas
}

fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                fields(value, &path, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, &format!("{path}[]"), found)),
        // A null where an object may be says nothing of what could be there; the objects of this snapshot have them all.
        Value::Null if ["owner", "fill"].iter().any(|parent| path.ends_with(parent)) => {}
        _ => drop(found.insert(path.to_owned())),
    }
}

/// Holders with the same name are told by their numbers, and no row lists hundreds.
#[test]
fn many_holders_are_few_words() {
    let mut builder = builder();
    let object = pipe(&mut builder, 1, 0);
    for pid in 10..400 {
        let process = process(&mut builder, pid, 1, if pid == 10 { "master" } else { "worker" });
        writes(&mut builder, process, object, 1);
    }
    let snapshot = finish(builder);
    assert_eq!(ls(&snapshot, &[Field::Who]), ["master 10, worker 11 12 13 +386 > nobody"]);
    let said = told(&snapshot, "pipe:1");
    assert!(said.starts_with(
        "master 10 (descriptor 1), worker 11 (descriptor 1), worker 12 (descriptor 1) and 387 more write"
    ));
}

/// A queue of which the kernel remembers numbers only.
#[test]
fn who_is_remembered_may_have_ended() {
    let snapshot = everything();
    let of = |kind| {
        let selection = Selection { kinds: vec![kind], ..Selection::default() };
        rows(&view(&snapshot).list(&selection, &[Field::Who], Order::default()))
    };
    assert_eq!(of(Kind::SysvMq), ["last server 10 > 999 (ended)"]);
    assert_eq!(of(Kind::SysvSem), ["last server 10"]);
    assert!(told(&snapshot, "msg:2").starts_with("server 10 was the last to send to queue msg:2, process 999 (ended)"));
}

/// A counter's capacity is the largest number there is: nothing that a person wants to read.
#[test]
fn a_counter_is_a_value_not_a_fill() {
    let mut builder = builder();
    let one = process(&mut builder, 10, 1, "one");
    let counter = builder.object(Identity::Numbered { kind: Kind::EventFd, number: 9 }, Kind::EventFd);
    let set = |builder: &mut Builder, count| {
        let object = builder.object_mut(counter);
        object.detail = Detail::EventFd(EventFd { count, is_semaphore: false });
        object.fill = Some(Fill { used: count, capacity: Some(u64::MAX - 1), unit: Unit::Count });
    };
    opens(&mut builder, one, counter, 36);
    set(&mut builder, 2);
    let snapshot = finish(builder);
    assert_eq!(ls(&snapshot, &[Field::Fill, Field::Who]), ["=2|one 10"]);
    assert_eq!(told(&snapshot, "eventfd:9"), "one 10 (descriptor 36) has eventfd:[9] open. Its count is 2.");
}

/// A process's own conversations: by kind and descriptor, called by the end that has a name, and it listens.
#[test]
fn a_process_tells_its_conversations_in_the_order_of_its_descriptors() {
    let mut builder = builder();
    let b = &mut builder;
    let (server, client) = (process(b, 10, 1, "server"), process(b, 20, 1, "client"));
    for (inode, fd) in [(1, 9), (2, 5)] {
        let object = pipe(b, inode, 0);
        writes(b, client, object, fd);
        reads(b, server, object, fd);
    }
    let listener = unix(b, 3, Some("/run/app"), SocketState::Listening);
    let accepted = unix(b, 4, Some("/run/app"), SocketState::Connected);
    let caller = unix(b, 5, None, SocketState::Connected);
    opens(b, server, listener, 3);
    opens(b, server, accepted, 4);
    opens(b, client, caller, 3);
    b.link(accepted, caller, LinkKind::Peer);
    let snapshot = finish(builder);
    let rows = |question| -> Vec<String> {
        ask(&snapshot, question)[0].grid.rows.iter().map(|row| row.cells.join("|")).collect()
    };
    let client =
        ["5 w|pipe|pipe:[2]|0/64K|> server 10", "9 w|pipe|pipe:[1]|0/64K|> server 10", "3 rw|unix|/run/app||server 10"];
    assert_eq!(rows("20"), client);
    assert!(rows("10").contains(&"3 rw|unix|/run/app||listens".to_owned()), "{:?}", rows("10"));
}

/// What is shown of a name can be copied into a question; what was only not looked at is not called gone.
#[test]
fn a_name_is_asked_for_as_it_is_shown() {
    let mut builder = builder();
    let server = process(&mut builder, 10, 1, b"ser\nver".as_slice());
    for (inode, name) in [(3, "@a\0\n"), (4, "/run/b\n")] {
        let socket = unix(&mut builder, inode, Some(name), SocketState::Listening);
        opens(&mut builder, server, socket, i32::try_from(inode).unwrap());
    }
    let snapshot = finish(builder);
    for (question, name) in [(r"@a\x00\n", r"@a\x00\n"), (r"/run/b\n", r"/run/b\n"), ("/run/b\n", r"/run/b\n")] {
        let said = told(&snapshot, question);
        assert!(said.contains(&format!("listens at the Unix socket at {name}.")) && !said.contains("exist"), "{said}");
    }
    assert_eq!(ask(&snapshot, r"ser\nver").len(), 1);
    let gone = Query::parse(b"/run/b\n").unwrap().missing();
    let said = view(&snapshot).who(&gone)[0].sentences.join(" ");
    assert!(said.contains("does not exist any more"), "{said}");
}

/// A pipe that thousands share, and a process with thousands of descriptors: work that grows with the
/// square of them would not end here.
#[test]
fn crowds_are_no_trouble() {
    let mut builder = builder();
    let shared: Vec<_> = (1..6).map(|inode| pipe(&mut builder, inode, 0)).collect();
    for pid in 10..20_010 {
        let process = process(&mut builder, pid, pid / 2, "crowd");
        for (object, fd) in shared.iter().zip(0..) {
            reads(&mut builder, process, *object, fd);
            writes(&mut builder, process, *object, fd + 10);
        }
    }
    let rich = builder.process_with_pid(10).unwrap();
    for inode in 100..50_100 {
        let object = pipe(&mut builder, inode, 0);
        reads(&mut builder, rich, object, i32::try_from(inode).unwrap());
    }
    let snapshot = finish(builder);
    let view = view(&snapshot);
    let list = view.list(&Selection::default(), Field::WIDE, Order { field: Field::Who, is_reversed: false });
    let tree = view.tree(&Selection::default(), Branches::Lines);
    let answers = ask(&snapshot, "10").len() + ask(&snapshot, "pipe:1").len();
    assert_eq!((list.grid.rows.len(), answers), (50_005, 2));
    assert_eq!(tree.grid.rows.len(), 20_000 + 5 * 20_000 + 50_000);
    assert!(tree.grid.rows.iter().any(|row| row.cells[4] == "crowd 11 12 13 14 +19995"));
}
