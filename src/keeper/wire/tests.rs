use super::*;

#[test]
fn orders_arrive_as_they_were_given() {
    let mut messages = Vec::new();
    let patch = guard::Patch { offset: 2, form: guard::Form::Big64, unit: guard::Unit::Milliseconds };
    guard::write(&mut messages, guard::When::Arm, 12, b"0123456789", &[patch]);
    guard::write(&mut messages, guard::When::End, 0, b"gone", &[]);
    let orders = [
        Order::Begin { term: 5, hold: 2500 },
        Order::Bind { group: b"db", term: 5, cgroup: true, messages: &messages },
        Order::Bind { group: b"web", term: 5, cgroup: false, messages: b"" },
        Order::Arm { term: 5, number: 1, deadline: 1 << 40 },
        Order::Unbind { group: b"db" },
        Order::EndTerm { term: 5 },
        Order::Watchdog { timeout: 10 },
        Order::Define { slot: 7, name: b"acs/naming", image: 4711, output: true },
        Order::Spawn {
            slot: 7,
            generation: 1 << 40,
            cgroup: true,
            targets: Targets::new(&[3, 9]).unwrap(),
            additions: b"A=1\0B=\0",
        },
        Order::Signal { slot: 7, generation: 3, signal: 15, group: true },
        Order::Ack { slot: 7, generation: 3 },
        Order::Forget { slot: 7 },
        Order::Cgroup,
        Order::Log { slot: 1 },
        Order::DropLog { slot: 1 },
        Order::Logs,
        Order::Pong,
        Order::Notify { text: b"READY=1" },
        Order::Put { name: b"stream 127.0.0.1:80" },
        Order::Drop { name: b"stream 127.0.0.1:80" },
        Order::Replace,
        Order::Exit { code: 75 },
    ];
    let mut message = Message::default();
    orders.iter().for_each(|o| message.order(o));
    let mut records = Records::of(message.bytes()).unwrap();
    for order in &orders {
        assert_eq!(&records.order().unwrap().unwrap().0, order);
    }
    assert_eq!(records.order(), Ok(None));
}

#[test]
fn reports_arrive_as_they_were_given() {
    let entry = |state, name| Report::Entry { slot: 5, generation: 6, state, pid: 77, name };
    let standing = guard::Standing {
        term: 5,
        fired: 6,
        deadline: 7,
        armed: 8,
        refused: 1,
        errno: libc::EPERM,
        late: 70,
        means: guard::MEMORY,
    };
    let reports = [
        Report::Guard(standing),
        Report::Bound { group: b"db", term: 5 },
        Report::Hello { pid: 1 },
        entry(State::Idle, b"a/b".as_slice()),
        entry(State::Starting, b""),
        entry(State::Running, b""),
        entry(State::Ended(Status::Code(3)), b""),
        entry(State::Ended(Status::Signal(9)), b""),
        entry(State::Ended(Status::Unknown), b""),
        entry(State::Failed { step: 4, errno: 2 }, b""),
        Report::Bank { name: b"unix /run/x" },
        Report::End,
        Report::Refused { slot: 5, generation: 6 },
        Report::Orphans { count: 12 },
        Report::Signalled { signal: 15 },
        Report::Ping,
        Report::Logs,
    ];
    let mut message = Message::default();
    reports.iter().for_each(|r| message.report(r));
    let mut records = Records::of(message.bytes()).unwrap();
    for report in &reports {
        assert_eq!(&records.report().unwrap().unwrap(), report);
    }
    assert_eq!(records.report(), Ok(None));
}

#[test]
fn nonsense_is_malformed_and_never_a_panic() {
    let mut message = Message::default();
    message.order(&Order::Define { slot: 7, name: b"acs/naming", image: 4711, output: true });
    let targets = Targets::new(&[3, 9]).unwrap();
    message.order(&Order::Spawn { slot: 7, generation: 1, cgroup: true, targets, additions: b"A=1\0" });
    let mut messages = Vec::new();
    let patch = guard::Patch { offset: 2, form: guard::Form::Big64, unit: guard::Unit::Milliseconds };
    guard::write(&mut messages, guard::When::Arm, 12, b"0123456789", &[patch]);
    message.order(&Order::Bind { group: b"db", term: 5, cgroup: true, messages: &messages });
    message.order(&Order::Arm { term: 5, number: 1, deadline: 2 });
    let good = message.bytes().to_vec();
    let read = |bytes: &[u8]| {
        let mut records = Records::of(bytes)?;
        while records.order()?.is_some() {}
        Ok::<(), Malformed>(())
    };
    assert_eq!(read(&good), Ok(()));
    for cut in 0..good.len() {
        let _ = read(&good[..cut]);
        for value in [0, 1, 0x7f, 0xff] {
            let mut bad = good.clone();
            bad[cut] = value;
            let _ = read(&bad);
        }
    }
    assert_eq!(read(&[]), Err(Malformed));
    assert_eq!(read(&good[..good.len() - 1]), Err(Malformed));
    assert_eq!(Targets::new(&[2]), None);
}

#[test]
fn a_message_with_a_time_outside_itself_is_malformed() {
    let read = |list: &[u8]| guard::read(list).collect::<Result<Vec<_>, _>>().map(|all| all.len());
    let patch = |offset, form| guard::Patch { offset, form, unit: guard::Unit::Seconds };
    let message = |when, bytes: &[u8], patches: &[guard::Patch]| {
        let mut list = Vec::new();
        guard::write(&mut list, when, 0, bytes, patches);
        list
    };
    let cases = [
        (message(guard::When::Arm, b"01234567", &[patch(4, guard::Form::Native32)]), Ok(1)),
        (message(guard::When::Arm, b"01234567", &[patch(5, guard::Form::Big32)]), Err(Malformed)),
        (message(guard::When::Arm, b"01234567", &[patch(1, guard::Form::Native64)]), Err(Malformed)),
        (message(guard::When::End, b"01234567", &[patch(0, guard::Form::Big64)]), Err(Malformed)),
        (message(guard::When::End, b"", &[]), Err(Malformed)),
        (Vec::new(), Ok(0)),
    ];
    for (list, expected) in cases {
        assert_eq!(read(&list), expected, "{list:?}");
    }
}
