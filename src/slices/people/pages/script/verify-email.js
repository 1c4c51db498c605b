// The page of the mail that confirms an address: it confirms and logs in, with one password.

import { send } from "./api.js";
import { attempt, untilCertain } from "./attempt.js";
import { goTo, notice, onSubmit, show, start, the } from "./form.js";
import { forgetToken, linkToken } from "./link.js";
import { address, logIn } from "./session.js";
import { words } from "./words.js";

start();
const token = linkToken();
if (!token) show("no-link");
for (const id of ["email", "resend-email"]) the(id).value = address.get();

onSubmit(the("verify"), async (values, view) => {
  const body = { token, password: values.password };
  // It can be repeated: of a confirmed address, a used token has the same outcome.
  const outcome = await untilCertain(() => send("POST", "auth/verify-email", { body }), view);
  if (outcome.kind === "invalid-credentials") {
    return view.failField("password", "This is not the password of the account that the mail is about.");
  }
  if (["token-invalid", "token-expired"].includes(outcome.kind)) {
    forgetToken();
    show("no-link");
    return notice(words(outcome));
  }
  if (!outcome.ok) return view.fail(outcome);
  forgetToken();
  const done = await attempt("log-in", (key) => logIn(values, key), view);
  if (done.ok) goTo("account", "Your address is confirmed.");
  else goTo("log-in", "Your address is confirmed. Log in.");
});

onSubmit(the("resend"), async (body, view) => {
  const outcome = await untilCertain(() => send("POST", "auth/verify-email/resend", { body }), view);
  if (outcome.ok) view.done("If this address waits to be confirmed, a mail is on its way. An address gets at most three in an hour.");
  else view.fail(outcome);
});
