// Shows the OpenAPI document, whose routes can be tried. Content from the server becomes text, never markup.

import { address } from "/static/api.js";

const JSON_TYPE = "application/json";

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

// Text in which parts between backticks are code.
function marked(name, text, attributes = {}) {
  const parts = text.split("`");
  return element(name, attributes, ...parts.map((part, i) => (i % 2 ? element("code", {}, part) : part)));
}

const prose = (text) => marked("p", text);
const soft = (text) => marked("span", text, { class: "soft" });

function table(heads, rows) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell))));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": heads.join(", ") },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}

class Contract {
  constructor(document) {
    this.document = document;
  }

  schema(schema) {
    return schema.$ref ? this.document.components.schemas[schema.$ref.split("/").pop()] : schema;
  }

  typeOf(schema) {
    if (schema.anyOf) return schema.anyOf.map((one) => this.typeOf(one)).join(" or ");
    if (schema.$ref) {
      const named = this.schema(schema);
      return named.enum ? named.enum.join(" | ") : schema.$ref.split("/").pop();
    }
    if (schema.enum) return schema.enum.join(" | ");
    if (schema.const !== undefined) return JSON.stringify(schema.const);
    if (schema.type === "array") return `list of ${this.typeOf(schema.items)}`;
    return this.withLimits(schema);
  }

  withLimits(schema) {
    const limits = ["format", "pattern", "minimum", "exclusiveMinimum", "maximum", "minLength", "maxLength"]
      .filter((name) => schema[name] !== undefined)
      .map((name) => `${name} ${schema[name]}`);
    return [schema.type ?? "any", ...limits].join(", ");
  }

  // The fields of a schema and of the schemas that it refers to, each schema once.
  fields(schema, shown = new Set()) {
    const found = [];
    for (const one of schema.anyOf ?? [schema]) {
      const name = one.$ref?.split("/").pop();
      const object = this.schema(one);
      if (one.items) found.push(...this.fields(one.items, shown));
      if (!object.properties || shown.has(name)) continue;
      shown.add(name);
      const required = object.required ?? [];
      const rows = Object.entries(object.properties).map(([field, part]) => [
        element("code", {}, field),
        this.typeOf(part),
        marked("span", `${part.description ?? ""}${required.includes(field) ? "" : " (optional)"}`),
      ]);
      found.push([name, object.description ?? "", rows]);
      for (const part of Object.values(object.properties)) found.push(...this.fields(part, shown));
    }
    return found;
  }

  fieldTables(schema) {
    return this.fields(schema).filter(([, , rows]) => rows.length > 0).flatMap(([name, meaning, rows]) => [
      element("h4", {}, name, " ", soft(meaning)),
      table(["Field", "Type", "Meaning"], rows),
    ]);
  }
}

function example(content) {
  const first = Object.values(content?.[JSON_TYPE]?.examples ?? {})[0];
  return first === undefined ? null : JSON.stringify(first.value, null, 2);
}

function answers(contract, operation) {
  return Object.entries(operation.responses).map(([status, reply]) => {
    const media = reply.content?.[JSON_TYPE];
    const shown = example(reply.content);
    return element("details", {},
      element("summary", {}, `${status} `, soft(reply.description)),
      ...(media ? contract.fieldTables(media.schema) : []),
      shown && element("h4", {}, "Example"),
      shown && element("pre", { tabindex: "0" }, shown));
  });
}

function input(parameter) {
  const field = element("input", { type: "text", name: parameter.name, autocomplete: "off" });
  if (parameter.required) field.required = true;
  field.dataset.place = parameter.in;
  return element("label", {}, element("span", {}, element("code", {}, parameter.name), ` (${parameter.in}) `,
    soft(parameter.description)), field);
}

// A command's path has slashes of its own.
function segments({ name, value }) {
  return name === "command" ? value.split("/").map(encodeURIComponent).join("/") : encodeURIComponent(value);
}

