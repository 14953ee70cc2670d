//! A minimal HTTP client, so that a test sees the exact bytes.

use std::io;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Server;

/// The answer.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answered {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(super) fn promised_length(&self) -> usize {
        let line = self.head.lines().find_map(|line| line.strip_prefix("content-length: "));
        line.unwrap().parse().unwrap()
    }
}

/// Sends `body` and reads until the other side closes.
pub(super) async fn send(server: &Server, method: &str, body: &str) -> io::Result<Answered> {
    let mut stream = TcpStream::connect(server.address()).await?;
    let length = body.len();
    let head =
        format!("{method} /any/path HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}");
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await?;
    let mut raw = Vec::new();
    let read = stream.read_to_end(&mut raw).await;
    let text = String::from_utf8(raw).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        read?;
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answered { status, head: head.to_lowercase(), body: body.to_owned() })
}

pub(super) fn request(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params })
}

/// Calls over HTTP, and returns any answer.
pub(super) async fn post(server: &Server, method: &str, params: Value) -> io::Result<Answered> {
    send(server, "POST", &request(method, &params).to_string()).await
}

/// The whole JSON-RPC answer.
pub(super) async fn call(server: &Server, method: &str, params: Value) -> Value {
    post(server, method, params).await.unwrap().json()
}

/// The `result` of a call that succeeds.
pub(super) async fn result(server: &Server, method: &str, params: Value) -> Value {
    let mut answer = call(server, method, params).await;
    assert_eq!(answer.get("error"), None);
    answer["result"].take()
}

/// (code, message) of a call that fails.
pub(super) async fn error(server: &Server, method: &str, params: Value) -> (i64, String) {
    let answer = call(server, method, params).await;
    let error = &answer["error"];
    (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
}
