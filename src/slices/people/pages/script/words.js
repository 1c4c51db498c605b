// What the pages say about outcomes: by the slug of a problem, and by the code of a field.

const LONG_AGO = "This link is too old, or a newer mail has replaced it.";

const PROBLEMS = {
  "no-response": "There is no connection to the service.",
  "invalid-credentials": "The address or the password is wrong.",
  "email-not-verified": "Your address is not confirmed yet. Open the link in the mail that you got, or ask for another one.",
  "account-suspended": "This account is suspended. Ask the operator of the service.",
  "login-throttled": "There were too many failed attempts for this address.",
  "rate-limited": "There were too many requests from your network.",
  "limit-reached": "There were too many requests of this kind.",
  "request-in-progress": "The first attempt is still under way.",
  "request-timeout": "It took too long.",
  overloaded: "The service is busy. Nothing was done.",
  unavailable: "The service does not work at the moment.",
  "internal-error": "The service has failed.",
  "email-already-registered": "This address has an account already. Log in, or choose a new password.",
  "token-invalid": "This link is not complete, or its account is gone. Copy the whole link from the mail.",
  "token-expired": LONG_AGO,
  "token-used": "This link was used already, and each works once.",
  "account-erased": "The account that this page made was erased.",
  "idempotency-key-reused":
    "An earlier attempt of yours has reached the service, with other values than now. Its outcome counts.",
  "refresh-token-invalid": "Your session is no longer known. Log in again.",
  "precondition-failed": "Your account was changed elsewhere meanwhile. The fields show what it is now: look, and save again.",
  "changed-meanwhile": "Your password was changed elsewhere meanwhile.",
  "last-admin": "You are the only administrator. Make another one first.",
  "session-not-found": "This session has ended already.",
  "permission-denied": "You may not do this.",
  "not-found": "This service does not offer it.",
  "method-not-allowed": "This service does not offer it.",
};

const ENDED = {
  idle: "Your session has ended, as it was not used for long. Log in again.",
  expired: "Your session has reached its longest time. Log in again.",
  logged_out: "You have logged out.",
  password_changed: "Your password was changed, which ended this session. Log in again.",
  suspended: "This account is suspended. Ask the operator of the service.",
  revoked: "This session was ended from elsewhere. Log in again.",
  reused:
    "Your session was ended for safety, as an old token of it was used again. Log in, and choose a new password if " +
    "you do not know why.",
  erased: "This account was erased.",
};

const CODES = {
  required: "Fill this in.",
  too_long: "This is too long.",
  too_short: "This is too short.",
  control_character: "This has characters that are not visible. Type it instead of pasting it.",
  invisible_character: "This has characters that are not visible. Type it instead of pasting it.",
  bidirectional_control: "This has characters that are not visible. Type it instead of pasting it.",
  nul_character: "This has a character that is not allowed.",
  nothing_visible: "Nothing in it is visible.",
  invalid_email: "This is not an e-mail address, such as ada@example.org.",
  own_name_or_address: "This is made of your name or address, which is easy to guess.",
  common: "Many people use this password, so it is among the first that are tried.",
  too_guessable: "This is too easy to guess. Several words that do not belong together are better.",
  breached: "This password was in a leak of another service. Choose another one.",
};

/** One sentence or two about an outcome that is no success. */
export function words(outcome) {
  const { kind, problem } = outcome;
  if (kind === "session-ended" || kind === "access-token-invalid") {
    return ENDED[problem.reason] ?? "Your session has ended. Log in again.";
  }
  if (kind === "permission-denied" && outcome.lacking) {
    return `You may not do this: it needs the permission ${outcome.lacking.join(" and ")}, which you lack. Nothing was done.`;
  }
  const known = PROBLEMS[kind];
  if (known) return known;
  const reference = problem.request_id ? ` The reference is ${problem.request_id}.` : "";
  return `${problem.detail ?? problem.title ?? "The service did not do it."}${reference}`;
}

/** What is wrong with a field. */
export function wordsOfField(error) {
  if (error.code === "too_short" && error.detail) return error.detail;
  return CODES[error.code] ?? error.detail ?? "This is not valid.";
}

/** A number of seconds, for people. */
export function duration(seconds) {
  if (seconds < 90) return seconds === 1 ? "1 second" : `${seconds} seconds`;
  return `${Math.ceil(seconds / 60)} minutes`;
}