function requestOf(method, path, form) {
  const query = new URLSearchParams();
  const headers = {};
  for (const field of form.querySelectorAll("input[type=text]")) {
    if (field.value === "") continue;
    if (field.dataset.place === "path") path = path.replace(`{${field.name}}`, () => segments(field));
    else if (field.dataset.place === "query") query.set(field.name, field.value);
    else headers[field.name] = field.value;
  }
  const body = form.querySelector("textarea")?.value.trim() || undefined;
  if (body) headers["Content-Type"] = JSON_TYPE;
  return [address(query.size ? `${path}?${query}` : path), { method: method.toUpperCase(), headers, body }];
}

async function show(response, place) {
  const type = response.headers.get("Content-Type") ?? "";
  place.replaceChildren(element("p", {}, `${response.status} ${response.statusText} · ${type}`));
  if (type.startsWith("image/")) {
    const picture = element("img", { alt: "The image in the response" });
    picture.src = URL.createObjectURL(await response.blob());
    picture.addEventListener("load", () => URL.revokeObjectURL(picture.src), { once: true });
    place.append(picture);
    return;
  }
  const text = await response.text();
  const json = type.startsWith(JSON_TYPE) ? JSON.stringify(JSON.parse(text), null, 2) : text;
  place.append(element("pre", { tabindex: "0" }, json));
}

function trial(method, path, operation) {
  const place = element("div", { role: "status", "aria-label": "Response" });
  const button = element("button", { type: "submit" }, "Send");
  const body = example(operation.requestBody?.content);
  const text = body && element("textarea", { rows: "8", spellcheck: "false" });
  if (text) text.value = body;
  const confirm = operation["x-confirm"];
  const check = confirm && element("input", { type: "checkbox", required: "" });
  const form = element("form", {},
    ...(operation.parameters ?? []).map(input),
    text && element("label", {}, "Body (JSON)", text),
    check ? element("label", { class: "check" }, check, confirm) : null,
    button);
  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    button.disabled = true;
    place.replaceChildren(element("p", {}, "Waiting for the response …"));
    try {
      await show(await fetch(...requestOf(method, path, form)), place);
    } catch (error) {
      place.replaceChildren(element("p", {}, `No response: ${error.message}`));
    } finally {
      button.disabled = false;
      if (check) check.checked = false;
    }
  });
  return [element("h3", {}, "Try it"), form, place];
}

function route(contract, method, path, operation) {
  const kind = method === "get" ? "method" : "method changes";
  const body = operation.requestBody?.content[JSON_TYPE];
  return element("details", { class: "route", id: operation.operationId },
    element("summary", {}, element("span", { class: kind }, method.toUpperCase()), " ",
      element("span", { class: "path" }, path), " ", soft(operation.summary)),
    element("div", {},
      prose(operation.description),
      ...(body ? [element("h3", {}, "Body"), ...contract.fieldTables(body.schema)] : []),
      element("h3", {}, "Responses"),
      ...answers(contract, operation),
      ...(operation["x-stays-open"] ? [prose("This connection stays open, so it cannot be tried here.")]
        : trial(method, path, operation))));
}

function group(contract, tag) {
  const routes = Object.entries(contract.document.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, operation]) => operation.tags.includes(tag.name))
      .map(([method, operation]) => route(contract, method, path, operation)));
  return element("section", {}, element("h2", {}, tag.name), prose(tag.description), ...routes);
}

async function start() {
  const state = document.getElementById("state");
  try {
    const response = await fetch(address(document.body.dataset.document));
    if (!response.ok) throw new Error(`the service returned status ${response.status}`);
    const contract = new Contract(await response.json());
    document.getElementById("version").textContent = contract.document.info.version;
    document.getElementById("description").replaceWith(prose(contract.document.info.description));
    document.getElementById("routes").replaceChildren(
      ...contract.document.tags.map((tag) => group(contract, tag)));
    state.remove();
  } catch (error) {
    state.textContent = `The API description could not be loaded: ${error.message}`;
  }
}

start();
