// The page to log in.

import { send } from "./api.js";
import { attempt, untilCertain } from "./attempt.js";
import { goTo, onSubmit, start, the } from "./form.js";
import { address, logIn, read } from "./session.js";

start();
if (read()) goTo("account");
const form = the("log-in");
form.elements.email.value = address.get();

onSubmit(form, async (values, view) => {
  const request = (key) => logIn(values, key);
  let outcome = await attempt("log-in", request, view);
  // The key of an attempt that was lost, long ago.
  if (outcome.kind === "idempotency-key-reused") outcome = await attempt("log-in", request, view);
  if (outcome.ok) return goTo("account");
  the("resend").hidden = outcome.kind !== "email-not-verified";
  view.fail(outcome);
});

onSubmit(the("resend"), async (_, view) => {
  const body = { email: form.elements.email.value };
  const outcome = await untilCertain(() => send("POST", "auth/verify-email/resend", { body }), view);
  if (outcome.ok) view.done("The mail is on its way. The link of an earlier one does not work any more.");
  else view.fail(outcome);
});
