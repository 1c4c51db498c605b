//! Kinds of problem that are shared by operations of all slices.

use actix_web::http::StatusCode;

use super::{About, Member, ProblemType};

impl ProblemType {
    /// All of these, for the OpenAPI document and the pages.
    pub const COMMON: [Self; 15] = [
        Self::MALFORMED_REQUEST,
        Self::INVALID_PARAMETER,
        Self::NOT_FOUND,
        Self::METHOD_NOT_ALLOWED,
        Self::REQUEST_TIMEOUT,
        Self::PAYLOAD_TOO_LARGE,
        Self::URI_TOO_LONG,
        Self::UNSUPPORTED_MEDIA_TYPE,
        Self::MISDIRECTED_REQUEST,
        Self::VALIDATION_FAILED,
        Self::RATE_LIMITED,
        Self::HEADERS_TOO_LARGE,
        Self::INTERNAL,
        Self::OVERLOADED,
        Self::UNAVAILABLE,
    ];

    /// The request is malformed.
    pub const MALFORMED_REQUEST: Self = Self::new(&About {
        slug: "malformed-request",
        status: StatusCode::BAD_REQUEST,
        title: "Malformed request",
        meaning: "The request line, a header or the JSON body is malformed; or the \
              header `Host` is missing, repeated or invalid; or the body is not an \
              object, or has a field that is repeated, unknown or of the wrong type. \
              Nothing was done.",
        advice: "Correct the request. The detail says what could not be read and, for \
              a body, at which line and column. The same request gets the same \
              response.",
        detail: "A field is unknown, at line 1, column 21.",
        headers: &[],
        member: Member::None,
    });

    /// A query parameter is invalid.
    pub const INVALID_PARAMETER: Self = Self::new(&About {
        slug: "invalid-parameter",
        status: StatusCode::BAD_REQUEST,
        title: "Invalid query parameter",
        meaning: "A parameter in the query string is invalid or repeated; or there are \
              more than 16 of them.",
        advice: "Correct the parameter that the detail names. `limit` is a whole \
              number from 1 to 100. A cursor is valid only as returned in `next_cursor`: \
              do not make or change one. Send a plus sign in an address as \
              `%2B`.",
        detail: "limit must be a whole number from 1 to 100.",
        headers: &[],
        member: Member::None,
    });

    /// No resource has this path.
    pub const NOT_FOUND: Self = Self::new(&About {
        slug: "not-found",
        status: StatusCode::NOT_FOUND,
        title: "Not found",
        meaning: "No resource has this path.",
        advice: "Compare the path with those in `/openapi.json`. Paths have no trailing \
              slash, and are case-sensitive.",
        detail: "No resource has this path.",
        headers: &[],
        member: Member::None,
    });

    /// There is no such user. Kinds that several areas use, but not every operation, are in no list here.
    pub const USER_NOT_FOUND: Self = Self::new(&About {
        slug: "user-not-found",
        status: StatusCode::NOT_FOUND,
        title: "User not found",
        meaning: "No user has this id.",
        advice: "Use the id returned by signup, a UUID in its hyphenated form. Right \
              after a signup, a service that reads from a replica may not have the \
              user yet: retry after a moment.",
        detail: "No user has this id.",
        headers: &[],
        member: Member::None,
    });

    /// The resource does not support the method.
    pub const METHOD_NOT_ALLOWED: Self = Self::new(&About {
        slug: "method-not-allowed",
        status: StatusCode::METHOD_NOT_ALLOWED,
        title: "Method not allowed",
        meaning: "The path does not support this method.",
        advice: "Use one of the methods in the header `Allow`.",
        detail: "Allowed here: POST.",
        headers: &["Allow"],
        member: Member::None,
    });

    /// The request did not arrive in time.
    pub const REQUEST_TIMEOUT: Self = Self::new(&About {
        slug: "request-timeout",
        status: StatusCode::REQUEST_TIMEOUT,
        title: "Request timeout",
        meaning: "The head or the body of the request was not complete within the \
              time limit. Nothing was done, and the connection closes.",
        advice: "Retry on a new connection, and send the request without pauses.",
        detail: "The body took over 5000 ms to arrive.",
        headers: &[],
        member: Member::None,
    });

    /// The body is too large.
    pub const PAYLOAD_TOO_LARGE: Self = Self::new(&About {
        slug: "payload-too-large",
        status: StatusCode::PAYLOAD_TOO_LARGE,
        title: "Payload too large",
        meaning: "The body is over the limit of 16 KiB (16,384 bytes). The rest was \
              not read, nothing was done, and the connection closes.",
        advice: "Send a smaller body. No valid signup needs as much.",
        detail: "The body is over 16384 bytes.",
        headers: &[],
        member: Member::None,
    });

    /// The target of the request is too long.
    pub const URI_TOO_LONG: Self = Self::new(&About {
        slug: "uri-too-long",
        status: StatusCode::URI_TOO_LONG,
        title: "URI too long",
        meaning: "The path and the query together are over the limit of 8 KiB (8,192 \
              bytes). Nothing was done, and the connection closes.",
        advice: "Shorten it. No path or query of this service needs as much.",
        detail: "The target of the request is over 8192 bytes.",
        headers: &[],
        member: Member::None,
    });

    /// The body is not declared as uncompressed JSON.
    pub const UNSUPPORTED_MEDIA_TYPE: Self = Self::new(&About {
        slug: "unsupported-media-type",
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        title: "Unsupported media type",
        meaning: "The header `Content-Type` is missing, repeated or not \
              `application/json`; or the body has a `Content-Encoding`. Nothing \
              was done, and the connection closes.",
        advice: "Send the body as JSON, uncompressed, with the header `Content-Type: \
              application/json`.",
        detail: "Send the body with the header Content-Type: application/json.",
        headers: &[],
        member: Member::None,
    });

