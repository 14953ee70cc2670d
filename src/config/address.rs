use std::collections::BTreeSet;

use alloy_primitives::Address;
use toml::de::DeValue;

use super::problem::Fault;
use super::reader::{Text, Wanted, wrong_type};
use super::section::Section;
use chainflume_core::domain::AddressSet;

/// Reads `address`: one, several, or `"any"`.
pub(super) fn addresses(section: &Section<'_>) -> Option<AddressSet> {
    let texts = match section.get("address")? {
        (spot, value @ DeValue::String(_)) => {
            let text = section.reader.text(spot, value)?;
            if text.value == "any" {
                return Some(AddressSet::Any);
            }
            vec![text]
        }
        (_, DeValue::Array(items)) if items.is_empty() => {
            let fault =
                Fault::new("is empty", "name at least one contract, or write \"any\" for all of the chain");
            section.report("address", fault);
            return None;
        }
        // Of a list the good ones alone are no answer: what is missing would be missing quietly.
        (_, DeValue::Array(items)) => section.texts("address").filter(|texts| texts.len() == items.len())?,
        (spot, other) => {
            section.reader.report(&spot, wrong_type(other, Wanted::Text));
            return None;
        }
    };
    let wanted = texts.len();
    let mut set = BTreeSet::new();
    let read: Vec<_> = texts.into_iter().filter_map(|text| one(section, text, &mut set)).collect();
    (read.len() == wanted).then_some(AddressSet::Only(set))
}

fn one(section: &Section<'_>, text: Text, seen: &mut BTreeSet<Address>) -> Option<()> {
    let address = |text: &str| {
        let address = address(text)?;
        if !seen.insert(address) {
            return Err(Fault::new("is listed twice", "remove one of the two"));
        }
        Ok(())
    };
    text.parse(section.reader, address).map(|_| ())
}

/// Reads the address of a contract.
pub(super) fn address(text: &str) -> Result<Address, Fault> {
    let address = written_address(text)?;
    if address.is_zero() {
        return Err(Fault::new(
            "is the zero address, which emits nothing",
            "write the address of the contract",
        ));
    }
    Ok(address)
}

/// Reads an address. Mixed case contains a checksum (EIP-55) and has to match it; a single case contains none.
pub(super) fn written_address(text: &str) -> Result<Address, Fault> {
    let digits = text.strip_prefix("0x").unwrap_or_default();
    if digits.len() != 40 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        let remedy = if text.starts_with("0x") {
            format!("an address has 40 hex digits after 0x, this has {}", digits.chars().count())
        } else {
            "write 0x and 40 hex digits".to_owned()
        };
        return Err(Fault::new("is not an address", remedy));
    }
    let one_case =
        !digits.bytes().any(|b| b.is_ascii_lowercase()) || !digits.bytes().any(|b| b.is_ascii_uppercase());
    let address: Address =
        text.parse().map_err(|_| Fault::new("is not an address", "write 0x and 40 hex digits"))?;
    if !one_case && Address::parse_checksummed(text, None).is_err() {
        let remedy =
            "a digit or its case is wrong: copy it again from where it comes from, or write it in lower case";
        return Err(Fault::new("does not match its checksum (EIP-55)", remedy));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(text: &str) -> Result<String, String> {
        address(text).map(|address| address.to_string()).map_err(|fault| fault.what)
    }

    #[test]
    fn mixed_case_must_match_and_one_case_need_not() {
        let right = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";
        assert_eq!(what(right), Ok(right.to_owned()));
        assert_eq!(what(&right.to_lowercase()), Ok(right.to_owned()));
        assert_eq!(what("0x833589FCD6EDB6E08F4C7C32D4F71B54BDA02913"), Ok(right.to_owned()));
        let wrong = right.replace("fCD6", "fcD6");
        assert_eq!(what(&wrong), Err("does not match its checksum (EIP-55)".to_owned()));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "0x",
            "833589fcd6edb6e08f4c7c32d4f71b54bda02913",
            "0X833589fcd6edb6e08f4c7c32d4f71b54bda02913",
        ] {
            assert_eq!(what(text), Err("is not an address".to_owned()), "{text}");
        }
        assert_eq!(what("0x833589fcd6edb6e08f4c7c32d4f71b54bda0291g"), Err("is not an address".to_owned()));
    }
}
