//! How many requests have arrived on a connection.

/// Counts the lines that begin a head: they follow an empty line, or nothing, and end in
/// ` HTTP/1.x`. It counts across reads. In a body such a line would be no JSON.
pub struct RequestLines {
    pub seen: usize,
    /// Whether this line may begin a head.
    candidate: bool,
    /// Whether this line has no character yet.
    empty: bool,
    /// Characters of the end that the line now ends in.
    matched: usize,
}

impl Default for RequestLines {
    fn default() -> Self {
        Self {
            seen: 0,
            candidate: true,
            empty: true,
            matched: 0,
        }
    }
}

impl RequestLines {
    /// Takes in the next bytes of the connection.
    pub fn read(&mut self, bytes: &[u8]) {
        const END: &[u8] = b" HTTP/1.?";
        for &byte in bytes {
            match byte {
                b'\r' => {}
                b'\n' => {
                    self.seen += usize::from(self.candidate && self.matched == END.len());
                    self.candidate = self.empty;
                    self.empty = true;
                    self.matched = 0;
                }
                byte => {
                    self.empty = false;
                    let wanted = END.get(self.matched).copied();
                    if wanted == Some(byte) || (wanted == Some(b'?') && byte.is_ascii_digit()) {
                        self.matched += 1;
                    } else {
                        self.matched = usize::from(byte == END[0]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines_are_counted_across_reads() {
        let text = "GET /a HTTP/1.1\r\nX:  HTTP/1.1\r\nY: HTTP/1.1\r\n\r\n\
            {\"a\":\r\n \" HTTP/1.1\"}GET / HTTP/1.1\r\n\r\n\
            {}GET /  HTTP/1.0\r\n\r\n HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\n";
        for size in 1..text.len() {
            let mut lines = RequestLines::default();
            for part in text.as_bytes().chunks(size) {
                lines.read(part);
            }
            assert_eq!(lines.seen, 3, "in parts of {size}");
        }
    }
}
