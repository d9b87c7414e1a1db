// Requests to the server; what goes wrong is thrown as an Error whose message is for people.

export function address(path, query) {
  return `${path}?${new URLSearchParams(query)}`;
}

export async function get(path, query = {}, signal = undefined) {
  return answer(await send(address(path, query), { signal }));
}

export async function post(path, body, signal = undefined) {
  const headers = { "Content-Type": "application/json", "X-Hearonce": "1" };
  return answer(await send(path, { method: "POST", headers, body: JSON.stringify(body), signal }));
}

export async function upload(file, name) {
  const headers = { "Content-Type": "application/octet-stream", "X-Hearonce": "1" };
  return answer(await send(address("/api/uploads", { name }), { method: "POST", headers, body: file }));
}

async function send(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is `hearonce serve` still running?");
  }
}

async function answer(response) {
  let body;
  try {
    body = await response.json();
  } catch {
    throw new Error(`The server answered ${response.status}.`);
  }
  if (!response.ok) throw new Error(body.error || `The server answered ${response.status}.`);
  return body;
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Minutes and seconds, with hours where there are any.
export function clock(seconds, digits = 1) {
  const unit = 10 ** digits;
  const parts = Math.round(seconds * unit);
  const minutes = Math.floor(parts / (60 * unit));
  const rest = ((parts % (60 * unit)) / unit).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}
