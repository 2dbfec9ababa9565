//! Numbers that people dial in one form, and WhatsApp knows in another.
//!
//! WhatsApp keeps the form in which a number was registered. Three countries have changed theirs,
//! or write mobile numbers in two ways, so an account's id may lack or have a digit that others
//! dial:
//!
//! - Brazil: `55`, area code, `9`, 8 digits. Mobile numbers had 8 digits, which began with 6 to 9,
//!   until the regulator put a 9 before all of them (Anatel, resolution 553/2010, in force
//!   everywhere since November 2016). Accounts of before keep the short form. Landlines, which
//!   begin with 2 to 5, were not changed, and a mobile number whose 8 digits begin so has no short
//!   form.
//! - Mexico: `52` and 10 digits. Until August 2019, calls from abroad to mobile numbers had a 1
//!   behind the country code (IFT, Plan Técnico Fundamental de Numeración of 2018); WhatsApp keeps
//!   it. No area code begins with 1.
//! - Argentina: `54` and 10 digits, with a 9 between them for mobile numbers. Within the country
//!   nobody dials the 9 (Plan Fundamental de Numeración Nacional, resolution SC 46/97). Area codes
//!   begin with 11, 2 or 3.
//!
//! In each country the numbering plan gives the ten or eleven digits behind the country code to
//! one subscriber, mobile or not, so the two forms never belong to two people.

use super::Phone;

/// Area codes of Brazil.
const BRAZIL_AREAS: [&str; 67] = [
    "11", "12", "13", "14", "15", "16", "17", "18", "19", "21", "22", "24", "27", "28", "31", "32",
    "33", "34", "35", "37", "38", "41", "42", "43", "44", "45", "46", "47", "48", "49", "51", "53",
    "54", "55", "61", "62", "63", "64", "65", "66", "67", "68", "69", "71", "73", "74", "75", "77",
    "79", "81", "82", "83", "84", "85", "86", "87", "88", "89", "91", "92", "93", "94", "95", "96",
    "97", "98", "99",
];

impl Phone {
    /// The other form of this number, if there is one. The other form of that is this one.
    ///
    /// # Examples
    ///
    /// ```
    /// use wahook::model::Phone;
    ///
    /// let dialled: Phone = "5521987654321".parse()?;
    /// let account: Phone = "552187654321".parse()?;
    /// assert_eq!(dialled.other_form(), Some(account.clone()));
    /// assert!(account.is_same_account(&dialled));
    /// # Ok::<(), wahook::model::ParseError>(())
    /// ```
    pub fn other_form(&self) -> Option<Self> {
        let digits = self.as_str();
        let (country, rest) = digits.split_at_checked(2)?;
        let other = match country {
            "55" => brazil(rest),
            "52" => with_or_without(rest, '1', |rest| matches!(rest.as_bytes()[0], b'2'..=b'9')),
            "54" => with_or_without(rest, '9', |rest| {
                rest.starts_with("11") || matches!(rest.as_bytes()[0], b'2' | b'3')
            }),
            _ => None,
        }?;
        format!("{country}{other}").parse().ok()
    }

    /// Whether WhatsApp has one account for both.
    pub fn is_same_account(&self, other: &Self) -> bool {
        self == other || self.other_form().as_ref() == Some(other)
    }
}

fn brazil(rest: &str) -> Option<String> {
    let (area, number) = rest.split_at_checked(2)?;
    if !BRAZIL_AREAS.contains(&area) {
        return None;
    }
    let is_old_mobile =
        |number: &str| number.len() == 8 && matches!(number.as_bytes()[0], b'6'..=b'9');
    if is_old_mobile(number) {
        return Some(format!("{area}9{number}"));
    }
    let short = number.strip_prefix('9')?;
    is_old_mobile(short).then(|| format!("{area}{short}"))
}

