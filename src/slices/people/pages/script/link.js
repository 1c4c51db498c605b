// The token of a mail's link: what follows the `#`, which no server and no log sees.
//
// It leaves the address bar at once, and stays in the tab until it was used, so that a reload does not lose it.

const NAME = `link ${location.pathname}`;

/** Removes the token when it is of no further use. */
export function forgetToken() {
  sessionStorage.removeItem(NAME);
}

/** The token, or null if the page was opened without one. */
export function linkToken() {
  const given = location.hash.slice(1);
  if (isToken(given)) {
    sessionStorage.setItem(NAME, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(NAME);
}

// The other fragments are those of the page itself.
const isToken = (text) => /^[\w-]{32,}$/.test(text);

// Another link, opened in the same tab, loads nothing by itself.
addEventListener("hashchange", () => {
  if (isToken(location.hash.slice(1))) location.reload();
});
