//! A mirror that cannot be reached, fails midway, or is none.

use crate::{CLOSED_MIRROR, SUITE};
use pyro_testkit::{Home, Value};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

/// A mirror that answers every request with the same bytes, for as long as the test's process lives.
fn mirror(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/debian", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                line.clear();
            }
            // A client that has gone meanwhile is what some of these tests are about.
            let _gone = (&stream).write_all(answer.as_bytes());
        }
    });
    url
}

/// What fetching from `mirror` fails with.
fn failure(home: &Home, mirror: &str) -> Value {
    let run = home.pyro(["runtime", "fetch", "--json"]).env("PYRO_DEBIAN_MIRROR", mirror).run().expect(1);
    let error = run.json()["error"].clone();
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("PYRO_DEBIAN_MIRROR")), "{error}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains(mirror)), "{error}");
    error
}

#[test]
fn failures_of_a_mirror_are_told_apart() {
    let home = SUITE.bare();
    let missing = mirror("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let cut = mirror("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n-----BEGIN");
    let other = mirror("HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nHello there.");
    for (mirror, code) in [
        (CLOSED_MIRROR, "unreachable"),
        (&cut, "unreachable"),
        (&other, "integrity"),
        (&missing, "unreachable"),
    ] {
        let error = failure(&home, mirror);
        assert_eq!(error["code"], code, "{error}");
    }
    let status = home.pyro(["runtime", "status", "--json"]).run().expect(0).json();
    assert_eq!(status["state"], "missing", "nothing half-made is taken for a bundle");
}

#[test]
fn an_environment_is_not_built_from_an_unreachable_mirror() {
    let home = SUITE.with(crate::DEBIAN);
    let own = home.path().join("environments");
    let pull = |arguments: &[&str]| {
        home.pyro(arguments)
            .env("PYRO_ENVIRONMENT_CACHE_DIR", &own)
            .env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR)
            .run()
    };
    let run = pull(&["env", "pull", "debian:12-base", "--json"]).expect(1);
    assert_eq!(run.json()["error"]["code"], "unreachable", "{}", run.stderr);
    let run = pull(&["run", "debian:12-base", "--", "true"]).expect(125);
    assert!(run.stderr.contains("nothing was run") && run.stderr.contains(" hint: "), "{}", run.stderr);
    let listed = pull(&["env", "inspect", "debian:12-base", "--json"]).expect(0).json();
    assert_eq!(listed["state"], "absent");
}
