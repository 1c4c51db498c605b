// Shows openapi.json with Swagger UI. All addresses are relative, so that the page works behind a path prefix.

// `crypto.randomUUID` is available only over HTTPS and on localhost.
const uuid = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
};

// Loads the document, and adds the address of the server and an example key.
const read = async () => {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const spec = await response.json();
  spec.servers = [{ url: new URL(".", location.href).href.replace(/\/$/, "") }];
  const parameters = spec.paths["/signup"]?.post?.parameters ?? [];
  const key = parameters.find((parameter) => parameter.name === "Idempotency-Key");
  if (key) {
    key.example = uuid();
    key.description =
      "**Filled in with a random key. Press *Execute* twice:** the second response repeats the first, with " +
      "the header `idempotent-replayed: true`, and there is one account. Change a field and keep the key, and the " +
      `request is refused.\n\n${key.description}`;
  }
  return spec;
};

// Replaces parts of Swagger UI: no choice of a single server, no link within a button, headings in order.
const frame = ({ React, getComponent, specSelectors }) => ({
  components: {
    ServersContainer: () => null,
    DeepLink: ({ text }) => React.createElement("span", null, text),
    OAS31Info: () => {
      const info = specSelectors.info();
      const Markdown = getComponent("Markdown", true);
      return React.createElement(
        "div",
        { className: "info" },
        React.createElement("h1", null, info.get("title"), " ", info.get("version")),
        React.createElement(Markdown, { source: info.get("description") }),
        React.createElement("h2", null, "Operations"),
      );
    },
  },
});

// Labels elements that Swagger UI leaves unlabelled, for screen readers.
const label = () => {
  for (const table of document.querySelectorAll("table[role=region]")) table.removeAttribute("role");
  for (const part of document.querySelectorAll(
    "#swagger-ui :is(select, textarea, input, .copy-to-clipboard button):not([aria-label])",
  )) {
    const parameter = part.closest("[data-param-name]")?.dataset.paramName;
    const name = {
      BUTTON: "Copy",
      TEXTAREA: "Request body",
      SELECT: part.closest(".examples-select") ? "Example" : "Media type",
    }[part.tagName];
    part.setAttribute("aria-label", parameter ?? name ?? "Value");
  }
};

const main = document.getElementById("swagger-ui");
try {
  window.ui = SwaggerUIBundle({
    spec: await read(),
    domNode: main,
    layout: "BaseLayout",
    plugins: [frame],
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    syntaxHighlight: { activated: false },
    // No requests to an external validator.
    validatorUrl: null,
  });
  new MutationObserver(label).observe(main, { childList: true, subtree: true });
  label();
} catch (error) {
  main.textContent = `openapi.json can't be shown: ${error.message}. Reload the page to try again.`;
}
