//! Opaque texts, such as cursors: bytes with a check, in base64.
//!
//! The check detects mistakes and guesses. It is not a secret, and need not be: such a text grants no
//! access.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// The length of the check, in bytes.
const CHECK: usize = 8;

/// The text of these bytes. Texts of one label are not valid for another.
#[must_use]
pub fn write(label: &'static str, body: &[u8]) -> String {
    let mut bytes = body.to_vec();
    bytes.extend(check(label, body));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a text that [`write()`] made; `None` if it is none of this label.
#[must_use]
pub fn read(label: &'static str, text: &str) -> Option<Vec<u8>> {
    let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let found = bytes.split_off(bytes.len().checked_sub(CHECK)?);
    (found == check(label, &bytes)).then_some(bytes)
}

fn check(label: &'static str, body: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    let digest = Sha256::new()
        .chain_update(label)
        .chain_update(body)
        .finalize();
    check.copy_from_slice(&digest[..CHECK]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_under_its_own_label_only() {
        let text = write("a", b"body");
        assert_eq!(read("a", &text).as_deref(), Some(&b"body"[..]));
        assert_eq!(read("b", &text), None);
        for other in ["", "AAAA", &text[1..], &format!("{text}A")] {
            assert_eq!(read("a", other), None, "{other}");
        }
    }
}
