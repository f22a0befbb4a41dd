// One question and what becomes of it: steps, answer, findings, claims, sources and cost.

import { el, list, outwardLink, record, text, webAddress } from "./dom.js";
import { inline, showMarkdown } from "./markdown.js";
import { shown } from "./money.js";

const VERDICTS = {
  supported: ["\u2713", "Supported"],
  contradicted: ["\u2717", "Contradicted"],
  not_found: ["?", "Not found"],
};
const STAGES = { planning: "Planning", searching: "Looking things up", answering: "Writing the answer" };

const LONG_EXCERPT = 400; // characters; five lines
const MOST_STEPS = 200; // the last ones are shown: nobody reads ten thousand
const LONGEST_STEP = 300; // characters

let exchanges = 0; // makes ids that are unique in the page

/** A question with its answer, as it arrives. `node` is what to show. */
export class Exchange {
  #id = `exchange-${(exchanges += 1)}`;
  #answer = "";
  #frame = 0;
  #cited = new Map(); // n -> id of the source's list item
  #parts = {};
  #stepped = 0;
  #step = "";

  /** @param {string} question @param {string} agent its name */
  constructor(question, agent) {
    this.question = question;
    const parts = this.#parts;
    parts.steps = el("ol", {});
    parts.details = el("details", { class: "steps", hidden: true }, el("summary", {}, "Steps"), parts.steps);
    parts.answer = el("div", { class: "answer", "aria-live": "polite", "aria-busy": "true" });
    parts.results = el("div", {});
    parts.foot = el("footer", {});
    this.node = el(
      "article",
      { class: "exchange", "aria-labelledby": this.#id },
      el("h3", { id: this.#id }, `You asked ${agent}`),
      el("p", { class: "question" }, el("bdi", {}, question)),
      parts.details,
      parts.answer,
      parts.results,
      parts.foot,
    );
  }

  /** Something the agent is doing. Returns it in words. */
  progress(data) {
    const stage = text(data.stage);
    const words = text(data.message) || STAGES[stage] || (stage && stage[0].toUpperCase() + stage.slice(1)) || "Working";
    this.#add(words);
    return words;
  }

  /** A tool was called; the arguments are shown as far as they are words. */
  toolStarted(data) {
    const given = Object.values(record(data.arguments))
      .flatMap((value) => (Array.isArray(value) ? value.map(text) : [text(value)]))
      .filter(Boolean);
    this.#add(`${toolName(data)}${given.length ? `: ${given.join("; ")}` : ""}`);
  }

  toolCompleted(data) {
    // The number of sources, or the sources.
    const count = Array.isArray(data.sources) ? data.sources.length : text(data.sources);
    if (count !== "") this.#add(`${toolName(data)}: ${count} ${String(count) === "1" ? "source" : "sources"} so far`);
  }

  /** The next piece of the answer; drawn with the next frame. */
  token(piece) {
    this.#answer += text(piece);
    this.#parts.details.open = false;
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      showMarkdown(this.#parts.answer, this.#answer, () => null);
    });
  }

  /** What the run used until now, or in all. */
  usage(data) {
    this.#foot(data, data);
  }

  /** The whole result: what was streamed is replaced by it. */
  complete(result) {
    this.#settle();
    const citations = list(result.citations).map(record);
    for (const source of citations) {
      const n = Number(source.n);
      if (Number.isSafeInteger(n) && n > 0) this.#cited.set(n, `${this.#id}-source-${n}`);
    }
    const cite = (n) => this.#link(n);
    showMarkdown(this.#parts.answer, text(result.answer) || this.#answer, cite, true);
    const { results } = this.#parts;
    results.replaceChildren(
      ...[
        claims(list(result.claims).map(record), cite),
        statements("Findings", list(result.findings), cite),
        statements("Compared", list(result.comparisons), cite),
        statements("Sources disagree", list(result.conflicts), cite),
        statements("Not found", list(result.not_found), cite),
        this.#sources(citations),
      ].filter(Boolean),
    );
    this.#foot(result, record(result.usage));
  }

  /** Why there is no answer, or only the beginning of one. */
  fail({ title, detail, faults = [], costUsd, correlationId }) {
    this.#settle();
    if (this.#answer) this.#parts.answer.append(el("p", { class: "hint" }, "(The answer ends here.)"));
    const cost = shown(costUsd);
    this.#parts.results.append(
      el(
        "div",
        { class: "problem", role: "alert" },
        el("p", {}, el("strong", {}, title), detail && detail !== title ? ` ${detail}` : null),
        faults.length ? el("ul", {}, ...faults.map((fault) => el("li", {}, fault))) : null,
        cost ? el("p", {}, `Cost: ${cost}`) : null,
        correlationId ? el("p", { class: "hint" }, "Request ", el("code", {}, correlationId)) : null,
      ),
    );
  }

  #settle() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (this.#answer) showMarkdown(this.#parts.answer, this.#answer, () => null);
    this.#parts.answer.setAttribute("aria-busy", "false");
    this.#parts.details.open = false;
  }

  #add(words) {
    if (words === this.#step) return;
    this.#step = words;
    this.#stepped += 1;
    const { steps, details } = this.#parts;
    steps.append(el("li", {}, words.length > LONGEST_STEP ? `${words.slice(0, LONGEST_STEP)} \u2026` : words));
    if (this.#stepped > MOST_STEPS) {
      steps.firstElementChild.remove();
      steps.start = this.#stepped - MOST_STEPS + 1;
    }
    details.firstElementChild.textContent = `Steps (${this.#stepped})`;
    if (details.hidden) Object.assign(details, { hidden: false, open: true });
  }

  #link(n) {
    const id = this.#cited.get(n);
    return id ? el("a", { href: `#${id}`, class: "cite", "aria-label": `Source ${n}` }, `[${n}]`) : null;
  }

  #sources(citations) {
    if (!citations.length) return null;
    const items = citations.map((source) => {
      const [url, title] = [text(source.url), text(source.title)];
      return el(
        "li",
        { id: this.#cited.get(Number(source.n)) ?? null, tabindex: -1 },
        el("span", { class: "number" }, `[${text(source.n)}] `),
        outwardLink(url, title || url || "Untitled"),
        // As it is followed: a name in letters of another script that look alike is shown as what it is.
        title && url ? el("span", { class: "address" }, el("bdi", {}, webAddress(url) ?? url)) : null,
        excerpt(text(source.excerpt)),
      );
    });
    return section("Sources", el("ol", { class: "sources plain" }, ...items));
  }

  #foot(result, usage) {
    const cost = shown(result.cost_usd);
    const facts = [
      ["Cost", cost && `${cost}${costNote(usage)}`],
      ["Engine", engineName(text(result.engine))],
      ["Run", text(result.run_id)],
    ].filter(([, value]) => value);
    const entries = facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
    this.#parts.foot.replaceChildren(el("dl", { class: "facts" }, ...entries));
  }
}

