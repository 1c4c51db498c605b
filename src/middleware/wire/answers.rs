//! Answers as bytes: which are bare, and which end their connection.

use crate::platform::problem::ProblemType;

/// The longest bare answer: a status line, `content-length`, `connection` and `date`.
const MAX_BARE_ANSWER: usize = 256;

/// Whether the bytes begin with an error that ends its connection.
pub fn is_closing_error(buffer: &[u8]) -> bool {
    let is_error = buffer.starts_with(b"HTTP/1.") && matches!(buffer.get(9), Some(b'4' | b'5'));
    if !is_error {
        return false;
    }
    let head = buffer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .map_or(buffer, |end| &buffer[..end]);
    head.split(|byte| *byte == b'\n').any(|line| {
        line.trim_ascii_end()
            .eq_ignore_ascii_case(b"connection: close")
    })
}

/// Where a bare answer begins, if the bytes end in one.
///
/// The answers of the application never match: each has an `x-request-id`.
pub fn find_bare_answer(buffer: &[u8]) -> Option<(usize, ProblemType)> {
    if !buffer.ends_with(b"\r\n\r\n") {
        return None;
    }
    let from = buffer.len().saturating_sub(MAX_BARE_ANSWER);
    let tail = &buffer[from..];
    let start = tail.windows(9).rposition(|bytes| bytes == b"HTTP/1.1 ")?;
    let head = std::str::from_utf8(&tail[start..]).ok()?;
    let kind = match head.get(9..12)? {
        "400" => ProblemType::MalformedRequest,
        "408" => ProblemType::RequestTimeout,
        "431" => ProblemType::HeadersTooLarge,
        "500" => ProblemType::Internal,
        _ => return None,
    };
    let has_id = head
        .lines()
        .any(|line| line.to_ascii_lowercase().starts_with("x-request-id:"));
    let is_one_head = head.find("\r\n\r\n") == Some(head.len() - 4);
    (is_one_head && !has_id).then_some((from + start, kind))
}

/// The `date` line of a head, with its line end; nothing where there is none.
pub fn httpdate(head: &[u8]) -> String {
    std::str::from_utf8(head)
        .unwrap_or("")
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("date:"))
        .map(|line| format!("{line}\r\n"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\
                        connection: close\r\ndate: Sat, 21 Nov 2026 10:00:00 GMT\r\n\r\n";

    #[test]
    fn a_bare_answer_is_found_behind_others() {
        assert_eq!(
            find_bare_answer(BARE.as_bytes()),
            Some((0, ProblemType::MalformedRequest))
        );
        let ours = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-request-id: a\r\n\r\n{}";
        let both = format!("{ours}{BARE}");
        assert_eq!(
            find_bare_answer(both.as_bytes()),
            Some((ours.len(), ProblemType::MalformedRequest))
        );
    }

    #[test]
    fn only_errors_that_close_end_the_connection() {
        let head = |status, connection| {
            format!("HTTP/1.1 {status} X\r\nConnection: {connection}\r\n\r\n{{}}")
        };
        assert!(is_closing_error(head(408, "close").as_bytes()));
        assert!(is_closing_error(BARE.as_bytes()));
        assert!(!is_closing_error(head(404, "keep-alive").as_bytes()));
        assert!(!is_closing_error(head(200, "close").as_bytes()));
        assert!(!is_closing_error(
            b"HTTP/1.1 404 X\r\n\r\nconnection: close\r\n"
        ));
    }

    #[test]
    fn answers_of_the_application_are_left_alone() {
        for answer in [
            "HTTP/1.1 400 Bad Request\r\nx-request-id: a\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\nX-Request-Id: a\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
            "{}",
            "\r\n\r\n",
            "",
        ] {
            assert_eq!(find_bare_answer(answer.as_bytes()), None, "{answer:?}");
        }
    }
}
