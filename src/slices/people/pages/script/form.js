// Forms: one press of the button is one request, whatever is pressed meanwhile; errors stand beside their field.
//
// A form in the page has fields with `name`, for each a paragraph `ID-error`, and paragraphs with the roles `status` and
// `alert`. A form without fields is a button.

import { duration, words, wordsOfField } from "./words.js";

const AGAIN = "Trying again…";
const UNKNOWN = "We do not know yet whether it was done. Press the button to try again: it is done once.";
const WORKING = "One moment…";
const NOTICE = `notice ${new URL(".", location.href).pathname}`;

/** The element with this id. */
export const the = (id) => document.getElementById(id);

/** Shows one of several parts of a page, and moves there. */
export function show(part) {
  for (const other of document.querySelectorAll("[data-part]")) other.hidden = other.dataset.part !== part;
  const heading = document.querySelector(`[data-part="${part}"] h1`);
  document.title = `${heading.textContent} - signup-service`;
  heading.tabIndex = -1;
  heading.focus();
}

/** Goes to another page, which says this first. */
export function goTo(page, notice) {
  if (notice) sessionStorage.setItem(NOTICE, notice);
  location.replace(page);
}

/** Shows what the page before has left to say. */
function showNotice() {
  const text = sessionStorage.getItem(NOTICE);
  sessionStorage.removeItem(NOTICE);
  if (text) notice(text);
}

/** Says something at the top of the page. */
export function notice(text) {
  the("notice").textContent = text;
  if (text) the("notice").scrollIntoView({ block: "nearest" });
}

/** A button that shows what was typed, for each password. */
function passwordButtons() {
  for (const button of document.querySelectorAll("button[data-shows]")) {
    const field = the(button.dataset.shows);
    const shown = (is) => {
      field.type = is ? "text" : "password";
      button.setAttribute("aria-pressed", String(is));
    };
    shown(false);
    button.addEventListener("click", () => shown(field.type === "password"));
    // A browser that keeps what was typed must see a password, and no one must see it on the next page.
    field.form.addEventListener("submit", () => shown(false));
  }
}

/** Calls `run` with the values of the form and its view, one call at a time. */
export function onSubmit(form, run) {
  const view = new View(form);
  form.noValidate = true;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (view.busy || !view.complete()) return;
    view.begin();
    try {
      await run(view.values(), view);
    } finally {
      view.end();
    }
  });
  return view;
}

/** What a form shows. */
class View {
  constructor(form) {
    this.form = form;
    this.status = form.querySelector("[role=status]");
    this.alert = form.querySelector("[role=alert]");
    this.busy = false;
    this.countdown = undefined;
  }

  get fields() {
    return [...this.form.elements].filter((field) => field.name);
  }

  get button() {
    return this.form.querySelector("button[type=submit]");
  }

  values() {
    return Object.fromEntries(this.fields.map((field) => [field.name, field.value]));
  }

  begin() {
    this.busy = true;
    this.clear();
    // Not `disabled`, which would lose the focus.
    this.button.setAttribute("aria-disabled", "true");
    this.form.setAttribute("aria-busy", "true");
    this.working();
  }

  working() {
    this.status.textContent = WORKING;
  }

  end() {
    this.busy = false;
    this.button.removeAttribute("aria-disabled");
    this.form.removeAttribute("aria-busy");
    if ([WORKING, AGAIN].includes(this.status.textContent)) this.status.textContent = "";
  }

  clear() {
    clearInterval(this.countdown);
    this.alert.textContent = "";
    this.status.textContent = "";
    for (const field of this.fields) this.mark(field, "");
  }

  /** Whether every field that is needed has a value; if not, it says so. */
  complete() {
    this.clear();
    const empty = this.fields.filter((field) => field.validity.valueMissing);
    for (const field of empty) this.mark(field, field.dataset.missing ?? wordsOfField({ code: "required" }));
    empty[0]?.focus();
    return empty.length === 0;
  }

  mark(field, text) {
    const place = the(`${field.id}-error`);
    if (!place) return;
    place.textContent = text;
    if (text) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }

  /** Says that something was done. */
  done(text) {
    this.status.textContent = text;
  }

  /** Says what is wrong, beside the fields that it is about, and moves to the first of them. */
  fail(outcome, text = words(outcome)) {
    this.status.textContent = "";
    const wrong = [];
    for (const error of outcome.problem?.errors ?? []) {
      const field = this.fields.find(({ name }) => `/${name}` === error.pointer);
      if (!field) continue;
      this.mark(field, wordsOfField(error));
      wrong.push(field);
    }
    if (wrong.length > 0) {
      wrong[0].focus();
      return;
    }
    this.say(outcome.certain || outcome.status === 429 ? text : `${text} ${UNKNOWN}`);
    if (outcome.status === 429 && outcome.retryAfter) this.countDown(outcome.retryAfter);
  }

  /** Says that a field is wrong, and moves to it. */
  failField(name, text) {
    this.status.textContent = "";
    const field = this.fields.find((field) => field.name === name);
    this.mark(field, text);
    field.focus();
  }

  /** An alert. */
  say(text) {
    this.alert.textContent = text;
    this.alert.tabIndex = -1;
    this.alert.focus();
  }

  /** Shows how long to wait; screen readers hear it at the beginning and at the end only. */
  countDown(seconds) {
    const until = Date.now() + seconds * 1000;
    const [heard, seen] = [document.createElement("span"), document.createElement("span")];
    heard.className = "away";
    seen.setAttribute("aria-hidden", "true");
    heard.textContent = seen.textContent = `You can try again in ${duration(seconds)}.`;
    this.status.replaceChildren(heard, seen);
    this.countdown = setInterval(() => {
      const rest = Math.ceil((until - Date.now()) / 1000);
      seen.textContent = `You can try again in ${duration(rest)}.`;
      if (rest > 0) return;
      clearInterval(this.countdown);
      this.status.textContent = "You can try again now.";
    }, 1000);
  }

  /** Waits before the next try: for some seconds, until the network is back, or until the button is pressed. */
  async pause(outcome, seconds) {
    const knows = outcome.kind === "overloaded" ? "" : " We do not know yet whether it was done.";
    this.status.textContent = `${words(outcome)}${knows} We try again in ${duration(seconds)}, or when you press the button.`;
    this.button.removeAttribute("aria-disabled");
    this.status.scrollIntoView({ block: "nearest" });
    const ended = new AbortController();
    await new Promise((resolve) => {
      const { signal } = ended;
      const timer = setTimeout(resolve, seconds * 1000);
      signal.addEventListener("abort", () => clearTimeout(timer));
      addEventListener("online", resolve, { signal });
      this.button.addEventListener("click", resolve, { signal });
    });
    ended.abort();
  }

  again() {
    this.button.setAttribute("aria-disabled", "true");
    this.status.textContent = AGAIN;
  }
}

/** What a page does first. */
export function start() {
  // What a page says after a reload is at its top.
  history.scrollRestoration = "manual";
  passwordButtons();
  try {
    localStorage.length;
  } catch {
    notice("These pages need the storage of the browser, which is switched off for them.");
  }
  showNotice();
}
