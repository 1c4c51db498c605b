// The page for administrators: the login, the list of users, and a user.
//
// What is shown follows the fragment: none or `#users` is the list, and anything else the id of a user, so that the buttons
// of the browser work. A tab has a session of its own.

import { attempt, untilCertain } from "./attempt.js";
import { goTo, notice, onSubmit, show, start, the } from "./form.js";
import { call, logIn, logOut, read } from "./session.js";
import { ownTab } from "./tab.js";
import { openUser } from "./user.js";
import { wordsOfField } from "./words.js";

// The login.

onSubmit(the("log-in"), async (values, view) => {
  const request = (key) => logIn(values, key);
  let outcome = await attempt("log-in", request, view);
  // The key of an attempt that was lost, long ago.
  if (outcome.kind === "idempotency-key-reused") outcome = await attempt("log-in", request, view);
  if (!outcome.ok) return view.fail(outcome);
  the("log-in").reset();
  notice("");
  await route();
});

onSubmit(the("log-out"), async () => {
  const outcome = await logOut();
  goTo(
    "admin",
    outcome.ok
      ? "You have logged out."
      : "You are logged out in this tab. The service could not be reached, so the session ends there when it is no longer " +
          "used.",
  );
});

// The list. A page is found by its cursor; those of the pages before lead back.

let cursors = [null];
let following = null;

function card(user) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = `#${user.id}`;
  link.textContent = user.display_name;
  const about = document.createElement("p");
  about.className = "hint";
  const since = new Date(user.created_at).toLocaleDateString(undefined, { dateStyle: "long" });
  about.textContent = `${user.email} · since ${since}`;
  item.append(link, about);
  return item;
}

function showList(users, title) {
  the("list-title").textContent = title;
  the("users").replaceChildren(...users.map(card));
}

/** Loads the page behind a list of cursors, of which the last one is its own. */
async function loadPage(behind, view) {
  const cursor = behind.at(-1);
  const query = cursor ? `?cursor=${encodeURIComponent(cursor)}` : "";
  const outcome = await untilCertain(() => call("GET", `admin/users${query}`), view);
  if (!outcome.ok) {
    view.fail(outcome);
    return false;
  }
  cursors = behind;
  following = outcome.data.next_cursor;
  const page = cursors.length > 1 ? `, page ${cursors.length}` : "";
  showList(outcome.data.users, `All users, the newest first${page}`);
  the("previous").hidden = cursors.length < 2;
  the("next").hidden = !following;
  return true;
}

const find = onSubmit(the("find"), async ({ email }, view) => {
  const outcome = await untilCertain(() => call("GET", `admin/users?email=${encodeURIComponent(email)}`), view);
  if (outcome.kind === "invalid-parameter") return view.failField("email", wordsOfField({ code: "invalid_email" }));
  if (!outcome.ok) return view.fail(outcome);
  const [user] = outcome.data.users;
  if (!user) return view.failField("email", "No user has this address.");
  location.hash = user.id;
});

const turn = (behind) => async (_, view) => {
  if (await loadPage(behind(), view)) the("list-title").focus();
};
onSubmit(the("previous"), turn(() => cursors.slice(0, -1)));
onSubmit(the("next"), turn(() => [...cursors, following]));

// What is shown.

// The fragment of the link that skips to the content.
const SKIP = "main";

async function route() {
  if (!read()) return show("log-in");
  const id = location.hash.slice(1);
  if (!["", "users", SKIP].includes(id)) {
    show("user");
    return openUser(id);
  }
  show("users");
  find.clear();
  await loadPage(cursors, find);
}

addEventListener("hashchange", () => {
  if (location.hash !== `#${SKIP}`) route();
});

start();
await ownTab();
await route();
