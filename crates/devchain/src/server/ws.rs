use std::sync::Arc;

use axum::Error;
use axum::extract::ws::{Message, WebSocket};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use crate::DevChain;
use crate::block::Block;
use crate::connection::{ServedConnection, Then};
use crate::rpc::{self, HeadJson, Subscriptions};

/// Serves one socket until either side closes it. Calls are answered one after the other.
pub(super) async fn session(chain: DevChain, mut socket: WebSocket, connection: ServedConnection) {
    let mut node = chain.faults.watch();
    let mut heads = chain.heads();
    let mut open = Subscriptions::default();
    while !node.is_closed() {
        let is_silent = node.is_silent();
        let then = tokio::select! {
            () = connection.broken() => Ok(Then::Close),
            is_there = node.changed() => Ok(if is_there { Then::GoOn } else { Then::Close }),
            head = heads.recv() => match head {
                // Uses the present behaviour of the node: a block mined after the node fell silent is not announced,
                // however busy this task is.
                Ok(block) if !node.is_silent() => announce(&mut socket, &open, &block).await,
                // Heads that a silent or slow socket missed are lost, as with a real node.
                Ok(_) | Err(RecvError::Lagged(_)) => Ok(Then::GoOn),
                Err(RecvError::Closed) => Ok(Then::Close),
            },
            // Not read, so pings get no pongs either.
            message = socket.recv(), if !is_silent => answer(&chain, &mut socket, &mut open, message).await,
        };
        if !matches!(then, Ok(Then::GoOn)) {
            break;
        }
    }
    connection.break_off();
}

async fn announce(socket: &mut WebSocket, open: &Subscriptions, block: &Arc<Block>) -> Result<Then, Error> {
    for id in open.ids() {
        let params = json!({ "subscription": id, "result": HeadJson::new(block) });
        let note = json!({ "jsonrpc": "2.0", "method": "eth_subscription", "params": params });
        socket.send(Message::Text(note.to_string().into())).await?;
    }
    Ok(Then::GoOn)
}

async fn answer(
    chain: &DevChain,
    socket: &mut WebSocket,
    open: &mut Subscriptions,
    message: Option<Result<Message, Error>>,
) -> Result<Then, Error> {
    let call = match message {
        Some(Ok(call @ (Message::Text(_) | Message::Binary(_)))) => call.into_data(),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(Then::GoOn),
        Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(Then::Close),
    };
    let reply = rpc::answer(chain, &call, Some(open)).await;
    let Some(body) = reply.body else {
        return Ok(Then::GoOn);
    };
    let (text, then) = match reply.wire {
        None => (Some(body), Then::GoOn),
        Some(fault) => fault.over_socket(&body),
    };
    if let Some(text) = text {
        socket.send(Message::Text(text.into())).await?;
    }
    Ok(then)
}
