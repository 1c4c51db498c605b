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
  // Where it is kept back whether an address has an account, one that is not confirmed is like none.
  const unconfirmed = form.dataset.uniform === "true" ? "invalid-credentials" : "email-not-verified";
  the("resend").hidden = outcome.kind !== unconfirmed;
  view.fail(outcome);
});

onSubmit(the("resend"), async (_, view) => {
  const body = { email: form.elements.email.value };
  const outcome = await untilCertain(() => send("POST", "auth/verify-email/resend", { body }), view);
  if (!outcome.ok) return view.fail(outcome);
  view.done("If this address waits to be confirmed, a mail is on its way. The link of an earlier one does not work any more. An address gets at most three in an hour.");
});
