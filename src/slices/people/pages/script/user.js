// A user on the page for administrators: what is known, and what can be done. Each action asks once, and says what it did.

import { untilCertain } from "./attempt.js";
import { confirmed } from "./confirm.js";
import { goTo, onSubmit, the } from "./form.js";
import { call } from "./session.js";
import { words } from "./words.js";

const sendsMails = document.querySelector("[data-mails]").dataset.mails === "true";

const moment = (text) => new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

const WORDS = {
  "last-admin": "This is the last active administrator. Make another one first. Nothing was done.",
  "user-not-found": "There is no such user, or not any more.",
  "role-not-found": "No role has this name.",
  "role-fixed": "Every user has this role.",
};

// What a role can be called.
const ROLE = /^[a-z][a-z0-9_-]{0,63}$/;

/** What an outcome means here. */
const meaning = (outcome) => WORDS[outcome.kind] ?? words(outcome);

// The id of the user to show, and the user once it is loaded.
let shown = "";
let user = null;

/** A path of the user that is shown now: while a question is open, the browser may go to another one. */
const path = (rest = "") => `admin/users/${encodeURIComponent(shown)}${rest}`;

function add(place, tag, text, name = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (name) element.className = name;
  place.append(element);
  return element;
}

/** An item of a list: a title, and a line below. */
function card(title, about) {
  const item = document.createElement("li");
  add(add(item, "p", ""), "strong", title);
  add(item, "p", about, "hint");
  return item;
}

function fillList(id, items, none) {
  the(id).replaceChildren(...items);
  if (items.length === 0) add(the(id), "li", none, "hint");
}

function fillState() {
  const isActive = user.status === "active";
  const facts = [
    ["E-mail address", `${user.email}, ${user.email_verified ? "confirmed" : "not confirmed"}`],
    ["Name", user.name],
    ["Status", isActive ? "active" : "suspended: no login, no session"],
    ["Since", moment(user.created_at)],
    ["Last change", user.updated_at ? moment(user.updated_at) : "none"],
    ["Id", user.id],
  ];
  the("state").replaceChildren();
  for (const [name, value] of facts) {
    add(the("state"), "dt", name);
    add(the("state"), "dd", value);
  }
  suspend.button.textContent = isActive ? "Suspend" : "Activate";
}

function roleCard({ role, granted_by, granted_at }) {
  const item = card(role, `Granted ${moment(granted_at)} by ${granted_by}`);
  const button = add(item, "button", "Take away", "quiet");
  button.type = "button";
  button.setAttribute("aria-label", `Take away the role ${role}`);
  button.addEventListener("click", () => takeAway(role));
  return item;
}

const sessionCard = (session) =>
  card(
    session.label ?? "A device without a name",
    `Since ${moment(session.created_at)}, last used ${moment(session.last_used_at)}` +
      `${session.network ? `, from ${session.network}` : ""}, ends ${moment(session.expires_at)}`,
  );

/** An event: its type, its values, when, and who did it. */
function eventCard({ type, occurred_at, actor, payload }) {
  const text = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  const values = Object.entries(payload ?? {}).map(([name, value]) => `${name}: ${text(value)}`);
  return card([type, ...values].join(" · "), `${moment(occurred_at)}, by ${actor ?? "the user"}`);
}

function fill(data) {
  user = data;
  the("name").textContent = user.display_name;
  document.title = `${user.display_name} - signup-service`;
  fillState();
  fillList("roles", user.roles.map(roleCard), "None but that of every user.");
  fillList("sessions", user.sessions.map(sessionCard), "None.");
  fillList("history", user.events.map(eventCard), "No events.");
  the("end-sessions").hidden = user.sessions.length === 0;
}

/** Loads the user; whether it worked. */
async function load(view) {
  const id = shown;
  const address = path();
  const outcome = await untilCertain(() => call("GET", address), view);
  // Another one was opened meanwhile.
  if (shown !== id) return false;
  if (outcome.ok) fill(outcome.data);
  else view.fail(outcome, meaning(outcome));
  return outcome.ok;
}

/** Shows the user with this id. */
export async function openUser(id) {
  shown = id;
  user = null;
  for (const view of views) view.clear();
  setParts(false);
  the("name").textContent = "User";
  if (await load(reload)) setParts(true);
}

/** Shows the parts of a user, or none before it is loaded. */
function setParts(are) {
  for (const part of document.querySelectorAll("[data-part=user] section")) part.hidden = !are;
}

