// What stands beside the conversation: limits, budgets, usage, documents, past sessions.

import { inWords } from "./api.js";
import { byId, el, list, outwardLink, record, text, when } from "./dom.js";
import { nano, shown } from "./money.js";

const MOST = 200; // of a list; the most that the API gives at once

/** Requests left, from the headers of the last answer. */
export function showLimits(limits) {
  byId("limits").replaceChildren(
    ...limits.map(({ name, left, limit, seconds }) => {
      const of = limit === null ? "" : ` of ${limit}`;
      const reset = seconds === null ? "" : `, refilled within ${seconds} s`;
      return el("li", {}, `Requests left (${name}): ${left}${of}${reset}`);
    }),
  );
}

/** @param {() => {call: Function}} client @param {{onOpen: (session: object) => void, current: () => string|null}} chat */
export function createPanels(client, { onOpen, current }) {
  const turns = {}; // how often each list was asked for: a slow old answer does not replace a new one

  /** Ask the API; null where that failed, which is then told in `#<id>-fault`, and where the session is over. */
  async function ask(id, path, options) {
    const mine = client();
    const tell = (words) => (byId(`${id}-fault`).textContent = words);
    try {
      const answer = record(await mine.call(path, options));
      if (mine !== client()) return null;
      tell("");
      return answer;
    } catch (error) {
      // An application without this part of the API has nothing to show, and that is no fault of the reader's.
      const absent = error.status === 404 && !options;
      if (mine === client()) tell(absent ? "" : inWords(error));
      return null;
    }
  }

  async function load(id, path) {
    const turn = (turns[id] = (turns[id] ?? 0) + 1);
    const answer = await ask(id, path);
    return turn === turns[id] ? answer : null;
  }

  const panel = (id, show) => {
    const details = byId(`${id}-panel`);
    details.addEventListener("toggle", () => details.open && show());
    return () => (details.open ? show() : undefined);
  };

  async function budgets() {
    const answer = await load("budgets", "v1/budgets");
    if (answer) byId("budgets").replaceChildren(...list(answer.budgets).map(record).map(budget));
  }

  async function usage() {
    const group = byId("group").value;
    const answer = await load("usage", `v1/usage?group_by=${encodeURIComponent(group)}`);
    if (answer) byId("usage").replaceChildren(usageTable(answer, group));
  }

  async function documents() {
    const answer = await load("documents", `v1/documents?limit=${MOST}`);
    if (answer) fill("documents", list(answer.documents).map(record).map(entry), answer.next);
  }

  function entry(item) {
    const title = text(item.title) || text(item.id);
    const remove = el("button", { type: "button", "aria-label": `Delete ${title}` }, "Delete");
    remove.addEventListener("click", async () => {
      if (!window.confirm(`Delete the document "${title}"? The agents will not find it any more.`)) return;
      remove.disabled = true;
      const path = `v1/documents/${encodeURIComponent(text(item.id))}`;
      const done = await ask("documents", path, { method: "DELETE" });
      remove.disabled = false;
      if (!done) return;
      await documents();
      byId("add-status").textContent = `Deleted: ${title}`;
      byId("documents-panel").firstElementChild.focus();
    });
    const size = Number(item.characters);
    const facts = [size ? `${size.toLocaleString()} characters` : "", when(item.created_at)].filter(Boolean).join(", ");
    return el(
      "li",
      { class: "entry" },
      el("span", {}, outwardLink(item.source_url, title), facts ? el("span", { class: "hint" }, ` ${facts}`) : null),
      remove,
    );
  }

  async function sessions() {
    const answer = await load("sessions", `v1/sessions?limit=${MOST}`);
    if (!answer) return;
    const items = list(answer.sessions).map(record).map((item) => {
      const here = text(item.id) === current();
      const title = text(item.title) || text(item.id);
      const button = el("button", { type: "button", class: "link", "aria-current": here ? "true" : null }, title);
      button.addEventListener("click", () => onOpen(item));
      const facts = [text(item.agent), when(item.updated_at ?? item.created_at)].filter(Boolean).join(", ");
      return el("li", {}, button, el("span", { class: "hint" }, ` ${facts}`));
    });
    fill("sessions", items, answer.next);
  }

  byId("group").addEventListener("change", usage);
  addForm(ask, documents);
  const refreshers = [budgets, panel("usage", usage), panel("documents", documents), panel("sessions", sessions)];

  return {
    /** Load again what is open. */
    refresh: () => Promise.all(refreshers.map((refresh) => refresh())),
    /** Leave nothing of the last session's. */
    clear() {
      for (const id of ["budgets", "usage", "documents", "sessions", "limits"]) byId(id).replaceChildren();
      for (const id of ["usage", "documents", "sessions"]) byId(`${id}-panel`).open = false;
      for (const id of ["budgets-fault", "usage-fault", "documents-fault", "sessions-fault", "add-fault", "add-status"]) {
        byId(id).textContent = "";
      }
      byId("add").reset();
    },
  };
}

