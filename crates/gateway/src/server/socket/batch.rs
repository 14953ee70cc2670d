use bytes::Bytes;

use super::super::frames::delivered;
use super::{ClientSocket, End, PROTOCOL_LABEL};
use crate::feed::{Delivery, DirectSink, Sent};
use crate::tcp::DirectWriter;
use crate::websocket::{WRITE_BYTES, compressed_text_frame, text_frame};
use chainflume_ops::metrics::DeliveryMeter;

/// Messages on their way to a client, which one write sends.
pub(super) struct FrameBatch {
    encoder: FrameEncoder,
    frames: Vec<Bytes>,
    /// Of the frames together.
    bytes: usize,
    /// Each with its frames, and their bytes.
    deliveries: Vec<(Delivery, usize)>,
}

/// What a client gets of a message, and the count of it.
#[derive(Clone)]
struct FrameEncoder {
    meter: DeliveryMeter,
    is_compressed: bool,
}

/// Writes messages to a client while the task of its connection waits.
pub(super) struct DirectFrames {
    encoder: FrameEncoder,
    writer: DirectWriter,
}

impl FrameEncoder {
    fn frame(&self, delivery: &Delivery, room: usize) -> Bytes {
        match self.is_compressed {
            true => delivery.entry.compressed_frame(room, compressed_text_frame),
            false => delivery.entry.plain_frame(room, text_frame),
        }
    }
}

impl FrameBatch {
    /// For a client that takes compressed messages, or not.
    pub fn new(is_compressed: bool) -> Self {
        let encoder = FrameEncoder { meter: DeliveryMeter::new(PROTOCOL_LABEL), is_compressed };
        Self { encoder, frames: Vec::new(), bytes: 0, deliveries: Vec::new() }
    }

    /// What writes the same frames by `writer`.
    pub fn direct(&self, writer: DirectWriter) -> DirectFrames {
        DirectFrames { encoder: self.encoder.clone(), writer }
    }

    pub fn add(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push(frame);
    }

    pub fn add_message(&mut self, delivery: Delivery) {
        let before = self.bytes;
        for room in &delivery.rooms {
            self.add(self.encoder.frame(&delivery, *room));
        }
        self.deliveries.push((delivery, self.bytes - before));
    }

    /// Whether it is to be sent before more is added.
    pub fn is_full(&self) -> bool {
        self.bytes >= WRITE_BYTES
    }

    /// Sends what was added.
    pub async fn send(&mut self, socket: &mut ClientSocket) -> Result<(), End> {
        if !self.frames.is_empty() {
            socket.frames(&self.frames).await?;
        }
        self.frames.clear();
        self.bytes = 0;
        for (delivery, bytes) in self.deliveries.drain(..) {
            delivered(&self.encoder.meter, &delivery, delivery.rooms.len(), bytes);
        }
        Ok(())
    }
}

impl DirectSink for DirectFrames {
    fn send(&self, deliveries: &[Delivery]) -> Sent {
        let mut frames: Vec<Bytes> = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let first = frames.len();
            frames.extend(delivery.rooms.iter().map(|room| self.encoder.frame(delivery, *room)));
            let bytes = frames.iter().skip(first).map(Bytes::len).sum();
            delivered(&self.encoder.meter, delivery, delivery.rooms.len(), bytes);
        }
        let is_done = match frames.as_slice() {
            [one] => self.writer.write(one),
            several => self.writer.write(&several.concat()),
        };
        if is_done { Sent::All } else { Sent::Unflushed }
    }
}
