// A client by `openapi-typescript` and `openapi-fetch`: a signup with a key, its retry, a session, pages, and problems
// by type. `tsc` checks its types, and node runs it: node example.ts http://127.0.0.1:8000 TOKEN
// The token is a service key or an access token with the permission `users:read`.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.d.ts";

type Problem = components["schemas"]["Problem"];

const [baseUrl = "", token = ""] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl });
const withToken = (token: string) =>
  createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
const name = crypto.randomUUID();
const password = "correct horse battery staple";
const signUp = (number: number, key?: string) =>
  client.POST("/signup", {
    params: { header: key ? { "Idempotency-Key": key } : {} },
    body: { name: "Ada", email: `${name}-${number}@example.org`, password },
  });

// A message for the user. The compiler knows the members of each kind.
const message = (problem: Problem): string => {
  switch (problem.type) {
    case "/problems/validation-failed":
      return problem.errors.map((error) => `${error.pointer} ${error.code}`).join(", ");
    case "/problems/not-ready":
      return problem.checks.database.status;
    default:
      return problem.title;
  }
};

// One key for each signup, and the same key for each try.
const key = crypto.randomUUID();
const first = await signUp(0, key);
const again = await signUp(0, key);
assert(first.data);
assert.deepEqual(again.data, first.data);
assert.equal(again.response.headers.get("idempotent-replayed"), "true");

// Problems are distinguished by their type.
const taken = await signUp(0);
assert.equal(taken.error?.type, "/problems/email-already-registered");
const wrong = await client.POST("/signup", { body: { name: "Ada", email: "no", password: "short" } });
assert(wrong.error);
assert.equal(message(wrong.error), "/email invalid_email, /password too_short");

// A session: its user reads the own account, and refreshes with one key for each try.
const { data: session } = await client.POST("/auth/login", {
  body: { email: `${name}-0@example.org`, password },
});
assert(session);
const path = { id: session.user.id };
const own = await withToken(session.access_token).GET("/users/{id}", { params: { path } });
assert.deepEqual(own.data, first.data);
const refresh = () =>
  client.POST("/auth/refresh", {
    params: { header: { "Idempotency-Key": name } },
    body: { refresh_token: session.refresh_token },
  });
const [tokens, resent] = [await refresh(), await refresh()];
assert(tokens.data && tokens.data.refresh_token !== session.refresh_token);
assert.equal(resent.data?.refresh_token, tokens.data.refresh_token);
const denied = await client.GET("/users/{id}", { params: { path } });
assert.equal(denied.error?.type, "/problems/authentication-required");

// Pages, until there is no next one.
const reader = withToken(token);
await signUp(1);
await signUp(2);
const emails: string[] = [];
let cursor: string | undefined;
do {
  const query = cursor === undefined ? { limit: 1 } : { limit: 1, cursor };
  const { data } = await reader.GET("/users", { params: { query } });
  assert(data && "next_cursor" in data);
  emails.push(...data.users.map((user) => user.email));
  cursor = data.next_cursor ?? undefined;
} while (cursor !== undefined);
for (const number of [0, 1, 2]) assert(emails.includes(`${name}-${number}@example.org`));
