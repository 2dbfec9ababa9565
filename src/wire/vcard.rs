//! Contact cards: without what is not text, and the numbers in them.

use serde_json::{Value, json};

use crate::model::Phone;

/// Bytes of a contact card.
pub const CARD_BYTES_MAX: usize = 16 * 1024;
/// Numbers of one card that are listed, and the characters of each.
const PHONES_MAX: usize = 16;
const PHONE_CHARS_MAX: usize = 1024;
/// Properties that hold files. A picture may take more than all else together.
const FILES: [&str; 4] = ["PHOTO", "LOGO", "SOUND", "KEY"];
const END: &str = "END:VCARD";

/// The name of a line's property: `item1.TEL;type=CELL:…` is `TEL`.
fn property(line: &str) -> &str {
    let name = line.split([';', ':']).next().unwrap_or_default();
    name.rsplit('.').next().unwrap_or_default()
}

/// A line that begins with a space goes on from the one before.
fn goes_on(line: &str) -> bool {
    line.starts_with([' ', '\t'])
}

/// The card without its files. If it is still too long, whole lines are cut from its end, and its
/// last line says where it ends.
pub fn shorten_card(card: &str) -> String {
    let mut shown = String::with_capacity(card.len().min(CARD_BYTES_MAX));
    let mut is_file = false;
    for line in card.split_inclusive('\n') {
        if !goes_on(line) {
            let name = property(line);
            is_file = FILES.iter().any(|file| name.eq_ignore_ascii_case(file));
        }
        if is_file {
            continue;
        }
        if shown.len() + line.len() > CARD_BYTES_MAX - END.len() {
            if card.trim_start().starts_with("BEGIN:VCARD") {
                shown.push_str(END);
            }
            break;
        }
        shown.push_str(line);
    }
    shown
}

/// A card for one number, as phones send it (RFC 2426). `waid` leads to the account.
///
/// # Examples
///
/// ```
/// use wahook::wire::contact_card;
///
/// let card = contact_card("Ann; Lee", &"4915112345678".parse()?);
/// assert!(card.contains("FN:Ann\\; Lee\n"));
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
pub fn contact_card(name: &str, phone: &Phone) -> String {
    let mut escaped = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '\\' | ',' | ';' => escaped.extend(['\\', letter]),
            '\n' => escaped.push_str("\\n"),
            '\r' => {}
            _ => escaped.push(letter),
        }
    }
    let number = phone.as_str();
    format!(
        "BEGIN:VCARD\nVERSION:3.0\nN:;{escaped};;;\nFN:{escaped}\n\
         TEL;type=CELL;waid={number}:+{number}\nEND:VCARD"
    )
}

/// The numbers of a card: as they are written, and the WhatsApp id where the card has it.
pub fn card_phones(card: &str) -> Vec<Value> {
    let unfolded = card.replace("\r\n ", "").replace("\n ", "");
    let phone = |line: &str| {
        let line = line.trim();
        if !property(line).eq_ignore_ascii_case("TEL") {
            return None;
        }
        let (head, number) = line.split_once(':')?;
        let id = head
            .split(';')
            .find_map(|parameter| parameter.strip_prefix("waid="));
        // Version 4 writes an address: `tel:+49-22`.
        let number = number.strip_prefix("tel:").unwrap_or(number).trim();
        let number: String = number.chars().take(PHONE_CHARS_MAX).collect();
        Some(match id {
            Some(id) => json!({"phone": number, "wa_id": id}),
            None => json!({"phone": number}),
        })
    };
    unfolded
        .lines()
        .filter_map(phone)
        .take(PHONES_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_before_the_number_leaves_the_number() {
        let picture = "QUJD".repeat(5_000);
        let folded = picture.as_bytes().chunks(60).map(|chunk| {
            let chunk = std::str::from_utf8(chunk).expect("ASCII");
            format!("\r\n {chunk}")
        });
        let folded: String = folded.collect();
        let card = format!(
            "BEGIN:VCARD\r\nVERSION:3.0\r\nPHOTO;BASE64:{folded}\r\nitem1.TEL;waid=4922:+49 22\r\n\
             END:VCARD"
        );
        let expected = "BEGIN:VCARD\r\nVERSION:3.0\r\nitem1.TEL;waid=4922:+49 22\r\nEND:VCARD";
        assert_eq!(shorten_card(&card), expected);
        assert_eq!(
            card_phones(&card),
            [json!({"phone": "+49 22", "wa_id": "4922"})]
        );
    }

    #[test]
    fn a_long_card_is_cut_at_a_line_and_ends() {
        let note = format!("NOTE:{}\n", "n".repeat(1_000));
        let card = format!("BEGIN:VCARD\n{}END:VCARD", note.repeat(40));
        let shown = shorten_card(&card);
        assert!(shown.len() <= CARD_BYTES_MAX && shown.ends_with("\nEND:VCARD"));
        assert_eq!(shown.matches("NOTE:").count(), 16);
        assert_eq!(shorten_card("no card"), "no card");
    }

    #[test]
    fn numbers_are_found_however_they_are_written() {
        let card =
            "TEL;TYPE=cell;VALUE=uri:tel:+49-152-8\ntel:+1\nitem2.TEL;waid=49:\n +49\nTELEX:5";
        let expected = [
            json!({"phone": "+49-152-8"}),
            json!({"phone": "+1"}),
            json!({"phone": "+49", "wa_id": "49"}),
        ];
        assert_eq!(card_phones(card), expected);
    }
}
