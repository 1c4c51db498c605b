// The page to ask for a mail with which to choose a new password.

import { send } from "./api.js";
import { untilCertain } from "./attempt.js";
import { onSubmit, show, start, the } from "./form.js";
import { address } from "./session.js";

start();
the("email").value = address.get();

onSubmit(the("forgot"), async (body, view) => {
  const outcome = await untilCertain(() => send("POST", "auth/password/forgot", { body }), view);
  if (!outcome.ok) return view.fail(outcome);
  the("address").textContent = body.email;
  show("mail");
});