/** What was read, folded where it is long. */
function excerpt(words) {
  if (!words) return null;
  const quote = el("blockquote", {}, el("bdi", {}, words));
  return words.length <= LONG_EXCERPT ? quote : el("details", {}, el("summary", {}, "What was read"), quote);
}

const toolName = (data) => {
  const name = text(data.tool).replaceAll("_", " ") || "tool";
  return name[0].toUpperCase() + name.slice(1);
};

function costNote(usage) {
  const notes = [usage.simulated === true && "simulated: nothing was billed", usage.estimated === true && "estimated"];
  const said = notes.filter(Boolean).join(", ");
  return said && ` (${said})`;
}

const engineName = (engine) =>
  engine.endsWith("extractive") ? `${engine} (quotes its sources; no language model)` : engine;

function section(heading, ...content) {
  return el("section", { class: "result" }, el("h4", {}, heading), ...content);
}

/** A list of texts, or of objects with a `statement`. */
function statements(heading, entries, cite) {
  const lines = entries.map((entry) => {
    const fields = record(entry);
    const said = text(entry) || text(fields.statement) || text(fields.question) || text(fields.claim);
    return said && el("li", {}, ...inline(said, cite), ...marks(said, fields.n, cite), confidence(fields.confidence));
  });
  const known = lines.filter(Boolean);
  return known.length ? section(heading, el("ul", {}, ...known)) : null;
}

function claims(entries, cite) {
  const items = entries.map((entry) => {
    const verdict = text(entry.verdict);
    const [mark, name] = VERDICTS[verdict] ?? ["\u2022", verdict.replaceAll("_", " ") || "Undecided"];
    const grounds = text(entry.reasoning) || reasons(entry.basis);
    const sources = [...new Set(list(entry.basis).map((one) => record(one).n))];
    return el(
      "li",
      { class: "claim" },
      el("span", { class: `verdict ${VERDICTS[verdict] ? verdict : ""}` }, el("span", { "aria-hidden": "true" }, `${mark} `), name),
      el("span", { class: "said" }, ...inline(text(entry.claim), cite), confidence(entry.confidence)),
      grounds ? el("p", { class: "grounds" }, ...inline(grounds, cite), ...marks(grounds, sources, cite)) : null,
    );
  });
  return items.length ? section("Claims", el("ul", { class: "plain" }, ...items)) : null;
}

/** Links to the sources that what is said does not name itself. */
function marks(said, numbers, cite) {
  const links = list(numbers).filter((n) => !said.includes(`[${n}]`)).map((n) => cite(n)).filter(Boolean);
  return links.flatMap((link) => [" ", link]);
}

const confidence = (value) => (text(value) ? el("span", { class: "hint" }, ` (confidence: ${text(value)})`) : null);

/** The words of a basis, which may be a text, an object that holds one, or several of them. */
function reasons(basis) {
  if (Array.isArray(basis)) return basis.map(reasons).filter(Boolean).join(" ");
  const fields = record(basis);
  return text(basis) || text(fields.reasoning) || text(fields.statement) || text(fields.excerpt);
}
