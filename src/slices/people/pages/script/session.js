// The session of this browser: its tokens, which all tabs share; on a page with `data-session-of="tab"`, that of a tab.
//
// One record in `localStorage`, or `sessionStorage`, has the tokens. A refresh holds a lock, so that tabs take turns; and it
// writes the key of the refresh before it sends it, so that a lost response is repeated with the same key, also after a
// crash. Only `refresh-token-invalid` and `session-ended` end a session: nothing else does, whatever the network does.

import { newKey, parsed, send } from "./api.js";
import { goTo } from "./form.js";
import { words } from "./words.js";

const { sessionOf, logIn: LOG_IN = "log-in" } = document.body.dataset;
const storage = () => (sessionOf === "tab" ? sessionStorage : localStorage);

const FOLDER = new URL(".", location.href).pathname;
const SESSION = `session ${FOLDER}`;
const DEVICE = `device ${FOLDER}`;
const ADDRESS = `address ${FOLDER}`;

// An access token is renewed this long before its end.
const MARGIN_MS = 15_000;

// What another tab has written before it released the lock shows in this one a moment later.
const SETTLING_MS = 50;

const now = () => Date.now();

/** The record, or null if no one is logged in. */
export function read() {
  const record = parsed(storage().getItem(SESSION));
  return record.refresh_token ? record : null;
}

function write(record) {
  storage().setItem(SESSION, JSON.stringify(record));
}

/** Forgets the tokens of this browser. */
export function forget() {
  storage().removeItem(SESSION);
}

/** Forgets that an account was used in this browser. */
export function forgetDevice() {
  localStorage.removeItem(DEVICE);
}

/** Calls `left` when another tab logs out. */
export function onLeft(left) {
  addEventListener("storage", (event) => {
    if (event.key === SESSION && event.newValue === null) left();
  });
}

/** The address to fill in: of the account that was made or used here and is not confirmed yet. */
export const address = {
  get: () => localStorage.getItem(ADDRESS) ?? "",
  set: (text) => localStorage.setItem(ADDRESS, text),
  forget: () => localStorage.removeItem(ADDRESS),
};

/** One tab at a time. Without locks, two refreshes at once get the same token. */
function locked(work) {
  return navigator.locks ? navigator.locks.request(SESSION, work) : work();
}

/** Logs in. After a success the tokens are stored. */
export async function logIn({ email, password }, key) {
  const body = { email, password, label: deviceName() };
  const device = localStorage.getItem(DEVICE);
  if (device) body.device_token = device;
  const began = now();
  const outcome = await send("POST", "auth/login", { body, key });
  if (!outcome.ok) return outcome;
  const { data } = outcome;
  await locked(() => write(tokens(data, began)));
  localStorage.setItem(DEVICE, data.device_token);
  address.forget();
  return outcome;
}

const tokens = ({ access_token, refresh_token, expires_in }, began) => ({
  refresh_token,
  access_token,
  until: began + expires_in * 1000,
});

// The first mark in `navigator.userAgent` counts: most browsers have those of others as well.
const BROWSERS = [
  ["Edg/", "Edge"],
  ["OPR/", "Opera"],
  ["Firefox/", "Firefox"],
  ["Chrome/", "Chrome"],
  ["Safari/", "Safari"],
];
const SYSTEMS = [
  ["Android", "Android"],
  ["iPhone", "iPhone"],
  ["iPad", "iPad"],
  ["Windows", "Windows"],
  ["Mac OS", "macOS"],
  ["Linux", "Linux"],
];

/** What the list of sessions calls this browser. */
function deviceName() {
  const agent = navigator.userAgent;
  const named = (names) => names.find(([mark]) => agent.includes(mark))?.[1];
  return [named(BROWSERS) ?? "Browser", named(SYSTEMS)].filter(Boolean).join(" on ");
}

/** What a request comes to that is not sent, as there is no session. */
const LOGGED_OUT = { ok: false, kind: "session-ended", problem: { reason: "logged_out" }, certain: true };

/** A valid access token that is not `refused`; or the outcome of the refresh that failed. */
function accessToken(refused) {
  return locked(async () => {
    let isSettled = false;
    for (;;) {
      const record = read();
      if (!record) return { outcome: LOGGED_OUT };
      const { access_token: token, until } = record;
      if (token && token !== refused && until - MARGIN_MS > now()) return { token };
      if (!isSettled) {
        await new Promise((resolve) => setTimeout(resolve, SETTLING_MS));
        isSettled = true;
        continue;
      }
      const key = record.key ?? newKey();
      if (!record.key) write({ ...record, key });
      const began = now();
      const body = { refresh_token: record.refresh_token };
      const outcome = await send("POST", "auth/refresh", { body, key });
      // Another tab has logged out meanwhile, or was faster, without locks.
      if (read()?.refresh_token !== record.refresh_token) continue;
      if (outcome.ok) {
        write(tokens(outcome.data, began));
        continue;
      }
      if (isOver(outcome)) return { outcome };
      // The key is that of another refresh. Only a fault of this script could cause it.
      if (outcome.kind === "idempotency-key-reused") write({ ...record, key: undefined });
      return { outcome: { ...outcome, certain: false } };
    }
  });
}

/** Whether an outcome ends the session of this browser. */
function isOver({ kind, problem }) {
  return (
    kind === "session-ended" ||
    kind === "refresh-token-invalid" ||
    (kind === "access-token-invalid" && problem.reason === "erased")
  );
}

/** Leaves for the page to log in, which says why. */
export function leave(outcome) {
  forget();
  goTo(LOG_IN, words(outcome));
  // The rest of the page waits until it is gone.
  return new Promise(() => {});
}

/** Sends a request of the user. A token that is refused is renewed once; a session that has ended leads to the login. */
export async function call(method, path, options = {}) {
  let refused;
  for (;;) {
    const { token, outcome: failed } = await accessToken(refused);
    if (failed) return isOver(failed) ? leave(failed) : failed;
    const outcome = await send(method, path, { ...options, token });
    if (isOver(outcome)) return leave(outcome);
    const isStale = outcome.status === 401 && outcome.kind === "access-token-invalid";
    if (!isStale) return outcome;
    if (refused) return { ...outcome, certain: false };
    refused = token;
  }
}

/** Renews the access token with the next request, after a change that made it void. */
export function renew() {
  return locked(() => {
    const record = read();
    if (record) write({ ...record, access_token: undefined });
  });
}

/** Sends the password again, for what needs a fresh one. */
export async function reauthenticate(password) {
  const began = now();
  const outcome = await call("POST", "auth/reauthenticate", { body: { password } });
  if (outcome.ok) {
    const { access_token, expires_in } = outcome.data;
    await locked(() => {
      const record = read();
      if (record) write({ ...record, access_token, until: began + expires_in * 1000 });
    });
  }
  return outcome;
}

/** Ends the session, here and at the service. */
export async function logOut() {
  const record = read();
  forget();
  const body = record ? { refresh_token: record.refresh_token } : {};
  return send("POST", "auth/logout", { body });
}