    /// This service does not serve the host of the request.
    pub const MISDIRECTED_REQUEST: Self = Self::new(&About {
        slug: "misdirected-request",
        status: StatusCode::MISDIRECTED_REQUEST,
        title: "Misdirected request",
        meaning: "The header `Host` names a host that this service does not serve. \
              Nothing was done, and the connection closes.",
        advice: "Use the name of the service. Its operator can add names with the setting \
              `HTTP_HOSTS`: on loopback, only names of loopback are served by default, \
              so that no web page can reach it under a name of its own.",
        detail: "This service does not serve the host named in Host.",
        headers: &[],
        member: Member::None,
    });

    /// Fields are invalid.
    pub const VALIDATION_FAILED: Self = Self::new(&About {
        slug: "validation-failed",
        status: StatusCode::UNPROCESSABLE_ENTITY,
        title: "Validation failed",
        meaning: "The body could be read, but fields in it are invalid. Nothing was \
              done.",
        advice: "Correct every field that the member `errors` lists: it has all invalid \
              fields at once. `pointer` locates the field; `code` is for programs \
              and does not change; `detail` is for people.",
        detail: "1 field is invalid.",
        headers: &[],
        member: Member::Errors,
    });

    /// The address has no account, or another password.
    pub const INVALID_CREDENTIALS: Self = Self::new(&About {
        slug: "invalid-credentials",
        status: StatusCode::UNAUTHORIZED,
        title: "Invalid credentials",
        meaning: "The address has no account, or another password; which of them is not \
              said. The attempt is counted.",
        advice: "Ask the user to check both. After ten failures in a row, further attempts \
              have to wait.",
        detail: "The address or the password is wrong.",
        headers: &["WWW-Authenticate"],
        member: Member::None,
    });

    /// There were too many failed logins.
    pub const LOGIN_THROTTLED: Self = Self::new(&About {
        slug: "login-throttled",
        status: StatusCode::TOO_MANY_REQUESTS,
        title: "Login throttled",
        meaning: "There were too many failed logins for this address, or another login of it \
              is under way. It is the same for an address without an account. Nothing \
              was done.",
        advice: "Wait for the seconds in `Retry-After`. A client that sends the \
              `device_token` of an earlier login is counted by itself.",
        detail: "There were too many failed logins for this address.",
        headers: &["Retry-After"],
        member: Member::None,
    });

    /// The client sent too many requests in a short time.
    pub const RATE_LIMITED: Self = Self::new(&About {
        slug: "rate-limited",
        status: StatusCode::TOO_MANY_REQUESTS,
        title: "Too many requests",
        meaning: "Too many such requests came from the network address of the client, or \
              for its user or session; more are refused for a while. Nothing was done.",
        advice: "Wait for the seconds in `Retry-After`, and retry, with the same key if \
              the request has one.",
        detail: "Too many requests came from this address. Nothing was done.",
        headers: &["Retry-After"],
        member: Member::None,
    });

    /// The head of the request is too large.
    pub const HEADERS_TOO_LARGE: Self = Self::new(&About {
        slug: "headers-too-large",
        status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        title: "Request header fields too large",
        meaning: "The request line and the headers together are over the limit of 32 \
              KiB, or there are more than 96 headers. Nothing was done, and the \
              connection closes.",
        advice: "Send fewer or shorter headers; look for a cookie or a header that \
              grows.",
        detail: "The head of the request is over 32768 bytes, or has over 96 headers.",
        headers: &[],
        member: Member::None,
    });

    /// No active administrator would be left.
    pub const LAST_ADMIN: Self = Self::new(&About {
        slug: "last-admin",
        status: StatusCode::CONFLICT,
        title: "Last administrator",
        meaning: "The user is the only active one with the role `admin`, and no one could \
              administer the service afterwards. Nothing was done.",
        advice: "Grant another active user the role `admin` first.",
        detail: "The user is the last active administrator.",
        headers: &[],
        member: Member::None,
    });

    /// A defect in the service.
    pub const INTERNAL: Self = Self::new(&About {
        slug: "internal-error",
        status: StatusCode::INTERNAL_SERVER_ERROR,
        title: "Internal error",
        meaning: "An error occurred in the service. The request may or may not have \
              been carried out.",
        advice: "Report the `request_id` to the operator of the service: the log has \
              the reason under it. A signup with an `Idempotency-Key` can be retried \
              safely with the same key.",
        detail: "The service failed. The log has the reason under the request \
              id.",
        headers: &[],
        member: Member::None,
    });

    /// More work is waiting than can be done in time.
    pub const OVERLOADED: Self = Self::new(&About {
        slug: "overloaded",
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "Service overloaded",
        meaning: "More passwords wait to be hashed than can be hashed in time. Nothing \
              was done.",
        advice: "Wait for the seconds in `Retry-After` plus a random time, and retry. \
              Double the wait if it happens again.",
        detail: "Too many signups are waiting. Nothing was done.",
        headers: &["Retry-After"],
        member: Member::None,
    });

    /// A dependency is unavailable, or the outcome is unknown.
    pub const UNAVAILABLE: Self = Self::new(&About {
        slug: "unavailable",
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "Service unavailable",
        meaning: "The database is unavailable, or did not respond in time. The outcome \
              of a signup is then unknown: the account may have been created.",
        advice: "Wait for the seconds in `Retry-After`, and retry. A signup with an \
              `Idempotency-Key`, retried with the same key, gets a definite response. \
              Without a key, a response that the address already has an account may \
              be due to your own earlier attempt.",
        detail: "The service is unavailable. Try again shortly.",
        headers: &["Retry-After"],
        member: Member::None,
    });
}
