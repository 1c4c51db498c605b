// The page of the mail with which a new password is chosen.

import { send } from "./api.js";
import { attempt } from "./attempt.js";
import { goTo, notice, onSubmit, show, start, the } from "./form.js";
import { forgetToken, linkToken } from "./link.js";
import { forget } from "./session.js";
import { words } from "./words.js";

start();
const token = linkToken();
if (!token) show("no-link");

onSubmit(the("reset"), async ({ password }, view) => {
  const request = (key) => send("POST", "auth/password/reset", { body: { token, password }, key });
  const outcome = await attempt("reset", request, view);
  if (["token-invalid", "token-expired", "token-used"].includes(outcome.kind)) {
    forgetToken();
    show("no-link");
    return notice(words(outcome));
  }
  if (outcome.kind === "idempotency-key-reused") {
    return view.fail(outcome, "An earlier attempt has set the password that you typed then. Log in with it.");
  }
  if (!outcome.ok) return view.fail(outcome);
  forgetToken();
  forget();
  goTo("log-in", "Your new password counts now. Log in with it.");
});
