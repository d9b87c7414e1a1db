// The documentation of the API, made from openapi.json without anything from outside.

const element = (name, text, ...children) => {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
};

const kindOf = (schema = {}) => {
  if (schema.anyOf) return schema.anyOf.map(kindOf).join(" or ");
  if (schema.type === "array") return `list of ${kindOf(schema.items)}`;
  const bounds = [
    schema.minimum !== undefined ? `≥ ${schema.minimum}` : "",
    schema.maximum !== undefined ? `≤ ${schema.maximum}` : "",
  ].filter(Boolean).join(", ");
  return (schema.type ?? "any") + (bounds ? ` (${bounds})` : "");
};

const table = (rows) => {
  const head = element("tr", "", ...["name", "type", "default", "what"].map((name) => {
    const cell = element("th", name);
    cell.scope = "col";
    return cell;
  }));
  return element("table", "", element("thead", "", head), element("tbody", "", ...rows.map((cells) =>
    element("tr", "", ...cells.map((cell) => element("td", cell))))));
};

const described = (name, schema, required, what) => [
  name,
  kindOf(schema),
  required ? "required" : JSON.stringify(schema.default ?? null),
  what ?? schema.description ?? "",
];

const fieldsOf = (spec, operation) => {
  const rows = (operation.parameters ?? []).map((one) =>
    described(one.name, one.schema, one.required, one.description));
  const schema = operation.requestBody?.content?.["application/json"]?.schema;
  const body = schema?.$ref ? spec.components.schemas[schema.$ref.split("/").pop()] : schema;
  for (const [name, field] of Object.entries(body?.properties ?? {})) {
    rows.push(described(name, field, body.required?.includes(name)));
  }
  return rows;
};

const example = (method, path, operation) => {
  const origin = location.origin;
  const required = (operation.parameters ?? []).filter((one) => one.required);
  const query = required.map((one) => `${one.name}=…`).join("&");
  const address = `'${origin}${path}${query ? "?" + query : ""}'`;
  if (method === "get") return `curl ${address}`;
  if (path === "/api/uploads") return `curl -H 'X-Hearonce: 1' --data-binary @file.wav '${origin}${path}?name=file.wav'`;
  return `curl -H 'X-Hearonce: 1' --json '{…}' ${address}`;
};

const state = document.getElementById("state");
try {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error((await answer.json()).error);
  const spec = await answer.json();
  for (const [path, operations] of Object.entries(spec.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const rows = fieldsOf(spec, operation);
      document.getElementById("routes").append(element("section", "",
        element("h2", `${method.toUpperCase()} ${path}`),
        element("p", operation.description ?? operation.summary),
        element("pre", "", element("code", example(method, path, operation))),
        ...(rows.length ? [table(rows)] : [])));
    }
  }
  state.hidden = true;
} catch (error) {
  state.textContent = `The description cannot be read: ${error.message}`;
}
