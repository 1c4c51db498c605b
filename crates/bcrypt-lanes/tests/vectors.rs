//! Published hashes.
//!
//! The versions before `2b` do not differ from it for these passwords, so each hash is compared
//! after its version. Left out are the hashes of `2x`, and those of `crypt_blowfish`'s `2a` that
//! differ from OpenBSD's.

use bcrypt::HashParts;
use bcrypt_lanes::{Cost, Lane, advance};

/// Tests of jBCrypt (`TestBCrypt.java`) and py-bcrypt, by Damien Miller of OpenBSD.
const JBCRYPT: &[(&[u8], &str)] = &[
    (
        b"",
        "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.",
    ),
    (
        b"",
        "$2a$08$HqWuK6/Ng6sg9gQzbLrgb.Tl.ZHfXLhvt/SgVyWhQqgqcZ7ZuUtye",
    ),
    (
        b"",
        "$2a$10$k1wbIrmNyFAPwPVPSVa/zecw2BCEnBwVS2GbrmgzxFUOqW9dk4TCW",
    ),
    (
        b"",
        "$2a$12$k42ZFHFWqBp3vWli.nIn8uYyIkbvYRvodzbfbK18SSsY.CsIQPlxO",
    ),
    (
        b"a",
        "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe",
    ),
    (
        b"a",
        "$2a$08$cfcvVd2aQ8CMvoMpP2EBfeodLEkkFJ9umNEfPD18.hUF62qqlC/V.",
    ),
    (
        b"a",
        "$2a$10$k87L/MF28Q673VKh8/cPi.SUl7MU/rWuSiIDDFayrKk/1tBsSQu4u",
    ),
    (
        b"a",
        "$2a$12$8NJH3LsPrANStV6XtBakCez0cKHXVxmvxIlcz785vxAIZrihHZpeS",
    ),
    (
        b"abc",
        "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i",
    ),
    (
        b"abc",
        "$2a$08$Ro0CUfOqk6cXEKf3dyaM7OhSCvnwM9s4wIX9JeLapehKK5YdLxKcm",
    ),
    (
        b"abc",
        "$2a$10$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi",
    ),
    (
        b"abc",
        "$2a$12$EXRkfkdmXn2gzds2SSitu.MW9.gAVqa9eLS1//RYtYCmB1eLHg.9q",
    ),
    (
        b"abcdefghijklmnopqrstuvwxyz",
        "$2a$06$.rCVZVOThsIa97pEDOxvGuRRgzG64bvtJ0938xuqzv18d3ZpQhstC",
    ),
    (
        b"abcdefghijklmnopqrstuvwxyz",
        "$2a$08$aTsUwsyowQuzRrDqFflhgekJ8d9/7Z3GV3UcgvzQW3J5zMyrTvlz.",
    ),
    (
        b"abcdefghijklmnopqrstuvwxyz",
        "$2a$10$fVH8e28OQRj9tqiDXs1e1uxpsjN0c7II7YPKXua2NAKYvM6iQk7dq",
    ),
    (
        b"abcdefghijklmnopqrstuvwxyz",
        "$2a$12$D4G5f18o7aMMfwasBL7GpuQWuP3pkrZrOAnqP.bmezbMng.QwJ/pG",
    ),
    (
        b"~!@#$%^&*()      ~!@#$%^&*()PNBFRD",
        "$2a$06$fPIsBO8qRqkjj273rfaOI.HtSV9jLDpTbZn782DC6/t7qT67P6FfO",
    ),
    (
        b"~!@#$%^&*()      ~!@#$%^&*()PNBFRD",
        "$2a$08$Eq2r4G/76Wv39MzSX262huzPz612MZiYHVUJe/OcOql2jo4.9UxTW",
    ),
    (
        b"~!@#$%^&*()      ~!@#$%^&*()PNBFRD",
        "$2a$10$LgfYWkbzEvQ4JakH7rOvHe0y8pHKF9OaFgwUZ2q7W2FFZmZzJYlfS",
    ),
    (
        b"~!@#$%^&*()      ~!@#$%^&*()PNBFRD",
        "$2a$12$WApznUOJfkEGSmYRfnkrPOr466oFDCaj4b6HY3EXGvfxm43seyhgC",
    ),
];