/// Ten digits that are valid get the mark put before them, or lose it.
fn with_or_without(rest: &str, mark: char, is_valid: fn(&str) -> bool) -> Option<String> {
    if rest.len() == 10 && is_valid(rest) {
        return Some(format!("{mark}{rest}"));
    }
    let short = rest.strip_prefix(mark)?;
    (short.len() == 10 && is_valid(short)).then(|| short.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn phone(text: &str) -> Phone {
        text.parse().expect(text)
    }

    /// In pairs: as it is dialled, and as an account of before the change has it.
    const BRAZIL: [(&str, &str); 20] = [
        ("5511987654321", "551187654321"),
        ("5511961234567", "551161234567"),
        ("5511971234567", "551171234567"),
        ("5512991234567", "551291234567"),
        ("5519981112233", "551981112233"),
        ("5521987654321", "552187654321"),
        ("5521999990000", "552199990000"),
        ("5524988887777", "552488887777"),
        ("5527996665544", "552796665544"),
        ("5531984445555", "553184445555"),
        ("5538991002003", "553891002003"),
        ("5541996667777", "554196667777"),
        ("5547988112233", "554788112233"),
        ("5551981234567", "555181234567"),
        ("5555996060606", "555596060606"),
        ("5561992223333", "556192223333"),
        ("5571988889999", "557188889999"),
        ("5585986000000", "558586000000"),
        ("5592981239876", "559281239876"),
        ("5599991919191", "559991919191"),
    ];
    const MEXICO: [(&str, &str); 20] = [
        ("525512345678", "5215512345678"),
        ("525587654321", "5215587654321"),
        ("525612345678", "5215612345678"),
        ("523312345678", "5213312345678"),
        ("528112345678", "5218112345678"),
        ("522221234567", "5212221234567"),
        ("524421234567", "5214421234567"),
        ("526641234567", "5216641234567"),
        ("526561234567", "5216561234567"),
        ("527771234567", "5217771234567"),
        ("529981234567", "5219981234567"),
        ("529991234567", "5219991234567"),
        ("524771234567", "5214771234567"),
        ("526141234567", "5216141234567"),
        ("526671234567", "5216671234567"),
        ("528441234567", "5218441234567"),
        ("522291234567", "5212291234567"),
        ("527441234567", "5217441234567"),
        ("524491234567", "5214491234567"),
        ("526121234567", "5216121234567"),
    ];
    const ARGENTINA: [(&str, &str); 20] = [
        ("541123456789", "5491123456789"),
        ("541161234567", "5491161234567"),
        ("541150000001", "5491150000001"),
        ("542211234567", "5492211234567"),
        ("542231234567", "5492231234567"),
        ("542611234567", "5492611234567"),
        ("542641234567", "5492641234567"),
        ("542914123456", "5492914123456"),
        ("542966123456", "5492966123456"),
        ("542901123456", "5492901123456"),
        ("543411234567", "5493411234567"),
        ("543421234567", "5493421234567"),
        ("543511234567", "5493511234567"),
        ("543512345678", "5493512345678"),
        ("543764123456", "5493764123456"),
        ("543794123456", "5493794123456"),
        ("543814123456", "5493814123456"),
        ("543874123456", "5493874123456"),
        ("543854123456", "5493854123456"),
        ("543434123456", "5493434123456"),
    ];

    #[test]
    fn the_two_forms_of_a_number_are_one_account() {
        for (dialled, account) in BRAZIL.into_iter().chain(MEXICO).chain(ARGENTINA) {
            let dialled = phone(dialled);
            let account = phone(account);
            assert_eq!(dialled.other_form().as_ref(), Some(&account), "{account:?}");
            assert_eq!(account.other_form().as_ref(), Some(&dialled), "{dialled:?}");
            assert!(dialled.is_same_account(&account) && account.is_same_account(&dialled));
        }
    }

    #[test]
    fn look_alikes_have_one_form() {
        let alone = [
            // Brazil: landlines, mobile numbers that never were short, areas that are none,
            // service numbers, a digit too few or too many.
            "551133334444",
            "552125556666",
            "553145678901",
            "555123456789",
            "5511951234567",
            "5511941234567",
            "5521921234567",
            "5511811234567",
            "5520987654321",
            "552087654321",
            "5523987654321",
            "5500987654321",
            "550800123456",
            "5508001234567",
            "5540041234",
            "55118765432",
            "55119876543210",
            // Mexico: codes that are none, a digit too few or too many, another digit in front.
            "521234567890",
            "520123456789",
            "5211234567890",
            "5210234567890",
            "52551234567",
            "52155123456789",
            "5225512345678",
            "5295512345678",
            // Argentina: services, codes that are none, a digit too few or too many, the 15 that is
            // dialled within the country.
            "548001234567",
            "546101234567",
            "541212345678",
            "544412345678",
            "5498001234567",
            "5491212345678",
            "54112345678",
            "54911234567890",
            "54111523456789",
            "5481123456789",
            // Other countries that begin with the same digits, or have as many.
            "5312345678",
            "5691234567890",
            "561987654321",
            "573001234567",
            "584121234567",
            "50255123456",
            "505812345678",
            "4915112345678",
            "441234567890",
            "15551234567",
            "15215512345678",
            "9154911234567",
            "5411",
            "55119",
            "10000",
        ];
        for text in alone {
            let Ok(phone) = text.parse::<Phone>() else {
                continue;
            };
            assert_eq!(phone.other_form(), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_other_form_of_the_other_form_is_the_number(
            text in "5[245][0-9]{3,13}|[1-9][0-9]{4,14}",
        ) {
            let phone = phone(&text);
            if let Some(other) = phone.other_form() {
                prop_assert_ne!(&other, &phone);
                prop_assert_eq!(other.other_form(), Some(phone));
            }
        }
    }
}
