//! E-mail addresses: as typed, and in the canonical form that is unique per account.

use std::fmt;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use validator::ValidateEmail;

use super::{BrokenRule, unicode};

/// The longest address, in octets (RFC 5321, section 4.5.3.1.3, less the angle brackets).
pub const MAX_OCTETS: usize = 254;
/// The longest local part, in octets (RFC 5321, section 4.5.3.1.1).
pub const MAX_LOCAL_OCTETS: usize = 64;

const NOT_AN_ADDRESS: BrokenRule = BrokenRule::new(
    "invalid_email",
    "Must be an e-mail address such as ada@example.org.",
);

/// A valid address.
///
/// The canonical form is the whole address in lower case with the domain as an A-label
/// (`xn--…`). The meaning of dots and plus signs in the local part is up to the mail provider, so they
/// are kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Email {
    typed: String,
    canonical: String,
}

impl Email {
    /// Checks an address and computes its canonical form.
    ///
    /// The grammar is that of HTML (`input type=email`), as implemented by the `validator` crate;
    /// an address literal such as `ada@[127.0.0.1]` is refused, as it has no A-label.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, BrokenRule> {
        if text.is_empty() {
            return Err(BrokenRule::new("required", "Must not be empty."));
        }
        if text.len() > MAX_OCTETS {
            return Err(BrokenRule::new(
                "too_long",
                "Must have at most 254 octets, at most 64 of them before the @.",
            ));
        }
        let (local, domain) = text.rsplit_once('@').ok_or(NOT_AN_ADDRESS)?;
        if local.len() > MAX_LOCAL_OCTETS {
            return Err(BrokenRule::new(
                "too_long",
                "Must have at most 64 octets before the @.",
            ));
        }
        // Before lowercasing: some letters outside ASCII lowercase to an ASCII letter.
        if !local.is_ascii() || domain.starts_with('[') {
            return Err(NOT_AN_ADDRESS);
        }
        // The A-label would drop them, while the typed form keeps them, mostly invisible.
        if domain
            .chars()
            .any(|c| unicode::is_ignorable(c) && !unicode::is_joiner(c))
        {
            return Err(NOT_AN_ADDRESS);
        }
        let domain = Uts46::new()
            .to_ascii(
                domain.as_bytes(),
                AsciiDenyList::STD3,
                Hyphens::CheckFirstLast,
                DnsLength::Verify,
            )
            .map_err(|_| NOT_AN_ADDRESS)?;
        let canonical = format!("{local}@{domain}").to_lowercase();
        if canonical.len() > MAX_OCTETS {
            return Err(BrokenRule::new(
                "too_long",
                "Must have at most 254 octets with its domain as an A-label.",
            ));
        }
        if !canonical.validate_email() {
            return Err(NOT_AN_ADDRESS);
        }
        Ok(Self {
            typed: text.to_owned(),
            canonical,
        })
    }

    /// The address as it was typed.
    #[must_use]
    pub fn as_typed(&self) -> &str {
        &self.typed
    }

    /// The canonical form; one account per address.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        Email::parse(text).expect(text).canonical().to_owned()
    }

    #[test]
    fn the_canonical_form_is_lower_case_with_an_a_label() {
        assert_eq!(canonical("Ada.L+x@Example.ORG"), "ada.l+x@example.org");
        assert_eq!(canonical("ada@BÜCHER.example"), "ada@xn--bcher-kva.example");
        assert_eq!(
            canonical("ada@xn--bcher-kva.example"),
            "ada@xn--bcher-kva.example"
        );
        assert_eq!(canonical("ada@例え。テスト"), "ada@xn--r8jz45g.xn--zckzah");
        // Here the joiner makes a different domain.
        assert_eq!(
            canonical("ada@ශ\u{dca}\u{200d}රී.org")
                .matches("xn--")
                .count(),
            1
        );
    }

    #[test]
    fn the_typed_form_is_kept() {
        let email = Email::parse("Ada@BÜCHER.example").expect("valid");
        assert_eq!(email.as_typed(), "Ada@BÜCHER.example");
    }

    #[test]
    fn an_address_is_not_shown_by_debug() {
        let email = Email::parse("ada@example.org").expect("valid");
        assert_eq!(format!("{email:?}"), "Email(..)");
    }

    /// Short as typed, and too long as it is compared and sent: each `ü` has seven octets there.
    #[test]
    fn the_canonical_form_is_bounded_too() {
        let typed = format!("{}@{}example", "a".repeat(64), "ü.".repeat(23));
        assert!(typed.len() < MAX_OCTETS, "{}", typed.len());
        let broken = Email::parse(&typed).expect_err("too long");
        assert_eq!(broken.code, "too_long");
        let fits = format!("{}@{}example", "a".repeat(64), "ü.".repeat(22));
        assert!(Email::parse(&fits).is_ok());
    }

    #[test]
    fn lengths_are_bounded_at_their_edges() {
        let domain = format!("{0}.{0}.{0}", "d".repeat(61));
        let at_limit = format!("{}@{domain}.x", "a".repeat(64));
        assert_eq!(at_limit.len(), 252);
        assert!(Email::parse(&at_limit).is_ok());
        let exact = format!("{}@{domain}.xyz", "a".repeat(64));
        assert_eq!(exact.len(), MAX_OCTETS);
        assert!(Email::parse(&exact).is_ok());
        let over = format!("{}@{domain}.wxyz", "a".repeat(64));
        assert_eq!(Email::parse(&over).expect_err("255").code, "too_long");
        let local = format!("{}@x.org", "a".repeat(65));
        assert_eq!(Email::parse(&local).expect_err("65").code, "too_long");
    }

    #[test]
    fn an_address_that_grows_too_long_as_an_a_label_is_refused() {
        let label = "ü".repeat(27);
        let text = format!("{}@{label}.{label}.{label}.org", "a".repeat(64));
        assert!(text.len() <= MAX_OCTETS);
        assert!(Email::parse(&text).is_ok());
        let label = "üä".repeat(14);
        let text = format!("{}@{label}.{label}.{label}.org", "a".repeat(64));
        assert!(text.len() <= MAX_OCTETS);
        assert!(Email::parse(&text).is_err() || canonical(&text).len() <= MAX_OCTETS);
    }

    #[test]
    fn invalid_addresses_are_refused() {
        for text in [
            "ada",
            "@example.org",
            "ada@",
            "ada@@example.org",
            "a b@example.org",
            " ada@example.org",
            "ada@example.org ",
            "ada@example.org\n",
            "ada@exa mple.org",
            "ada@-example.org",
            "ada@example..org",
            "ada@example.org.",
            "ada@[127.0.0.1]",
            "\"ada l\"@example.org",
            "адa@example.org",
            "ada@exa_mple.org",
            "a\0da@example.org",
            // It lowercases to an ASCII k.
            "\u{212a}urt@example.org",
            "ada@exam\u{0}ple.org",
            // Look like another address, as the A-label drops them.
            "ada@exam\u{ad}ple.org",
            "ada@exam\u{200b}ple.org",
            "ada@exam\u{2060}ple.org",
            "ada@exam\u{feff}ple.org",
            "ada@exam\u{fe0f}ple.org",
            "ada@exam\u{e0100}ple.org",
            "ada@exam\u{34f}ple.org",
            "ada@exam\u{202e}ple.org",
            "ada@exam\u{200d}ple.org",
        ] {
            let rule = Email::parse(text).expect_err(text);
            assert_eq!(rule.code, "invalid_email", "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_canonical_is_a_fixed_point(text in "\\PC{0,80}(@\\PC{0,80})?") {
            if let Ok(email) = Email::parse(&text) {
                let again = Email::parse(email.canonical()).expect("canonical is valid");
                prop_assert_eq!(again.canonical(), email.canonical());
                prop_assert!(email.canonical().is_ascii());
            }
        }

        #[test]
        fn case_does_not_make_a_different_address(local in "[a-zA-Z0-9.+]{1,20}", domain in "[a-zA-Z]{1,10}\\.[a-zA-Z]{2,5}") {
            let text = format!("{local}@{domain}");
            let upper = Email::parse(&text.to_uppercase()).expect("valid");
            let typed = Email::parse(&text).expect("valid");
            prop_assert_eq!(typed.canonical(), upper.canonical());
        }
    }
}
