use axum::body::Bytes;
use serde_json::json;

use super::super::frames::delivered;
use super::super::session::Session;
use super::SocketIoEnd;
use crate::feed::{Arrival, Delivery, DirectSink, Sent};
use crate::socketio::{EngineClient, PacketSender};
use chainflume_ops::metrics::DeliveryMeter;

/// Sends live messages while the task of the client waits.
pub(super) struct DirectPackets {
    sender: PacketSender,
    meter: DeliveryMeter,
}

impl DirectPackets {
    pub fn new(sender: PacketSender, meter: DeliveryMeter) -> Self {
        Self { sender, meter }
    }
}

impl DirectSink for DirectPackets {
    fn send(&self, deliveries: &[Delivery]) -> Sent {
        for (index, delivery) in deliveries.iter().enumerate() {
            let packets = delivery.entry.packets(&delivery.rooms);
            if !self.sender.try_send(&packets) {
                return Sent::Only(index);
            }
            let bytes = packets.iter().map(Bytes::len).sum();
            delivered(&self.meter, delivery, packets.len(), bytes);
        }
        Sent::All
    }
}

/// Sends an arrival, and all that is ready after it.
pub(super) async fn hand_out_all(
    session: &mut Session,
    client: &EngineClient,
    meter: &DeliveryMeter,
    arrival: Arrival,
) -> Result<(), SocketIoEnd> {
    let mut next = Some(arrival);
    while let Some(arrival) = next {
        hand_out(client, meter, arrival).await?;
        next = session.ready();
    }
    Ok(())
}

/// Sends an arrival.
pub(super) async fn hand_out(
    client: &EngineClient,
    meter: &DeliveryMeter,
    arrival: Arrival,
) -> Result<(), SocketIoEnd> {
    match arrival {
        Arrival::TooSlow => Err(SocketIoEnd::TooSlow),
        // The transport flushes by itself.
        Arrival::Unflushed => Ok(()),
        Arrival::Gap(gap) => {
            let position = gap.to.to_string();
            let meta =
                json!({ "id": null, "seq": gap.to.seq, "position": position, "state": null, "rooms": [] });
            Ok(client.send(format!("42{}", json!(["gap", gap.to_json(), meta]))).await?)
        }
        Arrival::Message(delivery) => {
            let (mut sent, mut bytes) = (0, 0);
            for packet in delivery.entry.packets(&delivery.rooms) {
                (sent, bytes) = (sent + 1, bytes + packet.len());
                client.send(packet).await?;
            }
            delivered(meter, &delivery, sent, bytes);
            Ok(())
        }
    }
}
