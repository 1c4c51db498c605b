//! Device tokens: `sdt_` and 71 characters, given at each login.
//!
//! One is no credential. It only says that an address has been logged in from a device before, so that a
//! stream of guesses from elsewhere does not hold up its owner: failures from a known device are counted apart.
//! It is checked without a query, in the same way for every address.
//!
//! The bytes are: version 1 · device 16 · mac 32 · checksum 4 (`format.rs`). The mac covers the device and the
//! canonical address.

use secrecy::SecretString;

use super::format;
use super::secrets::{Mac, Purpose, TokenSecrets};

const PREFIX: &str = "sdt_";

/// The id of a device: 16 random bytes, chosen at its first login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceId(pub [u8; 16]);

/// The token of a device from which this address logged in.
#[must_use]
pub fn issue(device: DeviceId, canonical_address: &str, secrets: &TokenSecrets) -> SecretString {
    let mac = secrets.mac(Purpose::Device, &values(&device, canonical_address));
    format::encode(PREFIX, &[&device.0, &mac])
}

/// The device of a token, if it was issued for this address, under the current or the previous secret.
#[must_use]
pub fn verify(text: &str, canonical_address: &str, secrets: &TokenSecrets) -> Option<DeviceId> {
    let fields = format::decode::<48>(PREFIX, text)?;
    let (device, mac) = fields.split_first_chunk::<16>()?;
    let device = DeviceId(*device);
    secrets
        .is_mac(Purpose::Device, &values(&device, canonical_address), mac)
        .then_some(device)
}

/// Under what failed logins are counted: an address, or an address on a known device. The address cannot be
/// read from it. It is made with the current secret only, so a rotation starts the counts again.
#[must_use]
pub fn subject(canonical_address: &str, device: Option<DeviceId>, secrets: &TokenSecrets) -> Mac {
    let address = canonical_address.as_bytes();
    match device {
        None => secrets.mac(Purpose::Throttle, &[address]),
        Some(device) => secrets.mac(Purpose::Throttle, &[address, &device.0]),
    }
}

fn values<'a>(device: &'a DeviceId, canonical_address: &'a str) -> [&'a [u8]; 2] {
    [&device.0, canonical_address.as_bytes()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::super::secrets::testing::secrets;
    use super::*;

    const DEVICE: DeviceId = DeviceId([9; 16]);
    const ADA: &str = "ada@example.org";

    fn text() -> String {
        let token = issue(DEVICE, ADA, &secrets("s", None));
        token.expose_secret().to_owned()
    }

    #[test]
    fn a_token_is_for_one_address() {
        let secrets = secrets("s", None);
        assert_eq!(text().len(), 75);
        assert_eq!(verify(&text(), ADA, &secrets), Some(DEVICE));
        for other in ["", "ada@example.or", "ada@example.orgg", "bob@example.org"] {
            assert_eq!(verify(&text(), other, &secrets), None);
        }
    }

    #[test]
    fn a_token_survives_a_rotation_of_the_secret() {
        assert_eq!(verify(&text(), ADA, &secrets("t", Some("s"))), Some(DEVICE));
        assert_eq!(verify(&text(), ADA, &secrets("t", None)), None);
    }

    #[test]
    fn failures_are_counted_by_address_and_device() {
        let secrets = secrets("s", None);
        let all = [
            subject(ADA, None, &secrets),
            subject(ADA, Some(DEVICE), &secrets),
            subject(ADA, Some(DeviceId([8; 16])), &secrets),
            subject("bob@example.org", None, &secrets),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(one));
        }
        assert_eq!(subject(ADA, None, &secrets), all[0]);
    }

    proptest! {
        #[test]
        fn any_changed_character_is_refused(at in 0_usize..75, to in 0_u8..128) {
            let mut changed = text().into_bytes();
            changed[at] = to;
            let changed = String::from_utf8(changed).expect("ASCII");
            prop_assume!(changed != text());
            prop_assert_eq!(verify(&changed, ADA, &secrets("s", None)), None);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "(sdt_)?\\PC{0,100}") {
            prop_assert_eq!(verify(&text, ADA, &secrets("s", None)), None);
        }
    }
}