function budget(item) {
  const [limit, spent, held] = [item.limit_usd, item.spent_usd, item.held_usd].map(nano);
  const parts = [`${shown(item.spent_usd) || "?"} spent`];
  if (held) parts.push(`${shown(held)} held`);
  parts.push(limit === null ? "no limit" : `${shown(item.remaining_usd) || "?"} left of ${shown(limit)}`);
  const renewed = text(item.resets_at) ? `Renewed ${when(item.resets_at)}` : "";
  const used = (spent ?? 0n) + (held ?? 0n);
  return el(
    "li",
    { class: "budget" },
    el("strong", {}, el("bdi", {}, text(item.id))),
    ` ${parts.join(", ")}`,
    // Only the bar is drawn from a number; what is written are the server's own digits.
    limit > 0n
      ? el("progress", { max: 1000, value: Number((used > limit ? limit : used) * 1000n / limit), "aria-label": `Used of ${text(item.id)}` })
      : null,
    renewed ? el("span", { class: "hint" }, renewed) : null,
  );
}

function usageTable(answer, group) {
  const rows = list(answer.rows).map(record);
  if (!rows.length) return el("p", { class: "hint" }, "Nothing used yet.");
  const head = ["Group", "Calls", "Cost"].map((name) => el("th", { scope: "col" }, name === "Group" ? group : name));
  const body = rows.map((row) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, el("bdi", {}, text(record(row.group)[group]) || "\u2013")),
      el("td", {}, text(row.operations)),
      el("td", {}, shown(row.cost_usd)),
    ),
  );
  const total = el("tr", {}, el("th", { scope: "row" }, "Together"), el("td", {}), el("td", {}, shown(answer.total_usd)));
  return el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body), el("tfoot", {}, total));
}

function fill(id, items, next) {
  const note = text(next) ? "Older ones are not shown." : items.length ? "" : "None yet.";
  byId(id).replaceChildren(...items, ...(note ? [el("li", { class: "hint" }, note)] : []));
}

function addForm(ask, reload) {
  const form = byId("add");
  const [title, content, source, file] = ["document-title", "document-text", "document-source", "file"].map(byId);
  const fault = byId("add-fault");

  file.addEventListener("change", async () => {
    const chosen = file.files[0];
    if (!chosen) return;
    try {
      content.value = new TextDecoder("utf-8", { fatal: true }).decode(await chosen.arrayBuffer());
      title.value ||= chosen.name.replace(/\.(txt|md|markdown)$/i, "");
      fault.textContent = "";
    } catch {
      fault.textContent = "That file is no text in UTF-8.";
    }
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const missing = [title, content].find((field) => !field.value.trim());
    if (missing) {
      fault.textContent = "A document needs a title and a text.";
      missing.focus();
      return;
    }
    const origin = source.value.trim();
    const json = { title: title.value.trim(), text: content.value, ...(origin ? { source_url: origin } : {}) };
    const button = form.querySelector("button");
    button.disabled = true;
    const added = await ask("add", "v1/documents", { method: "POST", json });
    button.disabled = false;
    if (!added) return;
    form.reset();
    byId("add-status").textContent = `Added: ${text(added.title) || json.title}`;
    await reload();
    title.focus();
  });
}
