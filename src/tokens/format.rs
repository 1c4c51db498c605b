//! The common form of opaque tokens: a prefix, then base64url of a version, fields and a checksum.
//!
//! The checksum is the CRC-32 of IEEE 802.3 (reflected polynomial 0xEDB88320, the one of zlib), big-endian.
//! It protects nothing: it distinguishes a damaged or mistyped token from a real one without a query, and lets secret
//! scanners report few false matches.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

/// The only version so far.
const VERSION: u8 = 1;

/// Bytes of the version before the fields, and of the checksum after them.
const AROUND: usize = 1 + 4;

/// Writes a token: `prefix`, then base64url without padding (RFC 4648, section 5).
pub(super) fn encode(prefix: &str, fields: &[&[u8]]) -> SecretString {
    let mut bytes = Zeroizing::new(vec![VERSION]);
    for field in fields {
        bytes.extend_from_slice(field);
    }
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(&*bytes));
    SecretString::from([prefix, encoded.as_str()].concat())
}

/// Reads the fields of a token, `N` bytes together. `None` if the prefix, the length, the alphabet, unused
/// bits, the version or the checksum is not as [`encode`] writes it.
pub(super) fn decode<const N: usize>(prefix: &str, text: &str) -> Option<Zeroizing<[u8; N]>> {
    let encoded = text.strip_prefix(prefix)?;
    // Before any work: a client may send a long text.
    if encoded.len() != base64::encoded_len(N + AROUND, false)? {
        return None;
    }
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).ok()?);
    let (checked, checksum) = bytes.split_last_chunk::<4>()?;
    let (version, fields) = checked.split_first()?;
    if *version != VERSION || crc32fast::hash(checked).to_be_bytes() != *checksum {
        return None;
    }
    let mut read = Zeroizing::new([0; N]);
    // The lengths are equal, as the encoded length is.
    (fields.len() == N).then(|| read.copy_from_slice(fields))?;
    Some(read)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    /// The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
    #[test]
    fn the_checksum_is_that_of_zlib() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn only_the_canonical_text_is_read() {
        let token = encode("x_", &[&[1, 2], &[3]]);
        let text = token.expose_secret();
        assert_eq!(text, "x_AQECAzMF4XY");
        assert_eq!(decode::<3>("x_", text).as_deref(), Some(&[1, 2, 3]));
        for other in [
            "",
            "x_",
            "y_AQECAzMF4XY",
            "AQECAzMF4XY",
            "x_AQECAzMF4XZ",
            "x_AQECAzMF4XY=",
            "x_AQECAzMF4XY ",
            "x_AQECAzMF4XYA",
            "x_AQECAzMF4X+",
            "x_AgECAzMF4XY",
            "X_AQECAzMF4XY",
        ] {
            assert!(decode::<3>("x_", other).is_none(), "{other}");
        }
        assert!(decode::<2>("x_", text).is_none());
    }
}
