// Building nodes. Strings become text nodes; nothing here parses markup.

/**
 * A new element. Attributes that are null, undefined or false are left out, true ones are set empty.
 * Children are nodes or strings; null and undefined are skipped.
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** The element with that id; a page without it is broken, and says so at once. */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`the page has no #${id}`);
  return node;
}

/** What is a string, else an empty one: fields of an answer may be absent or of another type. */
export const text = (value) => (typeof value === "string" ? value : typeof value === "number" ? String(value) : "");

/** What is an array, else an empty one. */
export const list = (value) => (Array.isArray(value) ? value : []);

/** What is an object, else an empty one. */
export const record = (value) => (value !== null && typeof value === "object" && !Array.isArray(value) ? value : {});

/** The URL as it would be followed, when it is one that a browser shows as a page; else null. */
export function webAddress(url) {
  try {
    const parsed = new URL(text(url));
    return ["http:", "https:"].includes(parsed.protocol) && !parsed.username && !parsed.password ? parsed.href : null;
  } catch {
    return null;
  }
}

/** A link out for a web address, plain text for everything else, e.g. `pydoc:nonlocal` or `javascript:...`. */
export function outwardLink(url, label) {
  const href = webAddress(url);
  if (!href) return el("bdi", {}, label);
  return el("a", { href, rel: "noopener noreferrer nofollow", target: "_blank" }, el("bdi", {}, label));
}

/** A moment as the reader writes it; the text itself where it is no date. */
export function when(value) {
  const moment = new Date(typeof value === "number" ? value : text(value));
  if (Number.isNaN(moment.getTime())) return text(value);
  return moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