const reload = onSubmit(the("reload"), async (_, view) => {
  if (!(await load(view))) return;
  setParts(true);
  view.done("This is the state now.");
});

/** Asks a question; whether the response is yes, and the user is still shown that it is about. */
async function isSure(view, question) {
  const id = shown;
  view.done("");
  const isWanted = await confirmed(question);
  if (id !== shown) return false;
  if (isWanted) view.working();
  else view.done("Nothing was done.");
  return isWanted;
}

/** Asks, sends a request, loads the user again, and says what was done. */
async function act(view, question, request, done, heading) {
  const id = shown;
  if (!(await isSure(view, question))) return;
  const outcome = await untilCertain(request, view);
  if (id !== shown) return;
  if (!outcome.ok) return view.fail(outcome, meaning(outcome));
  await load(view);
  if (id !== shown) return;
  view.done(done);
  // The button that had the focus may be gone.
  if (heading) the(heading).focus();
}

const suspend = onSubmit(the("suspend"), (_, view) => {
  const isActive = user.status === "active";
  const status = isActive ? "suspended" : "active";
  const verb = isActive ? "Suspend" : "Activate";
  const question = {
    title: `${verb} ${user.display_name}?`,
    text: isActive
      ? "All sessions end, and no login is possible until the user is activated again."
      : "The user can log in again. Sessions that have ended stay ended.",
    verb,
  };
  const done = isActive ? "The user is suspended, and all sessions have ended." : "The user is active, and can log in.";
  const address = path();
  return act(view, question, () => call("PATCH", address, { body: { status } }), done);
});

const reset = onSubmit(the("reset"), (_, view) => {
  const question = {
    title: `Send ${user.display_name} a mail?`,
    text: `It goes to ${user.email}, and has a link to choose another password. The link of an earlier mail is void.`,
    verb: "Send the mail",
  };
  const address = path("/password-reset");
  return act(view, question, () => call("POST", address), `A mail to ${user.email} is on its way.`);
});

const grant = onSubmit(the("grant"), async ({ role }, view) => {
  const name = role.trim();
  if (!ROLE.test(name)) return view.failField("role", WORDS["role-not-found"]);
  const question = {
    title: `Grant ${user.display_name} the role ${name}?`,
    text: "The user has what it permits within two seconds, as soon as the client refreshes its token.",
    verb: "Grant",
  };
  const address = path(`/roles/${name}`);
  await act(view, question, () => call("PUT", address), `The user has the role ${name}.`);
  if (user?.roles.some((granted) => granted.role === name)) the("role").value = "";
});

async function takeAway(role) {
  if (grant.busy) return;
  grant.begin();
  try {
    const question = {
      title: `Take the role ${role} away from ${user.display_name}?`,
      text: "What it permits ends within two seconds.",
      verb: "Take away",
    };
    const address = path(`/roles/${role}`);
    const done = `The user does not have the role ${role} any more.`;
    await act(grant, question, () => call("DELETE", address), done, "roles-title");
  } finally {
    grant.end();
  }
}

const endSessions = onSubmit(the("end-sessions"), (_, view) => {
  const question = {
    title: `End all sessions of ${user.display_name}?`,
    text: "The user has to log in again, on every device.",
    verb: "End all sessions",
  };
  const address = path("/sessions");
  return act(view, question, () => call("DELETE", address), "All sessions have ended.", "sessions-title");
});

const erase = onSubmit(the("erase"), async (_, view) => {
  const { email, display_name: name } = user;
  const question = {
    title: `Erase ${name}?`,
    text:
      "The account, its sessions and its data are removed at once, and a mail says so. This cannot be undone. " +
      `Enter ${email} to go on.`,
    verb: "Erase",
    word: email,
    isDangerous: true,
  };
  const [id, address] = [shown, path()];
  if (!(await isSure(view, question))) return;
  const outcome = await untilCertain(() => call("DELETE", address), view);
  // After a response that was lost, there is no such user any more.
  if (!outcome.ok && outcome.kind !== "user-not-found") return view.fail(outcome, meaning(outcome));
  if (id === shown) goTo("admin", `${email} is erased.`);
});

const views = [reload, suspend, reset, grant, endSessions, erase];
the("no-mails").hidden = sendsMails;
the("reset").hidden = !sendsMails;
