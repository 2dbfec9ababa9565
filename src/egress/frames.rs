//! The frames of an HTTP/2 connection, counted.

/// Bytes of frames that bring nothing: interim answers, pings, settings, empty data. A head may
/// have as many.
const OVERHEAD_BYTES_MAX: usize = 256 * 1024;
/// Length, type, flags and stream (RFC 9113, section 4.1).
const FRAME_HEADER_BYTES: usize = 9;
const TYPE_DATA: u8 = 0;
const TYPE_SETTINGS: u8 = 4;
/// An identifier and a value.
const SETTING_BYTES: usize = 6;
const SETTINGS_MAX_CONCURRENT_STREAMS: u16 = 3;
/// Of one frame of settings that are looked at: more than there are settings.
const SETTINGS_BYTES_MAX: usize = 32 * SETTING_BYTES;

/// Counts what came since there was progress. The bytes of bodies do not count: the window of flow
/// control bounds them.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
    payload_left: usize,
    overhead_bytes: usize,
    settings: Vec<u8>,
    streams_max: Option<u32>,
}

impl Frames {
    /// A head or a part of a body was of use to a request.
    pub(super) fn progressed(&mut self) {
        self.overhead_bytes = 0;
    }

    /// Takes what came; whether the endpoint keeps to the limit.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let length = self.payload_left.min(bytes.len());
                let (payload, rest) = bytes.split_at(length);
                self.payload_left -= length;
                bytes = rest;
                self.payload(payload);
                continue;
            }
            self.header[self.header_bytes] = bytes[0];
            self.header_bytes += 1;
            bytes = &bytes[1..];
            if self.header_bytes == FRAME_HEADER_BYTES {
                self.begin_payload();
            }
        }
        self.overhead_bytes <= OVERHEAD_BYTES_MAX
    }

    /// Requests at once that the endpoint allows, once its settings are here.
    pub(super) fn streams_max(&self) -> Option<u32> {
        self.streams_max
    }

    fn payload(&mut self, payload: &[u8]) {
        if self.header[3] != TYPE_SETTINGS {
            return;
        }
        let room = SETTINGS_BYTES_MAX - self.settings.len();
        self.settings
            .extend_from_slice(&payload[..payload.len().min(room)]);
        if self.payload_left > 0 {
            return;
        }
        // Without a limit in its first settings there is none.
        self.streams_max.get_or_insert(u32::MAX);
        for setting in self.settings.chunks_exact(SETTING_BYTES) {
            let name = u16::from_be_bytes([setting[0], setting[1]]);
            if name == SETTINGS_MAX_CONCURRENT_STREAMS {
                let value = [setting[2], setting[3], setting[4], setting[5]];
                self.streams_max = Some(u32::from_be_bytes(value));
            }
        }
        self.settings.clear();
    }

    fn begin_payload(&mut self) {
        let [high, middle, low, kind, ..] = self.header;
        self.payload_left = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.header_bytes = 0;
        if self.payload_left == 0 {
            self.payload(&[]);
        }
        self.overhead_bytes += FRAME_HEADER_BYTES;
        if kind != TYPE_DATA {
            self.overhead_bytes += self.payload_left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).expect("fits").to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        frame.resize(FRAME_HEADER_BYTES + payload, 7);
        frame
    }

    #[test]
    fn data_is_free_and_other_frames_are_counted() {
        let mut frames = Frames::default();
        for _ in 0..1000 {
            assert!(frames.push(&frame(TYPE_DATA, 16_384)));
        }
        for _ in 0..1000 {
            assert!(frames.push(&frame(6, 8)));
            frames.progressed();
        }
        let pings = (0..).take_while(|_| frames.push(&frame(6, 8))).count();
        assert_eq!(pings, OVERHEAD_BYTES_MAX / (FRAME_HEADER_BYTES + 8));
    }

    #[test]
    fn pieces_count_like_the_whole() {
        let mut settings = frame(TYPE_SETTINGS, 12);
        settings[9..].copy_from_slice(&[0, 1, 0, 0, 0, 9, 0, 3, 0, 0, 1, 2]);
        let bytes = [
            frame(1, 300),
            settings,
            frame(TYPE_DATA, 70),
            frame(TYPE_SETTINGS, 0),
        ]
        .concat();
        for size in 1..bytes.len() {
            let mut frames = Frames::default();
            for piece in bytes.chunks(size) {
                frames.push(piece);
            }
            assert_eq!(
                frames.overhead_bytes,
                4 * FRAME_HEADER_BYTES + 312,
                "{size}"
            );
            assert_eq!(frames.streams_max(), Some(258), "{size}");
        }
    }
}
