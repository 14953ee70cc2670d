use super::super::frames::delivered;
use super::{ClientSocket, End, PROTOCOL_LABEL, in_time};
use crate::feed::Delivery;
use crate::websocket::{OutgoingText, WRITE_BYTES, deflate};
use chainflume_ops::metrics::DeliveryMeter;

/// Messages on their way to a client, which one write sends.
pub(super) struct FrameBatch {
    meter: DeliveryMeter,
    texts: Vec<OutgoingText>,
    /// Of the texts together.
    bytes: usize,
    /// Each with its frames, and their bytes.
    deliveries: Vec<(Delivery, usize)>,
}

impl FrameBatch {
    pub fn new() -> Self {
        let meter = DeliveryMeter::new(PROTOCOL_LABEL);
        Self { meter, texts: Vec::new(), bytes: 0, deliveries: Vec::new() }
    }

    pub fn add(&mut self, text: impl Into<OutgoingText>) {
        let text = text.into();
        self.bytes += text.bytes.len();
        self.texts.push(text);
    }

    pub fn add_message(&mut self, delivery: Delivery, is_compressed: bool) {
        let (entry, before) = (&delivery.entry, self.bytes);
        for room in &delivery.rooms {
            match is_compressed.then(|| entry.compressed(*room, deflate)).flatten() {
                Some(bytes) => self.add(OutgoingText { bytes, is_compressed: true }),
                None => self.add(entry.frame(*room)),
            }
        }
        self.deliveries.push((delivery, self.bytes - before));
    }

    /// Whether it is to be sent before more is added.
    pub fn is_full(&self) -> bool {
        self.bytes >= WRITE_BYTES
    }

    /// Sends what was added.
    pub async fn send(&mut self, socket: &mut ClientSocket) -> Result<(), End> {
        if !self.texts.is_empty() {
            in_time(socket.texts(&self.texts)).await?;
        }
        self.texts.clear();
        self.bytes = 0;
        for (delivery, bytes) in self.deliveries.drain(..) {
            delivered(&self.meter, &delivery, (delivery.rooms.len(), bytes));
        }
        Ok(())
    }
}
