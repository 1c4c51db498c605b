// The page of the own account.

import { attempt, untilCertain } from "./attempt.js";
import { goTo, onSubmit, start, the } from "./form.js";
import { call, forget, forgetDevice, logOut, onLeft, read, reauthenticate, renew } from "./session.js";
import { words } from "./words.js";

// The state of the account that the fields show, for `If-Match`.
let tag = null;

const day = (text) => new Date(text).toLocaleDateString(undefined, { dateStyle: "long" });
const moment = (text) => new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

function fill({ data, tag: current }) {
  tag = current;
  the("who").textContent = data.display_name;
  the("since").textContent = `· since ${day(data.created_at)}`;
  the("name").value = data.name;
  the("display_name").value = data.display_name;
  the("address").textContent = data.email;
  the("unverified").hidden = data.email_verified !== false;
  for (const id of ["username", "step-up-username"]) the(id).value = data.email;
}

async function load(view) {
  const outcome = await untilCertain(() => call("GET", "users/me"), view);
  if (outcome.ok) fill(outcome);
  else view.fail(outcome, `${words(outcome)} Reload the page to try again.`);
  return outcome;
}

// Profile.

const profile = onSubmit(the("profile"), async (body, view) => {
  const outcome = await untilCertain(() => call("PATCH", "users/me", { body, ifMatch: tag }), view);
  if (outcome.ok) {
    fill(outcome);
    return view.done("Saved.");
  }
  if (outcome.kind !== "precondition-failed") return view.fail(outcome);
  // Perhaps by the first of two tries, whose response was lost.
  const { ok, data } = await load(view);
  const isSaved = ok && Object.entries(body).every(([name, value]) => data[name] === value.trim());
  if (isSaved) view.done("Saved.");
  else if (ok) view.fail(outcome);
});

// The password once more, for what needs a fresh one.

const dialog = the("step-up");
const closed = () => new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));

/** Whether the user has entered the password again. */
async function stepUp() {
  dialog.returnValue = "";
  the("step-up-form").reset();
  dialog.showModal();
  await closed();
  return dialog.returnValue === "done";
}

/** Sends a request, and asks for the password where it must be fresh; null if the user does not enter it. */
async function fresh(request) {
  for (;;) {
    const outcome = await request();
    if (outcome.kind !== "reauthentication-required") return outcome;
    if (!(await stepUp())) return null;
  }
}

onSubmit(the("step-up-form"), async ({ password }, view) => {
  const outcome = await untilCertain(() => reauthenticate(password), view);
  if (outcome.ok) dialog.close("done");
  else if (outcome.kind === "invalid-credentials") view.failField("password", "This is not your password.");
  else view.fail(outcome);
});
the("step-up-cancel").addEventListener("click", () => dialog.close());

// Address.

onSubmit(the("email"), async (body, view) => {
  const outcome = await fresh(() => attempt("email", (key) => call("POST", "users/me/email", { body, key }), view));
  if (!outcome) return;
  if (!outcome.ok) return view.fail(outcome);
  the("email").reset();
  view.done(`A mail to ${body.email} is on its way, unless it has had three in this hour. Your address changes when you open its link.`);
});

// Password.

onSubmit(the("password"), async (body, view) => {
  const outcome = await attempt("password", (key) => call("POST", "users/me/password", { body, key }), view);
  if (outcome.kind === "invalid-credentials") {
    return view.failField("current_password", "This is not your current password.");
  }
  if (!outcome.ok) return view.fail(outcome);
  // The access token is of the time before.
  await renew();
  the("password").reset();
  view.done("Your password is changed, and all other sessions have ended.");
  await loadSessions();
});

// Sessions.

async function loadSessions() {
  const outcome = await untilCertain(() => call("GET", "users/me/sessions"), others);
  if (!outcome.ok) return others.fail(outcome);
  const { sessions } = outcome.data;
  the("sessions").replaceChildren(...sessions.map(card));
  the("end-others").hidden = sessions.length < 2;
}

function card(session) {
  const item = document.createElement("li");
  const add = (tag, text, place = item) => {
    const element = document.createElement(tag);
    element.textContent = text;
    place.append(element);
    return element;
  };
  const label = session.label ?? "A device without a name";
  const title = add("p", "");
  add("strong", label, title);
  if (session.current) {
    title.append(" ");
    add("span", "this device", title).className = "badge";
  }
  const place = session.network ? `, from ${session.network}` : "";
  add("p", `Since ${moment(session.created_at)}, last used ${moment(session.last_used_at)}${place}`).className = "hint";
  if (!session.current) {
    const button = add("button", "End");
    button.type = "button";
    button.className = "quiet";
    button.setAttribute("aria-label", `End the session of ${label}, since ${moment(session.created_at)}`);
    button.addEventListener("click", () => endSession(session.id), { once: true });
  }
  return item;
}

async function endSession(id) {
  others.clear();
  const outcome = await untilCertain(() => call("DELETE", `users/me/sessions/${encodeURIComponent(id)}`), others);
  // One that is gone has ended as well.
  if (!outcome.ok && outcome.kind !== "session-not-found") others.fail(outcome);
  await loadSessions();
  if (outcome.ok) {
    // The button that had the focus is gone.
    the("sessions-title").focus();
    others.done("The session has ended.");
  }
}

const others = onSubmit(the("end-others"), async (_, view) => {
  const outcome = await untilCertain(() => call("DELETE", "users/me/sessions"), view);
  if (!outcome.ok) return view.fail(outcome);
  await loadSessions();
  the("sessions-title").focus();
});

// Data, and the end.

onSubmit(the("export"), async (_, view) => {
  const outcome = await fresh(() => untilCertain(() => call("GET", "users/me/export"), view));
  if (!outcome) return;
  if (!outcome.ok) return view.fail(outcome);
  const file = URL.createObjectURL(new Blob([outcome.text], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = file;
  link.download = "account.json";
  link.click();
  // The browser has begun to read it by then.
  setTimeout(() => URL.revokeObjectURL(file), 60_000);
  view.done("The file is among your downloads.");
});

onSubmit(the("erase"), async (_, view) => {
  const outcome = await fresh(() => untilCertain(() => call("DELETE", "users/me"), view));
  if (!outcome) return;
  if (!outcome.ok) return view.fail(outcome);
  forget();
  forgetDevice();
  goTo("log-in", "Your account is erased.");
});

onSubmit(the("log-out"), async () => {
  const outcome = await logOut();
  goTo(
    "log-in",
    outcome.ok
      ? "You have logged out."
      : "You are logged out in this browser. The service could not be reached, so the session ends there when it is no " +
          "longer used; you can end it from another device.",
  );
});

start();
if (read()) {
  onLeft(() => goTo("log-in", "You have logged out."));
  await load(profile);
  await loadSessions();
} else {
  goTo("log-in");
}
