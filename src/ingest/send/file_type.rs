//! As what a file is sent: as a picture, a video, audio, or a document. Pure.
//!
//! What the server says counts, unless it says nothing of use; then the first bytes do. Phones show
//! few kinds of pictures and videos (the lists are those of Meta's Cloud API, and what phones
//! themselves send); all others go as documents, which phones can store and open.

use whatsapp_rust::download::MediaType;

use crate::model::{UNKNOWN_MEDIA_TYPE, is_media_type};

const OPUS: &str = "audio/ogg; codecs=opus";
const PICTURES: [&str; 4] = ["image/jpeg", "image/png", "image/webp", "image/gif"];
const VIDEOS: [&str; 3] = ["video/mp4", "video/3gpp", "video/quicktime"];
/// Opus counts samples at this rate, whatever the recording's was (RFC 7845).
const OPUS_SAMPLES_PER_SECOND: u64 = 48_000;
/// Characters of each half of a type.
const TYPE_CHARS_MAX: usize = 64;
const CODECS_CHARS_MAX: usize = 64;

/// What a file is.
#[derive(Debug, PartialEq)]
pub(super) struct FileType {
    pub(super) kind: MediaType,
    /// Never empty. Of its parameters only the codecs of audio are kept.
    pub(super) mime_type: String,
}

impl FileType {
    pub(super) fn of(served: &str, bytes: &[u8]) -> Self {
        let mime_type = mime_type(served, bytes);
        let base = mime_type.split(';').next().unwrap_or_default();
        let kind = match base {
            base if base.starts_with("audio/") => MediaType::Audio,
            base if PICTURES.contains(&base) => MediaType::Image,
            base if VIDEOS.contains(&base) => MediaType::Video,
            _ => MediaType::Document,
        };
        Self { kind, mime_type }
    }

    /// Whether it is what phones record: they play nothing else as a voice note.
    pub(super) fn is_opus(&self) -> bool {
        self.mime_type == OPUS
    }
}

fn mime_type(served: &str, bytes: &[u8]) -> String {
    let served = served.to_ascii_lowercase();
    let mut parts = served.split(';').map(str::trim);
    let base = match parts.next().unwrap_or_default() {
        "image/jpg" | "image/pjpeg" => "image/jpeg",
        "audio/mp3" => "audio/mpeg",
        base => base,
    };
    let is_ogg = matches!(
        base,
        "audio/ogg" | "audio/opus" | "application/ogg" | "video/ogg" | "audio/x-opus+ogg"
    );
    if is_ogg && opus_head(bytes).is_some() {
        return OPUS.to_owned();
    }
    if !is_type(base)
        || matches!(
            base,
            UNKNOWN_MEDIA_TYPE | "binary/octet-stream" | "application/binary"
        )
    {
        return sniffed(bytes).unwrap_or(UNKNOWN_MEDIA_TYPE).to_owned();
    }
    let codecs = parts.find_map(|part| part.strip_prefix("codecs="));
    match codecs.map(|codecs| codecs.trim_matches('"')) {
        Some(codecs)
            if base.starts_with("audio/")
                && (1..=CODECS_CHARS_MAX).contains(&codecs.len())
                && !codecs.contains('"') =>
        {
            format!("{base}; codecs={codecs}")
        }
        _ => base.to_owned(),
    }
}

fn is_type(text: &str) -> bool {
    is_media_type(text) && text.split('/').all(|part| part.len() <= TYPE_CHARS_MAX)
}

/// What the first bytes say.
fn sniffed(bytes: &[u8]) -> Option<&'static str> {
    let at =
        |from: usize, mark: &[u8]| bytes.get(from..).is_some_and(|rest| rest.starts_with(mark));
    if opus_head(bytes).is_some() {
        return Some(OPUS);
    }
    if at(4, b"ftyp") {
        return Some(match bytes.get(8..12)? {
            b"M4A " | b"M4B " => "audio/mp4",
            b"qt  " => "video/quicktime",
            b"heic" | b"heix" | b"mif1" => "image/heic",
            b"avif" => "image/avif",
            brand if brand.starts_with(b"3g") => "video/3gpp",
            _ => "video/mp4",
        });
    }
    if at(0, b"RIFF") {
        return match bytes.get(8..12)? {
            b"WEBP" => Some("image/webp"),
            b"WAVE" => Some("audio/wav"),
            b"AVI " => Some("video/x-msvideo"),
            _ => None,
        };
    }
    let marks: [(&[u8], &str); 14] = [
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"GIF8", "image/gif"),
        (b"%PDF-", "application/pdf"),
        (b"OggS", "audio/ogg"),
        (b"ID3", "audio/mpeg"),
        (b"\xff\xfb", "audio/mpeg"),
        (b"\xff\xf3", "audio/mpeg"),
        (b"\xff\xf1", "audio/aac"),
        (b"\xff\xf9", "audio/aac"),
        (b"#!AMR", "audio/amr"),
        (b"fLaC", "audio/flac"),
        (b"\x1a\x45\xdf\xa3", "video/webm"),
        (b"PK\x03\x04", "application/zip"),
    ];
    let found = marks.into_iter().find(|(mark, _)| at(0, mark));
    found.map(|(_, mime_type)| mime_type)
}

