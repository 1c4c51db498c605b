// A session that belongs to one tab.
//
// A browser copies `sessionStorage` into a tab that is duplicated. Two tabs with one refresh token would end the session at
// the second use, so each tab holds a lock of its own name, and one that finds its name taken is a copy: it forgets the
// tokens, and asks for a login.

import { newKey } from "./api.js";
import { forget } from "./session.js";

const NAME = `tab ${new URL(".", location.href).pathname}`;

// A page that is left, as by a reload, releases its lock a moment after the next one has begun.
const LEAVING_MS = 1000;

/** Takes a lock until the tab is closed; whether it was free. */
function take(name) {
  return new Promise((resolve) => {
    const holding = () => {
      resolve(true);
      return new Promise(() => {});
    };
    navigator.locks.request(name, { signal: AbortSignal.timeout(LEAVING_MS) }, holding).catch(() => resolve(false));
  });
}

/** Makes the session that of this tab alone. Without locks it trusts the user not to duplicate tabs. */
export async function ownTab() {
  if (!navigator.locks) return;
  const kept = sessionStorage.getItem(NAME);
  if (kept && (await take(`${NAME} ${kept}`))) return;
  if (kept) forget();
  const name = newKey();
  sessionStorage.setItem(NAME, name);
  await take(`${NAME} ${name}`);
}
