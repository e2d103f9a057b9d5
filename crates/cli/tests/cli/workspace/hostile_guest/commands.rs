//! Commands that lie.

use super::Impostor;
use super::line::zeros;
use crate::{DEBIAN, SUITE};
use pyro_protocol::v1::reply::Reply as Answer;
use pyro_protocol::v1::request::Call;
use pyro_protocol::v1::{Done, Exited, Output, OutputStream, Started};

#[test]
fn a_command_that_lies_ends_in_time() {
    let home = SUITE.with(DEBIAN);
    let impostor = Impostor::new(&home);
    let output = |stream: OutputStream, bytes: usize| {
        Answer::Output(Output { stream: stream.into(), data: vec![b'x'; bytes].into() })
    };
    let command = ["--timeout-seconds", "3", "--", "true"];
    let refused = |what: &'static str, code: &str, started: bool, then: Option<Answer>, endless: bool| {
        impostor.lies(move |line, call| {
            if !matches!(call, Call::Exec(_)) {
                return line.send(Answer::Done(Done {}));
            }
            if started {
                line.send(Answer::Started(Started { pid: 1 }))?;
            }
            match then.clone() {
                Some(answer) if endless => line.endless(answer),
                Some(answer) => line.send(answer),
                None => {
                    line.silence();
                    Ok(())
                }
            }
        });
        let run = impostor.bounded("exec", &command, what);
        if code == "timed_out" {
            // As with a command that takes too long.
            assert_eq!(run.expect(124).json()["timed_out"], true, "{what}");
        } else {
            assert_eq!(run.expect(125).json()["error"]["code"], code, "{what}");
        }
    };
    let (stdout, unknown) = (OutputStream::Stdout, OutputStream::Unspecified);
    let exited = Answer::Exited(Exited::default());
    refused("an end before the start", "guest_misbehaved", false, Some(exited), false);
    refused("output before the start", "guest_misbehaved", false, Some(output(stdout, 5)), false);
    refused("output of nowhere", "guest_misbehaved", true, Some(output(unknown, 5)), false);
    refused("another answer", "guest_misbehaved", true, Some(zeros(5)), false);
    refused("no end", "timed_out", true, None, false);
    refused("output without an end", "timed_out", true, Some(output(stdout, 64 << 10)), true);
    refused("output of nothing", "timed_out", true, Some(output(stdout, 0)), true);
    let logs = impostor.workspace.json("logs", &[]);
    let states: Vec<_> = logs["entries"].as_array().unwrap().iter().map(|entry| &entry["state"]).collect();
    assert_eq!(states, [["interrupted"; 4].as_slice(), &["exited"; 3]].concat());
}