/// The first packet of Opus in Ogg (RFC 7845, 5.1).
fn opus_head(bytes: &[u8]) -> Option<&[u8]> {
    if !bytes.starts_with(b"OggS") {
        return None;
    }
    let segments = usize::from(*bytes.get(26)?);
    let packet = bytes.get(27 + segments..)?;
    packet.starts_with(b"OpusHead").then_some(packet)
}

/// How long Opus in Ogg plays, rounded up: the last page has the number of samples up to its end.
pub(super) fn opus_seconds(bytes: &[u8]) -> Option<u32> {
    let head = opus_head(bytes)?;
    let skipped = u64::from(u16::from_le_bytes(head.get(10..12)?.try_into().ok()?));
    let last = bytes.windows(4).rposition(|window| window == b"OggS")?;
    let samples = u64::from_le_bytes(bytes.get(last + 6..last + 14)?.try_into().ok()?);
    let played = samples.checked_sub(skipped)?;
    // A day: more is a damaged file.
    let seconds = played.div_ceil(OPUS_SAMPLES_PER_SECOND);
    u32::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds <= 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pages: the head, and the end at this sample.
    fn ogg(samples: u64) -> Vec<u8> {
        let mut bytes = b"OggS\0\x02".to_vec();
        bytes.extend([0; 20]);
        bytes.extend([1, 19]);
        bytes.extend(b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0");
        bytes.extend(b"OggS\0\x04");
        bytes.extend(samples.to_le_bytes());
        bytes.extend([0; 13]);
        bytes
    }

    #[test]
    fn what_the_server_says_counts_and_else_the_first_bytes() {
        use MediaType::{Audio, Document, Image, Video};
        let jpeg = b"\xff\xd8\xff\xe0".as_slice();
        let voice = ogg(48_000);
        let nothing = b"hello".as_slice();
        let table: [(&str, &[u8], MediaType, &str); 26] = [
            ("image/jpeg", nothing, Image, "image/jpeg"),
            ("IMAGE/JPG; q=1", nothing, Image, "image/jpeg"),
            ("image/png; a=b", nothing, Image, "image/png"),
            ("image/svg+xml", nothing, Document, "image/svg+xml"),
            ("image/tiff", nothing, Document, "image/tiff"),
            ("image/heic", nothing, Document, "image/heic"),
            ("video/mp4; codecs=\"avc1\"", nothing, Video, "video/mp4"),
            ("video/webm", nothing, Document, "video/webm"),
            ("audio/ogg; codecs=opus", nothing, Audio, OPUS),
            ("audio/ogg;codecs=\"OPUS\"", nothing, Audio, OPUS),
            ("audio/ogg", &voice, Audio, OPUS),
            ("application/ogg", &voice, Audio, OPUS),
            ("audio/opus", &voice, Audio, OPUS),
            ("audio/ogg", nothing, Audio, "audio/ogg"),
            ("audio/mp3", nothing, Audio, "audio/mpeg"),
            ("text/html; charset=utf-8", nothing, Document, "text/html"),
            ("", jpeg, Image, "image/jpeg"),
            ("application/octet-stream", jpeg, Image, "image/jpeg"),
            ("binary/octet-stream", &voice, Audio, OPUS),
            ("", b"RIFF\0\0\0\0WEBPVP8 ", Image, "image/webp"),
            ("", b"\0\0\0\x20ftypM4A \0", Audio, "audio/mp4"),
            ("", b"\0\0\0\x20ftypisom\0", Video, "video/mp4"),
            ("", b"%PDF-1.7", Document, "application/pdf"),
            ("", nothing, Document, UNKNOWN_MEDIA_TYPE),
            ("", b"", Document, UNKNOWN_MEDIA_TYPE),
            ("jpeg", jpeg, Image, "image/jpeg"),
        ];
        for (served, bytes, kind, mime_type) in table {
            let mime_type = mime_type.to_owned();
            assert_eq!(
                FileType::of(served, bytes),
                FileType { kind, mime_type },
                "{served}"
            );
        }
    }

    #[test]
    fn a_voice_note_is_as_long_as_its_last_page_says() {
        // 312 samples are skipped at the start.
        assert_eq!(opus_seconds(&ogg(48_312)), Some(1));
        assert_eq!(opus_seconds(&ogg(48_313)), Some(2));
        for damaged in [0, u64::MAX] {
            assert_eq!(opus_seconds(&ogg(damaged)), None);
        }
        assert_eq!(opus_seconds(&ogg(48_000)[..60]), None, "cut");
        assert_eq!(opus_seconds(b"OggS"), None);
    }
}
