// Lists the routes of /openapi.json with a curl line for each.

import { element, get } from "./api.js";

const root = document.getElementById("api");

function typed(schema, all) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map((one) => typed(one, all)).join(" or ");
  if (schema.enum) return schema.enum.join(", ");
  return schema.type === "array" ? `list of ${typed(schema.items || {}, all)}` : schema.type || "any";
}

function table(rows) {
  return element("table", {}, element("tbody", {}, ...rows.map(([name, type, note]) => element("tr", {}, element("td", {}, element("code", {}, name)), element("td", {}, type), element("td", {}, note)))));
}

function fields(schema, all) {
  return Object.entries(schema.properties || {}).map(([name, one]) => [name, typed(one, all), (schema.required || []).includes(name) ? "required" : one.default === undefined ? "" : `default ${JSON.stringify(one.default)}`]);
}

function example(method, path, operation) {
  const query = (operation.parameters || []).filter((one) => one.required).map((one) => `${one.name}=…`).join("&");
  const url = `"${location.origin}${path}${query ? `?${query}` : ""}"`;
  if (method === "get") return `curl ${url}`;
  if (path === "/api/uploads") return `curl -H "X-Hearonce: 1" -H "Content-Type: application/octet-stream" --data-binary @some.wav ${url}`;
  const body = path === "/api/search" ? '{"corpus": "demo", "text": "a dog barks", "limit": 5}' : '{"corpus": "demo", "name": "dogs", "clips": ["dogs-barking.mp4"]}';
  return `curl -H "X-Hearonce: 1" --json '${body}' ${url}`;
}

const api = await get("/openapi.json");
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    root.append(element("h2", {}, `${method.toUpperCase()} ${path}`), element("p", {}, operation.summary || ""), element("pre", {}, example(method, path, operation)));
    const parameters = (operation.parameters || []).map((one) => [one.name, typed(one.schema, api), one.required ? "required" : ""]);
    const body = operation.requestBody?.content?.["application/json"]?.schema;
    const rows = body?.$ref ? fields(api.components.schemas[body.$ref.split("/").at(-1)], api) : parameters;
    if (rows.length) root.append(table(rows));
  }
}
