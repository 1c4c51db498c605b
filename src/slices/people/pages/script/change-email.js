// The pages of the mails that confirm or undo a change of the address. Programs that scan mails open links, so it takes a
// press of the button.

import { send } from "./api.js";
import { untilCertain } from "./attempt.js";
import { onSubmit, show, start, the } from "./form.js";
import { forgetToken, linkToken } from "./link.js";

start();
const token = linkToken();
if (!token) show("no-link");
const form = the("change");

onSubmit(form, async (_, view) => {
  const outcome = await untilCertain(() => send("POST", form.dataset.path, { body: { token } }), view);
  if (!outcome.ok) return view.fail(outcome);
  forgetToken();
  show("done");
});