/// Tests of `crypt_blowfish` (`wrapper.c`), by Solar Designer, also in PHP's test suite
/// (`crypt_blowfish.phpt`). The longest passwords of these have text after 72 bytes, to show that
/// it is ignored; it is left out here, as a lane refuses it.
const CRYPT_BLOWFISH: &[(&[u8], &str)] = &[
    (
        b"U*U",
        "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    ),
    (
        b"U*U*",
        "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
    ),
    (
        b"U*U*U",
        "$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a",
    ),
    (
        b"",
        "$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy",
    ),
    (
        b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
        "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui",
    ),
    (
        b"\xff\xff\xa3",
        "$2b$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e",
    ),
    (
        b"\xa3",
        "$2b$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq",
    ),
    (
        b"\xff\xa3345",
        "$2y$05$/OK.fbVrR/bpIqNJ5ianF.nRht2l/HRhr6zmCp9vYUvvsqynflf9e",
    ),
    (
        b"\xff\xa334\xff\xff\xff\xa3345",
        "$2y$05$/OK.fbVrR/bpIqNJ5ianF.o./n25XVfn6oAPaUvHe.Csk4zRfsYPi",
    ),
    (
        b"\xa3ab",
        "$2a$05$/OK.fbVrR/bpIqNJ5ianF.6IflQkJytoRVc1yuaNtHfiuq.FRlSIS",
    ),
    (
        &[0xaa; 72],
        "$2a$05$/OK.fbVrR/bpIqNJ5ianF.swQOIzjOiJ9GHEPuhEkvqrUyvWhEMx6",
    ),
    (
        [[0xaa, 0x55]; 36].as_flattened(),
        "$2a$05$/OK.fbVrR/bpIqNJ5ianF.R9xrDjiycxMbQE2bp.vgqlYpW5wx2yy",
    ),
    (
        [[0x55, 0xaa, 0xff]; 24].as_flattened(),
        "$2a$05$/OK.fbVrR/bpIqNJ5ianF.9tQZzcJfm3uj2NvJ/n5xkhpqLrMpWCe",
    ),
];

/// Tests of Password4j (`BcryptFunctionTest.java`): its hashes of version `2b`.
const PASSWORD4J: &[(&[u8], &str)] = &[
    (
        b"",
        "$2b$06$8eVN9RiU8Yki430X.wBvN.LWaqh2962emLVSVXVZIXJvDYLsV0oFu",
    ),
    (
        b"a",
        "$2b$06$ehKGYiS4wt2HAr7KQXS5z.OaRjB4jHO7rBHJKlGXbqEH3QVJfO7iO",
    ),
    (
        b"abc",
        "$2b$06$5FyQoicpbox1xSHFfhhdXuR2oxLpO1rYsQh5RTkI/9.RIjtoF0/ta",
    ),
    (
        b"abcdefghijklmnopqrstuvwxyz",
        "$2b$06$O8E89AQPj1zJQA05YvIAU.hMpj25BXri1bupl/Q7CJMlpLwZDNBoO",
    ),
    (
        b"~!@#$%^&*()      ~!@#$%^&*()PNBFRD",
        "$2b$06$FGWA8OlY6RtQhXBXuCJ8WusVipRI15cWOgJK8MYpBHEkktMfbHRIG",
    ),
];

fn lane(password: &[u8], published: &str) -> Lane {
    let parts: HashParts = published.parse().expect("it is a hash");
    let cost = Cost::new(parts.get_cost()).expect("its cost is in range");
    Lane::new(password, parts.get_salt_raw(), cost).expect("its password is short enough")
}

fn check(vectors: &[(&[u8], &str)]) {
    let mut lanes: Vec<Lane> = vectors
        .iter()
        .map(|(password, published)| lane(password, published))
        .collect();
    advance(&mut lanes, u32::MAX);
    for (lane, (password, published)) in lanes.into_iter().zip(vectors) {
        let hash = lane.finish().expect("the lane is done").to_string();
        assert_eq!(hash[..3], *"$2b");
        assert_eq!(hash[3..], published[3..], "{password:?}");
    }
}

#[test]
fn of_jbcrypt() {
    check(JBCRYPT);
}

#[test]
fn of_crypt_blowfish() {
    check(CRYPT_BLOWFISH);
}

#[test]
fn of_password4j() {
    check(PASSWORD4J);
}
