// Asks once before something is done. The dialog keeps the focus, and gives it back to the button that opened it.

import { onSubmit, the } from "./form.js";

const dialog = the("confirm");
const form = the("confirm-form");
const field = the("confirm-word");

// What has to be typed; empty if nothing.
let expected = "";

const same = (one, other) => one.trim().toLowerCase() === other.trim().toLowerCase();

const view = onSubmit(form, async ({ word }, shown) => {
  if (expected && !same(word, expected)) return shown.failField("word", `This is not ${expected}.`);
  dialog.close("yes");
});
the("confirm-cancel").addEventListener("click", () => dialog.close());
// What is asked is about what was shown before.
addEventListener("hashchange", () => dialog.close());

/**
 * Whether the administrator wants it. `title` is a question, `text` what follows from it, `verb` the button. With `word`,
 * that has to be typed first.
 */
export async function confirmed({ title, text, verb, word = "", isDangerous = false }) {
  view.clear();
  form.reset();
  expected = word;
  field.required = word !== "";
  the("confirm-field").hidden = word === "";
  the("confirm-title").textContent = title;
  the("confirm-text").textContent = text;
  view.button.textContent = verb;
  view.button.className = isDangerous ? "danger" : "";
  dialog.returnValue = "";
  const closed = new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  dialog.showModal();
  // What is done by accident is the cancellation.
  (word ? field : the("confirm-cancel")).focus();
  await closed;
  return dialog.returnValue === "yes";
}
