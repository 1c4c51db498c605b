// Attempts: a request with its key, from the first press of a button until its outcome is certain.
//
// The key is kept in the storage of the tab before it is sent, so a reload does not lose it. Passwords are not kept.

import { newKey, parsed } from "./api.js";

// Each is a second or more; together they are some minutes.
const MOST_TRIES = 10;
// A service that fails at once is not asked as often.
const MOST_FAILURES = 2;
const LONGEST_PAUSE_S = 30;

const nameOf = (action) => `attempt ${new URL(".", location.href).pathname}${action}`;

/** What is under way: its key, and what was kept beside it; or null. */
export function underWay(action) {
  const kept = parsed(sessionStorage.getItem(nameOf(action)));
  return kept.key ? kept : null;
}

/** The key of an action: the one that is kept, or a new one. `facts` are kept with a new one. */
function keyOf(action, facts) {
  const kept = underWay(action);
  if (kept) return kept.key;
  const key = newKey();
  sessionStorage.setItem(nameOf(action), JSON.stringify({ key, facts }));
  return key;
}

/**
 * Sends a request with the key of its action until its outcome is certain, and then forgets the key. Values that are
 * refused leave the key: the next attempt may come after one that was lost.
 */
export async function attempt(action, request, view, facts = {}) {
  const key = keyOf(action, facts);
  const outcome = await untilCertain(() => request(key), view);
  if (outcome.certain && outcome.kind !== "validation-failed") {
    sessionStorage.removeItem(nameOf(action));
  }
  return outcome;
}

/** Sends a request, and again while its outcome is not certain. `view` shows the pauses. */
export async function untilCertain(request, view) {
  for (let tries = 1; ; tries += 1) {
    const outcome = await request();
    // A refusal for too many requests is not repeated unasked: it would add to them.
    const most = outcome.status === 500 ? MOST_FAILURES : MOST_TRIES;
    if (outcome.certain || outcome.status === 429 || tries >= most) return outcome;
    const pause = outcome.retryAfter ?? 2 ** (tries - 1);
    await view.pause(outcome, Math.max(1, Math.min(pause, LONGEST_PAUSE_S)));
    view.again();
  }
}
