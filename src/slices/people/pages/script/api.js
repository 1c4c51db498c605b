// A request to the service, and what it came to.
//
// An outcome has `ok`, `status` (0 if there was no response), `kind` (the slug of the problem), `problem` (its body),
// `data` (the body of a success), `text`, `tag`, `retryAfter` (seconds), `lacking` (the permissions that were missing), and
// `certain`: whether the service has decided. What is not certain may have been done or not, and can be sent again with the
// same key.

// Longer than the service takes for any request.
const PATIENCE_MS = 20_000;

// After these the same request may still be decided otherwise.
const UNDECIDED = new Set(["request-in-progress", "rate-limited", "request-timeout", "login-throttled"]);

/** Sends a request. It never throws. */
export async function send(method, path, { body, key, token, ifMatch } = {}) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (key) headers["idempotency-key"] = key;
  if (token) headers.authorization = `Bearer ${token}`;
  if (ifMatch) headers["if-match"] = ifMatch;
  try {
    const response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    return outcome(response, await response.text());
  } catch {
    // The request or its response was lost, or took too long.
    return { ok: false, status: 0, kind: "no-response", problem: {}, certain: false };
  }
}

function outcome(response, text) {
  const { ok, status } = response;
  const data = parsed(text);
  const problem = ok ? {} : data;
  const kind = String(problem.type ?? "").split("/").pop();
  const seconds = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  return {
    ok,
    status,
    kind,
    problem,
    data,
    text,
    tag: response.headers.get("etag"),
    retryAfter: Number.isNaN(seconds) ? undefined : seconds,
    // RFC 6750, section 3.
    lacking: response.headers.get("www-authenticate")?.match(/insufficient_scope", scope="([^"]+)"/)?.[1].split(" "),
    certain: ok || (status >= 400 && status < 500 && !UNDECIDED.has(kind)),
  };
}

/** The object in a text; an empty one if there is none, as in the page of a proxy. */
export function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" ? value : {};
  } catch {
    return {};
  }
}

/** Random text that is sent with a request and its retries, and with no other one. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
