// The page to sign up. However often its button is pressed, it makes one account.

import { send } from "./api.js";
import { attempt, underWay, untilCertain } from "./attempt.js";
import { goTo, notice, onSubmit, show, start, the } from "./form.js";
import { address, logIn } from "./session.js";

const ACTION = "sign-up";

start();
const form = the("sign-up");

// A reload while it was under way: what was typed comes back, but for the password, and the key is still there.
const before = underWay(ACTION);
if (before) {
  form.elements.name.value = before.facts.name;
  form.elements.email.value = before.facts.email;
  notice(
    "We do not know yet whether your account was made. Enter the same password, and press the button again: you get one " +
      "account, not two.",
  );
}

onSubmit(form, async (values, view) => {
  const { name, email } = values;
  const first = underWay(ACTION)?.facts.email ?? email;
  // A repetition is the same request, whatever the browser says by then.
  const locale = underWay(ACTION) ? underWay(ACTION).facts.locale : language();
  const body = { ...values, locale };
  const request = (key) => send("POST", "signup", { body, key });
  const outcome = await attempt(ACTION, request, view, { name, email, locale });
  notice("");
  if (outcome.ok) return welcome(values, outcome, view);
  if (outcome.kind === "email-already-registered") {
    return view.failField("email", "This address has an account already. Log in, or choose a new password.");
  }
  if (outcome.kind === "idempotency-key-reused") {
    return view.fail(
      outcome,
      `An earlier attempt of yours has reached the service, with other values than now. If it has made an account for ` +
        `${first}, log in with the password that you typed then, or choose a new one. To sign up with these values all ` +
        `the same, press the button again.`,
    );
  }
  view.fail(outcome);
});

// The longest language that the service takes.
const LONGEST_LANGUAGE = 35;

// The language of the browser, for mails; none if it is not one that the service knows the form of.
function language() {
  try {
    const [tag] = Intl.getCanonicalLocales(navigator.language);
    return tag?.length <= LONGEST_LANGUAGE ? tag : undefined;
  } catch {
    return undefined;
  }
}

async function welcome(values, outcome, view) {
  address.set(values.email);
  // It does not say whether the address has an account (`SIGNUP_ANSWER=uniform`); so neither does the page.
  const isUniform = outcome.status === 202;
  if (form.dataset.verifies === "true" || isUniform) {
    the("address").textContent = values.email;
    the("new").hidden = isUniform;
    the("new-or-not").hidden = !isUniform;
    form.reset();
    show("mail");
    return;
  }
  const done = await attempt("log-in", (key) => logIn(values, key), view);
  if (done.ok) goTo("account", "Your account is ready.");
  else goTo("log-in", "Your account is ready. Log in.");
}

onSubmit(the("resend"), async (_, view) => {
  const body = { email: address.get() };
  const outcome = await untilCertain(() => send("POST", "auth/verify-email/resend", { body }), view);
  if (!outcome.ok) return view.fail(outcome);
  view.done("If this address waits to be confirmed, a mail is on its way. The link of an earlier one does not work any more. An address gets at most three in an hour.");
});
