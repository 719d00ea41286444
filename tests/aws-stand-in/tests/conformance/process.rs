//! The stand-in as a process: one line, and an end on SIGTERM.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::Value;

#[tokio::test]
async fn the_process_says_where_it_is_and_ends_on_a_signal() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_aws-stand-in"))
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    let client = aws_stand_in::client::Client::new(line["url"].as_str().unwrap());
    assert!(client.calls().await.unwrap().is_empty());

    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    assert!(child.wait().unwrap().success());
    line_is_the_only_one(stdout);
}

fn line_is_the_only_one(stdout: impl BufRead) {
    assert_eq!(stdout.lines().count(), 0);
}
